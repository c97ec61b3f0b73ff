/* For tests of services that send requests: fixture.h with a real S3 client on the worker's loop,
 * which talks to the scripted HTTP server of tests/s3. What is asserted is what went over the wire
 * and what the tables have afterwards. */
#ifndef TESTS_WORKERS_S3_FIXTURE_H
#define TESTS_WORKERS_S3_FIXTURE_H

#include "tests/s3/script_server.h"
#include "tests/workers/fixture.h"

/* cmocka set-up and tear-down: *state is a struct fx. Metadata are ignored, unless a test sets
 * fx->conf.metadata: so a publish is one PUT. */
int fx_s3_setup(void **state);
int fx_s3_teardown(void **state);

/* As fx_replace(); no request may be in flight. */
void fx_s3_replace(struct fx *fx);

/* The responses to come, in order; the last one is repeated. The array must outlive the test. */
void fx_script(const struct server_answer *script, size_t n);

#define FX_SCRIPT(...)                                                                             \
    do {                                                                                           \
        static const struct server_answer script_[] = {__VA_ARGS__};                               \
        fx_script(script_, sizeof(script_) / sizeof(script_[0]));                                  \
    } while (0)

/* Requests that were received so far. */
unsigned fx_requests(void);

/* Fails the test unless request `i` has this request line (without the version), and this value of
 * the header ("" = it must be absent). */
void fx_assert_request(unsigned i, const char *line);
void fx_assert_header(unsigned i, const char *name, const char *value);

/* Turns the loop until `cond` holds; fails the test after 20 s. */
void fx_turn(struct fx *fx);
void fx_turn_begin(struct fx *fx);
void fx_turn_end(struct fx *fx);
#define FX_WAIT(fx, cond)                                                                          \
    do {                                                                                           \
        fx_turn_begin(fx);                                                                         \
        while (!(cond))                                                                            \
            fx_turn(fx);                                                                           \
        fx_turn_end(fx);                                                                           \
    } while (0)

/* A `then` of a service (workers/write/session.h), and what it was called with. */
struct fx_then {
    unsigned calls;
    int error; /* of the last one */
};
extern struct fx_then fx_then;
void fx_on_then(struct op *op, int error);

/* A file of which S3 has version `etag`; it is pinned as by a LOOKUP of the kernel. */
uint32_t fx_file(struct fx *fx, const char *name, const char *etag, uint64_t size);

/* A kept op: OPEN of the node with these flags. */
struct op *fx_open(struct fx *fx, uint64_t unique, uint32_t node, uint32_t flags);

/* Answers the op with -EIO and takes that from the channel. */
void fx_end_op(struct fx *fx, struct op *op);

void fx_assert_spool(struct fx *fx, uint32_t session, const char *text);

/* ---- responses ---- */

#define FX_BODY(status, headers, length, body)                                                     \
    {                                                                                              \
        .text = "HTTP/1.1 " status "\r\n" headers "Content-Length: " length "\r\n\r\n" body        \
    }
#define FX_GET(etag, length, body) FX_BODY("200 OK", "ETag: \"" etag "\"\r\n", length, body)
#define FX_PUT(etag) FX_BODY("200 OK", "ETag: \"" etag "\"\r\n", "0", "")
#define FX_HEAD(etag, length)                                                                      \
    {                                                                                              \
        .text = "HTTP/1.1 200 OK\r\nETag: \"" etag "\"\r\nContent-Length: " length "\r\n\r\n"      \
    }
#define FX_ERROR(status, code)                                                                     \
    {                                                                                              \
        .text = "HTTP/1.1 " status "\r\nConnection: close\r\n\r\n<Error><Code>" code               \
                "</Code><Message>because</Message></Error>",                                       \
        .end = SERVER_CLOSE                                                                        \
    }
#define FX_LIST(entries)                                                                           \
    {                                                                                              \
        .text = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n<ListBucketResult>" entries           \
                "</ListBucketResult>",                                                             \
        .end = SERVER_CLOSE                                                                        \
    }

#endif
