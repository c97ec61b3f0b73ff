/* A tiny HTTP server on loopback, on the loop of the test that uses it, which answers each
 * request with the next entry of a script, however wrong. Answers must fit a socket's buffer. */
#ifndef TESTS_S3_SCRIPT_SERVER_H
#define TESTS_S3_SCRIPT_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/loop.h"

#define SERVER_REQUESTS_MAX 256
#define SERVER_HEAD_MAX 16384

enum server_end { SERVER_KEEP, SERVER_CLOSE, SERVER_RESET };

struct server_answer {
    const char *text;   /* all of it, status line and body; NULL = nothing */
    size_t len;         /* 0 = strlen(text) */
    bool early;         /* answers after the head, and reads no more */
    unsigned continues; /* how many "100 Continue" to send before reading the body */
    enum server_end end;
};

struct server_request {
    char head[SERVER_HEAD_MAX]; /* with the blank line */
    uint64_t body_len;          /* that came */
    uint64_t body_sum;          /* of its bytes, each times its place (from 1) */
};

struct server;

/* Fails the test on errors. The script is borrowed; requests beyond its end repeat the last
 * entry. */
struct server *server_new(struct loop *loop, const struct server_answer *script, size_t n);
void server_free(struct server *s);
void server_script(struct server *s, const struct server_answer *script, size_t n);
unsigned server_port(const struct server *s);

/* Refuses connections until server_open. */
void server_shut(struct server *s);
void server_open(struct server *s);

/* Ends all connections without a word. */
void server_drop_all(struct server *s);

unsigned server_count(const struct server *s);       /* requests */
unsigned server_connections(const struct server *s); /* accepted, ever */
unsigned server_most_open(const struct server *s);   /* at once */
const struct server_request *server_request(const struct server *s, unsigned i);

/* The value of a header of request `i` (lower-case name), "" if absent; valid until the next
 * call. */
const char *server_header(const struct server *s, unsigned i, const char *name);

#endif
