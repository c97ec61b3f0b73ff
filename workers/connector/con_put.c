/* PUT of an object: the body goes to a write session as the bytes of a file do, in memory while
 * they are few, on disk beyond, and is published when it is complete. In s3-passthrough its parts
 * go to S3 while it comes, and no more of it is read while too many are held. A body that breaks
 * off publishes nothing. If no session is free, the body is not read, until one is. */
#include "workers/connector/con_put.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/container.h"
#include "workers/connector/con_error.h"
#include "workers/connector/con_job.h"
#include "workers/connector/con_op.h"
#include "workers/write/publish_wait.h"
#include "workers/write/session_attach.h"
#include "workers/write/session_key.h"

#define AGAIN_NS (10 * NS_PER_MS)   /* between two looks for a free session */
#define PATIENCE_NS (20 * NS_PER_S) /* for one */

struct put {
    struct con_job job;
    struct con_key key;
    struct op *op;
    bool exclusive;
    bool open;      /* the session has begun */
    bool ended;     /* the body is complete */
    bool publishes; /* it will end, whatever the client does */
    uint64_t size;
    struct buf pending; /* a piece of the body that has no room yet; no other is read meanwhile */
    uint64_t since_ns;  /* when it began to look for a session */
    struct loop_timer timer;
    char expected[SHM_ETAG_MAX];
};

static void put_free(struct put *p)
{
    loop_timer_cancel(p->job.w->loop, &p->timer);
    session_detach(p->op);
    op_done(p->op);
    buf_done(&p->pending);
    free(p);
}

/* The client has its answer. */
static void put_refuse(struct put *p, int error, int http_status, enum s3_fail fail,
                       const char *text)
{
    if (p->job.c)
        con_refuse_error(p->job.c, error, http_status, fail, text, con_key_name(&p->key));
    put_free(p);
}

/* ---- the end ---- */

static void tell_conflict(struct put *p)
{
    if (p->exclusive)
        con_refuse(p->job.c, 409, "conflict", "Exclusive create failed: key=%s already exists",
                   con_key_name(&p->key));
    else
        con_refuse(p->job.c, 409, "conflict", "CAS conflict: key=%s cached_etag=%s",
                   con_key_name(&p->key), p->expected);
}

static const char *what_failed(int error, int http)
{
    return error == -EIO && http == 404 ? "NoSuchBucket: there is no such bucket"
                                        : "the object could not be written";
}

static void on_published(struct op *op, int error)
{
    struct put *p = op->client;
    struct worker *w = p->job.w;
    enum s3_fail how;
    int http;

    session_failure(op, &http, &how);
    if (error && error != -EEXIST)
        worker_gave_up(w);
    if (w->env->mount)
        worker_notify_kernel(w);
    if (p->job.c && http_conn_overran(p->job.c))
        con_refuse(p->job.c, 400, "bad_request",
                   "the body went on behind its last chunk: %s has what came before",
                   con_key_name(&p->key));
    else if (p->job.c && error == -EEXIST)
        tell_conflict(p);
    else if (p->job.c && error)
        con_refuse_error(p->job.c, error, http, how, what_failed(error, http),
                         con_key_name(&p->key));
    else if (p->job.c)
        http_conn_answer(p->job.c, 204, "", NULL, 0);
    put_free(p);
}

static void publish(struct put *p)
{
    if (http_conn_overran(p->job.c)) {
        con_refuse(p->job.c, 400, "bad_request",
                   "the body goes on behind its last chunk: a write of no bytes ends it");
        put_free(p);
        return;
    }
    session_complete(p->op, p->size);
    p->publishes = true;
    p->op->stays = true;
    session_publish(p->op, p->op->rec->session, on_published);
}

/* ---- the beginning ---- */

/* 1: the session has begun; 0: wait; -errno. */
static int open_session(struct put *p)
{
    int r = session_begin_key(p->op, p->key.full, p->exclusive, p->expected);

    if (r == 0)
        return 1;
    if (r != -ENFILE || clock_mono_ns() - p->since_ns > PATIENCE_NS)
        return r;
    loop_timer_set(p->job.w->loop, &p->timer, AGAIN_NS);
    return 0;
}

