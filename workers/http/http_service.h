/* What the server (http_server.h) and whoever answers its requests have in common: a request, and
 * how it is answered. One connection serves one request at a time; each request gets one answer, or
 * its client is gone first. */
#ifndef WORKERS_HTTP_HTTP_SERVICE_H
#define WORKERS_HTTP_HTTP_SERVICE_H

#include <sys/types.h>

#include "http/http_head.h"
#include "http/http_range.h"
#include "http/http_target.h"
#include "workers/op/worker.h"

struct http_conn;

struct http_request {
    enum http_method method;
    unsigned minor;            /* HTTP/1.<minor> */
    struct http_target target; /* lives as long as the request */
    bool has_length;           /* `length` is the length of the body */
    uint64_t length;
    bool chunked;
    bool if_absent; /* If-None-Match: * */
    bool has_range;
    struct http_range range;
};

/* The process at the other end, as of its connect(2). */
struct http_peer {
    uint32_t pid; /* 0: it lives in another pid namespace */
    uint32_t uid;
    uint32_t gid;
};

#define HTTP_SCRATCH (64u << 10)                      /* bytes of a body that one read takes */
#define HTTP_PIECE_MAX (HTTP_HEAD_MAX + HTTP_SCRATCH) /* bytes of one on_body, at most */

/* Functions of whoever answers, called by the loop, never from inside the functions below.
 * `on_body` and `on_end` are not called once the request has its answer; the rest of its body is
 * read and dropped. */
struct http_service {
    /* A request has begun. May answer at once. */
    void (*on_request)(struct http_conn *c);
    /* A piece of its body. May answer. */
    void (*on_body)(struct http_conn *c, const char *data, size_t len);
    /* Its body is complete, or there is none: to be answered now or later. */
    void (*on_end)(struct http_conn *c);
    /* An answer in pieces: there is room for more. */
    void (*on_room)(struct http_conn *c);
    /* The client is gone, or its body broke off: no answer is needed, and what the request holds
     * has to be released. The connection must not be used any more. */
    void (*on_gone)(struct http_conn *c);
    /* The answer is out, or the client is gone (`status` 0), `ns` after the head of the request was
     * whole. `kind`: of http_conn_set_kind. NULL: not of interest. */
    void (*on_over)(struct worker *w, unsigned kind, int status, uint64_t ns);
};

struct worker *http_conn_worker(const struct http_conn *c);
const struct http_request *http_conn_request(const struct http_conn *c);
struct http_peer http_conn_peer(const struct http_conn *c);

/* Whatever the service keeps for the request; NULL at its start. */
void *http_conn_state(const struct http_conn *c);
void http_conn_set_state(struct http_conn *c, void *state);

/* What kind of request it is, in numbers of the service; 0 at its start. */
void http_conn_set_kind(struct http_conn *c, unsigned kind);

/* No more of the body is read, until http_conn_take. */
void http_conn_hold(struct http_conn *c);
void http_conn_take(struct http_conn *c);

/* The client has sent something behind a chunked body that is no request: it took a piece of
 * nothing for an ordinary one, and goes on with a body that was over. */
bool http_conn_overran(const struct http_conn *c);

/* A whole answer. `fields`: more header fields, each with its CRLF. A Content-Length is added,
 * except with status 204; with HEAD the body is left out, and so is its length. The request is
 * over. */
void http_conn_answer(struct http_conn *c, int status, const char *fields, const void *body,
                      size_t len);

/* An answer in pieces of altogether `len` bytes, or HTTP_LENGTH_UNKNOWN. */
#define HTTP_LENGTH_UNKNOWN UINT64_MAX
void http_conn_begin(struct http_conn *c, int status, const char *fields, uint64_t len);

/* Appends a piece. 0, -ENOMEM; -EMSGSIZE if it was not stopped long after http_conn_is_full(). */
must_use int http_conn_write(struct http_conn *c, const void *data, size_t len);

/* True if no more should be written now: on_room follows. */
bool http_conn_is_full(struct http_conn *c);

/* The answer is complete. The request is over. */
void http_conn_end(struct http_conn *c);

/* The answer cannot be completed: resets the connection, so that it never looks whole. The request
 * is over, and so is the connection. */
void http_conn_break(struct http_conn *c);

#endif
