/* GET of an object: one request to S3, whose bytes go on to the client as they come. No more
 * than a few hundred KiB wait for a slow client. S3's connection is not kept for one that takes
 * nothing for SLOW_NS: what is missing is asked for later, of the same version.
 *
 * The head of the answer is sent with the first bytes: S3 may still find until then that an
 * answer was damaged, and start again. */
#include "workers/connector/con_get.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/container.h"
#include "workers/connector/con_error.h"
#include "workers/connector/con_job.h"
#include "workers/connector/con_op.h"

#define SLOW_NS NS_PER_S

struct get {
    struct con_job job;
    struct con_key key;
    bool ranged;
    struct http_range range;
    struct s3_req *req;       /* NULL: none runs */
    struct loop_timer slow;   /* armed while the client takes nothing */
    bool headed;              /* size, etag, next and end are known */
    bool begun;               /* the head of the answer has gone out */
    bool torn;                /* ... and S3 wants to start again */
    bool held;                /* until there is room */
    uint64_t size, next, end; /* next byte to be sent, end of those to be sent */
    char etag[S3_ETAG_MAX];
};

static void get_start(struct get *g);

static void get_free(struct get *g)
{
    loop_timer_cancel(g->job.w->loop, &g->slow);
    if (g->req)
        s3_cancel(g->req);
    free(g);
}

/* The request is over for this endpoint. */
static void get_refuse(struct get *g, const struct s3_result *res)
{
    struct http_conn *c = g->job.c;

    if (g->begun)
        http_conn_break(c);
    else if (res->error == -ERANGE)
        con_refuse(c, 416, "range_not_satisfiable", "%s has no bytes in that range",
                   con_key_name(&g->key));
    else
        con_refuse_s3(c, res, con_key_name(&g->key));
    get_free(g);
}

/* The caller has read this version. */
static void get_note_read(struct get *g, const struct s3_object *obj)
{
    struct worker *w = g->job.w;
    struct op op;

    if (!w->variant->expects)
        return;
    con_op_reader(g->job.c, &op);
    worker_lock(w);
    w->variant->has_seen(w, g->key.full, obj);
    w->variant->has_read_key(&op, g->key.full, obj->etag);
    worker_unlock(w);
}

static int get_on_head(void *arg, const struct s3_object *obj)
{
    struct get *g = arg;
    uint64_t off = 0, len = obj->size;

    if (g->torn)
        return -EIO;
    if (g->headed)
        return obj->size == g->size && strcmp(obj->etag, g->etag) == 0 ? 0 : -ESTALE;
    if (g->ranged && http_range_of(&g->range, obj->size, &off, &len) < 0)
        return -ERANGE;
    g->headed = true;
    g->size = obj->size;
    g->next = off;
    g->end = off + len;
    memcpy(g->etag, obj->etag, sizeof(g->etag));
    get_note_read(g, obj);
    return 0;
}

static void get_begin(struct get *g)
{
    unsigned long long first = g->next, last = g->end - 1, size = g->size;
    char fields[128] = "";

    if (g->ranged)
        snprintf(fields, sizeof(fields), "Content-Range: bytes %llu-%llu/%llu\r\n", first, last,
                 size);
    http_conn_begin(g->job.c, g->ranged ? 206 : 200, fields, g->end - g->next);
    g->begun = true;
}

static int get_on_data(void *arg, uint64_t off, const void *data, size_t len)
{
    struct get *g = arg;
    int r;

    if (off != g->next || len > g->end - g->next)
        return -EIO;
    if (!g->begun)
        get_begin(g);
    r = http_conn_write(g->job.c, data, len);
    g->next += len;
    g->job.w->stats->count[SHM_STAT_READ_BYTES] += len;
    if (r == 0 && g->next < g->end && http_conn_is_full(g->job.c)) {
        g->held = true;
        s3_hold_on(g->req);
        loop_timer_set(g->job.w->loop, &g->slow, SLOW_NS);
    }
    return r;
}

static void get_on_restart(void *arg)
{
    struct get *g = arg;

    g->torn = g->begun;
    g->headed = false;
}

static void get_done(void *arg, const struct s3_result *res)
{
    struct get *g = arg;
    struct http_conn *c = g->job.c;

    g->req = NULL;
    if (res->error || !g->headed || g->next != g->end) {
        get_refuse(g, res);
        return;
    }
    if (!g->begun) /* an empty object */
        get_begin(g);
    get_free(g);
    http_conn_end(c);
}

static void on_slow(struct loop_timer *t)
{
    struct get *g = container_of(t, struct get, slow);

    if (g->req)
        s3_cancel(g->req);
    g->req = NULL;
}

static void get_on_room(struct con_job *job)
{
    struct get *g = (struct get *)job;

    if (!g->held)
        return;
    g->held = false;
    loop_timer_cancel(job->w->loop, &g->slow);
    if (g->req)
        s3_go_on(g->req);
    else
        get_start(g);
}

static void get_on_gone(struct con_job *job)
{
    get_free((struct get *)job);
}

/* What is missing, or all of it. */
static void get_start(struct get *g)
{
    struct s3_get get = {.key = g->key.full, .on_head = get_on_head, .on_data = get_on_data};
    struct s3_result res = {0};

    if (g->headed) {
        get.off = g->next;
        get.len = g->end - g->next;
        get.if_match = g->etag;
    } else if (g->ranged) {
        get.off = g->range.first;
        get.len = g->range.last == UINT64_MAX ? 0 : g->range.last - g->range.first + 1;
    } else {
        get.on_restart = get_on_restart;
    }
    res.error = s3_get(g->job.w->s3, &get, get_done, g, &g->req);
    if (res.error < 0)
        get_refuse(g, &res);
}

/* A range from the end: where it begins depends on the size. */
static void get_on_sized(void *arg, const struct s3_result *res)
{
    struct get *g = arg;
    struct s3_result none = {.error = -ERANGE};
    uint64_t off, len;

    g->req = NULL;
    if (res->error) {
        get_refuse(g, res);
    } else if (http_range_of(&g->range, res->obj.size, &off, &len) < 0) {
        get_refuse(g, &none);
    } else {
        g->range = (struct http_range){.first = off, .last = off + len - 1};
        get_start(g);
    }
}

static const struct con_job_ops get_ops = {.on_room = get_on_room, .on_gone = get_on_gone};

void con_get(struct http_conn *c, const struct con_key *key)
{
    const struct http_request *req = http_conn_request(c);
    struct s3_result res = {0};
    struct get *g = calloc(1, sizeof(*g));

    if (!g) {
        con_refuse(c, 503, "unavailable", "out of memory");
        return;
    }
    con_job_init(&g->job, &get_ops, c);
    g->key = *key;
    g->ranged = req->has_range;
    g->range = req->range;
    g->slow.on_time = on_slow;
    if (!g->ranged || !g->range.suffix) {
        get_start(g);
        return;
    }
    res.error = s3_head(g->job.w->s3, g->key.full, get_on_sized, g, &g->req);
    if (res.error < 0)
        get_refuse(g, &res);
}
