/* DELETE of a key: a HEAD, since S3 does not say whether a DELETE found something, and then the
 * DELETE of that version, with the rules of an unlink on the mount (write/delete.h). It goes on
 * when the client is gone.
 *
 * A worker may die after its DELETE has acted, or before it acts; then the client repeats it
 * (con_lost.h). That nothing is there is what was wanted; and what was sent for the version that is
 * there may still act, so delete.h waits for it. */
#include "workers/connector/con_delete.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "workers/connector/con_error.h"
#include "workers/connector/con_job.h"
#include "workers/connector/con_lost.h"
#include "workers/connector/con_op.h"
#include "workers/write/delete.h"
#include "workers/write/names_tell.h"

struct removal {
    struct con_job job;
    struct con_key key;
    struct op *op;
    struct delete_target target;
    bool again; /* it repeats one whose worker died */
};

static void removal_free(struct removal *d)
{
    op_done(d->op);
    free(d);
}

static void removal_refuse(struct removal *d, const struct s3_result *res)
{
    struct worker *w = d->job.w;

    if (d->again && res->error != -ENOENT) { /* it may be repeated once more */
        worker_lock(w);
        con_lost_keep(w, d->op->rec);
        worker_unlock(w);
    }
    if (d->job.c)
        con_refuse_s3(d->job.c, res, con_key_name(&d->key));
    removal_free(d);
}

/* The mount sees that it is gone. */
static void removal_done(struct removal *d)
{
    struct worker *w = d->job.w;

    worker_lock(w);
    names_tell_delete(w, d->key.full);
    w->variant->has_removed_key(d->op, d->key.full);
    worker_unlock(w);
    worker_notify_kernel(w);
    if (d->job.c)
        http_conn_answer(d->job.c, 204, "", NULL, 0);
    removal_free(d);
}

static void on_deleted(struct op *op, int error)
{
    struct removal *d = op->client;
    struct http_conn *c = d->job.c;

    if (!error) {
        removal_done(d);
        return;
    }
    if (c && error == -EEXIST)
        con_refuse(c, 409, "conflict", "CAS conflict: key=%s cached_etag=%s", con_key_name(&d->key),
                   d->target.etag);
    else if (c)
        con_refuse_error(c, error, 0, error == -EIO ? S3_FAIL_BROKEN : S3_FAIL_NONE,
                         "the DELETE failed", con_key_name(&d->key));
    removal_free(d);
}

/* The version that the caller knows, or else the one that is there. */
static void choose_target(struct removal *d, const char *found)
{
    struct worker *w = d->job.w;

    worker_lock(w);
    w->variant->unlink_target(d->op, SHM_NIL, d->key.full, &d->target);
    worker_unlock(w);
    if (!*d->target.etag)
        shm_etag_copy(d->target.etag, found);
}

/* True if the version that the caller means is the one for which a DELETE was lost: it knows no
 * later one. */
static bool is_lost_target(const struct removal *d)
{
    const struct shm_deletion *lost = &d->op->rec->progress.removal.sent;

    return d->again && shm_etag_same(lost->etag, d->target.etag) &&
           strcmp(lost->id, d->target.id) == 0;
}

/* Nothing is there. */
static bool was_own_work(struct removal *d)
{
    choose_target(d, d->op->rec->progress.removal.sent.etag);
    return is_lost_target(d);
}

/* What was sent counts as sent by this op, if that version is there, and is to go now. */
static void choose_lost(struct removal *d, const struct s3_object *found)
{
    struct worker *w = d->job.w;

    if (!d->again || (is_lost_target(d) && shm_etag_same(d->target.etag, found->etag)))
        return;
    worker_lock(w);
    op_progress(d->op)->removal.sent.sent = 0;
    worker_unlock(w);
}

static void on_found(void *arg, const struct s3_result *res)
{
    struct removal *d = arg;
    struct delete_args args;

    d->op->s3 = NULL;
    if (res->error == -ENOENT && was_own_work(d)) {
        removal_done(d);
        return;
    }
    if (res->error) {
        removal_refuse(d, res);
        return;
    }
    choose_target(d, res->obj.etag);
    choose_lost(d, &res->obj);
    args = (struct delete_args){.key = d->key.full,
                                .etag = d->target.etag,
                                .id = d->target.id,
                                .how = d->target.strict ? DELETE_SEEN : DELETE_LAST,
                                .note = &d->op->rec->progress.removal.sent};
    delete_key(d->op, &args, on_deleted);
}

static void removal_on_gone(struct con_job *job)
{
    job->c = NULL;
}

static const struct con_job_ops removal_ops = {.on_gone = removal_on_gone};

void con_delete(struct http_conn *c, const struct con_key *key)
{
    struct removal *d = calloc(1, sizeof(*d));
    struct s3_result res = {0};

    if (d)
        d->op = con_op_new(c, SHM_OP_HTTP_DELETE);
    if (!d || !d->op) {
        free(d);
        con_refuse(c, 503, "unavailable", "too many requests at once");
        return;
    }
    con_job_init(&d->job, &removal_ops, c);
    d->key = *key;
    d->op->client = d;
    d->op->stays = true;
    worker_lock(d->job.w);
    con_lost_begin(d->op, d->key.full);
    d->again = con_lost_take(d->op);
    worker_unlock(d->job.w);
    res.error = s3_head(d->job.w->s3, d->key.full, on_found, d, &d->op->s3);
    if (res.error < 0)
        removal_refuse(d, &res);
}