static void put_on_timer(struct loop_timer *t)
{
    struct put *p = container_of(t, struct put, timer);
    int r = 1;

    if (!p->open)
        r = open_session(p);
    if (r < 0) {
        put_refuse(p, r, 0, S3_FAIL_NONE, "too many objects are written at once");
        return;
    }
    if (r == 0)
        return;
    p->open = true;
    if (p->ended)
        publish(p);
    else
        http_conn_take(p->job.c);
}

/* ---- the body ---- */

static void refuse_body(struct put *p, int error)
{
    enum s3_fail how;
    int http;

    session_failure(p->op, &http, &how);
    put_refuse(p, error, http, how,
               error == -EFBIG               ? "the object is larger than S3 takes"
               : error == -ENOSPC            ? "no space is left for it in buffer.dir"
               : http || how != S3_FAIL_NONE ? what_failed(error, http)
                                             : "the body cannot be stored");
}

/* As session_append. */
static int store(struct put *p, const char *data, size_t len)
{
    int r = session_append(p->op, data, len, p->size);

    if (r == 0) {
        p->size += len;
        p->job.w->stats->count[SHM_STAT_WRITTEN_BYTES] += len;
    }
    return r;
}

/* There may be room by now. */
static void put_on_wake(struct op *op)
{
    struct put *p = op->client;
    int r = store(p, p->pending.data, p->pending.len);

    if (r > 0)
        return;
    op_stop_waiting(op);
    if (r < 0) {
        refuse_body(p, r);
        return;
    }
    buf_done(&p->pending);
    http_conn_take(p->job.c);
    if (p->ended)
        loop_timer_set(p->job.w->loop, &p->timer, 0);
}

static void put_on_body(struct con_job *job, const char *data, size_t len)
{
    struct put *p = (struct put *)job;
    int r = store(p, data, len);

    if (r > 0)
        r = buf_append(&p->pending, data, len);
    if (r < 0) {
        refuse_body(p, r);
    } else if (p->pending.len) {
        http_conn_hold(job->c);
        op_wait(p->op, put_on_wake);
    }
}

/* What follows the body is looked at first: http_conn_overran(). */
static void put_on_end(struct con_job *job)
{
    struct put *p = (struct put *)job;

    p->ended = true;
    if (p->open && !p->pending.len)
        loop_timer_set(job->w->loop, &p->timer, 0);
}

static void put_on_gone(struct con_job *job)
{
    struct put *p = (struct put *)job;

    if (p->publishes)
        job->c = NULL;
    else
        put_free(p);
}

static const struct con_job_ops put_ops = {
    .on_body = put_on_body, .on_end = put_on_end, .on_gone = put_on_gone};

static bool is_too_large(const struct http_request *req)
{
    return req->has_length && req->length > S3_OBJECT_MAX;
}

void con_put(struct http_conn *c, const struct con_key *key)
{
    const struct http_request *req = http_conn_request(c);
    struct put *p = calloc(1, sizeof(*p));
    int r;

    if (p)
        p->op = con_op_new(c, SHM_OP_HTTP_PUT);
    if (!p || !p->op) {
        free(p);
        con_refuse(c, 503, "unavailable", "too many requests at once");
        return;
    }
    con_job_init(&p->job, &put_ops, c);
    p->key = *key;
    p->op->client = p;
    p->exclusive = req->if_absent;
    p->since_ns = clock_mono_ns();
    p->timer.on_time = put_on_timer;
    buf_init(&p->pending, HTTP_PIECE_MAX);
    r = is_too_large(req) ? -EFBIG : open_session(p);
    p->open = r == 1;
    if (r == 0)
        http_conn_hold(c);
    else if (r < 0)
        put_refuse(p, r, 0, S3_FAIL_NONE, "the object cannot be written");
}
