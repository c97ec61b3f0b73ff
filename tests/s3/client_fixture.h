/* A client, a scripted server and what they said to each other: for the tests that drive the
 * client. */
#ifndef TESTS_S3_CLIENT_FIXTURE_H
#define TESTS_S3_CLIENT_FIXTURE_H

#include "base/buf.h"
#include "base/clock.h"
#include "s3/s3.h"
#include "s3/s3_cred.h"
#include "script_server.h"

/* One request and its outcome; next_token and upload_id of `res` point into this. */
struct call {
    unsigned done;
    struct s3_result res; /* a copy */
    char next_token[256];
    char upload_id[S3_UPLOAD_ID_MAX];
    struct buf data;   /* GET: bytes; LIST: "key\n" */
    uint64_t next_off; /* where the next piece must begin */
    unsigned heads, restarts;
    struct s3_object head;        /* of on_head */
    int head_result, data_result; /* what the callbacks return */
};

struct fixture {
    struct loop *loop;
    struct server *server;
    struct s3_cred_source *creds;
    struct s3_client *client;
    struct s3_client_conf conf;
    char endpoint[64];
    struct call call;
};

/* A client with short times against a server with this script; 3 attempts, 4 connections. */
void fixture_begin(struct fixture *f, const struct server_answer *script, size_t n);
void fixture_end(struct fixture *f);

/* Makes the client anew, after f->conf was changed. */
void fixture_client(struct fixture *f);

/* The call's `done` for s3_*(..., call_done, &call). */
void call_init(struct call *call);
void call_end(struct call *call);
void call_done(void *arg, const struct s3_result *res);
int call_on_head(void *arg, const struct s3_object *obj);
int call_on_data(void *arg, uint64_t off, const void *data, size_t len);
int call_on_entry(void *arg, const struct s3_list_entry *entry);
void call_on_restart(void *arg);

/* Turns the loop until the call is done; fails the test after 20 s. */
void fixture_wait(struct fixture *f, struct call *call);
/* Turns it for so long. */
void fixture_turn(struct fixture *f, uint64_t ns);

/* Starts and waits, with f->call. */
void fixture_get(struct fixture *f, const struct s3_get *get);
void fixture_put(struct fixture *f, const struct s3_put *put);

/* The answer of a good PUT. */
extern const struct server_answer put_ok;

#define SCRIPT(...)                                                                                \
    (const struct server_answer[]){__VA_ARGS__},                                                   \
        sizeof((const struct server_answer[]){__VA_ARGS__}) / sizeof(struct server_answer)

#define ERROR_DOC(code)                                                                            \
    "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>" code                                 \
    "</Code><Message>because</Message></Error>"

#endif
