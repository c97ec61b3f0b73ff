/* See dir_keep.h. One PUT, of what mkdir puts, and only if there is none yet: a marker that
 * somebody else has put meanwhile stays as it is. Before it one LIST, if ours is too old. */
#include "workers/names/dir_keep.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "s3/s3_error.h"
#include "workers/names/dir_empty.h"
#include "workers/objmeta/meta.h"
#include "workers/op/key.h"
#include "workers/op/sequence.h"
#include "workers/op/validity.h"

struct dir_keep {
    struct op *op;
    bool asked; /* with a condition */
    struct meta_out meta;
    char key[KEY_CAP];
};

enum last { LAST_NO, LAST_YES, LAST_ASK };

/* Under shm->meta. What the listing shows. Names that somebody else has made since are not in an
 * old one: then S3 is asked. */
static enum last was_last(const struct op *op, uint32_t dir, const char *name, size_t len)
{
    struct worker *w = op->w;
    const struct shm_node *d = shm_node_at(w->shm, dir);
    uint32_t left = shm_node_find(w->shm, dir, name, len) == SHM_NIL ? 0 : 1;

    if (!w->conf->directories.marker || d->parent == SHM_NIL || d->entries != left ||
        (d->flags & (SHM_NODE_DIR | SHM_NODE_COMPLETE | SHM_NODE_MARKER | SHM_NODE_LOCAL)) !=
            (SHM_NODE_DIR | SHM_NODE_COMPLETE))
        return LAST_NO;
    return validity_holds(shm_node_listed_ns(w->shm, dir), w->conf->directories.ttl_ns,
                          clock_mono_ns())
               ? LAST_YES
               : LAST_ASK;
}

static void tell_failure(const char *key, int error)
{
    if (error)
        log_notice(
            "no marker for an emptied directory key=\"%s\" error=\"%s\": it is there no more", key,
            strerror(-error));
}

static void dir_keep_end(struct dir_keep *k, int error)
{
    struct op *op = k->op;
    uint32_t dir;

    tell_failure(k->key, error);
    worker_lock(op->w);
    dir = op_node(op);
    if (!error && dir != SHM_NIL && (shm_node_at(op->w->shm, dir)->flags & SHM_NODE_CURRENT))
        shm_node_edit(op->w->shm, dir)->flags |= SHM_NODE_MARKER;
    worker_unlock(op->w);
    op_set_state(op, NULL, NULL);
    free(k);
    op_step_done(op, error);
}

static int dir_keep_put(struct dir_keep *k);

static void dir_keep_on_put(void *arg, const struct s3_result *res)
{
    struct dir_keep *k = arg;
    int r = res->error;

    k->op->s3 = NULL;
    if (r < 0 && k->asked && s3_condition_unknown(res->http_status, res->code)) {
        (void)s3_habit_learn(k->op->w->s3, S3_HABIT_NO_PUT_MATCH);
        r = dir_keep_put(k);
        if (r == 0)
            return;
    }
    dir_keep_end(k, r == -EEXIST ? 0 : r); /* EEXIST: it has one by now */
}

static int dir_keep_put(struct dir_keep *k)
{
    struct worker *w = k->op->w;
    struct s3_put put = meta_marker(k->key, &k->meta);

    k->asked = !s3_habit_has(w->s3, S3_HABIT_NO_PUT_MATCH);
    put.if_none_match = k->asked ? "*" : NULL;
    return s3_put(w->s3, &put, dir_keep_on_put, k, &k->op->s3);
}

static void dir_keep_put_marker(struct op *op, const char *key)
{
    struct worker *w = op->w;
    struct dir_keep *k = calloc(1, sizeof(*k));
    bool named = false;
    uint32_t dir;
    int r = 0;

    if (!k) {
        op_step_done(op, -ENOMEM);
        return;
    }
    k->op = op;
    snprintf(k->key, sizeof(k->key), "%s", key);
    op_set_state(op, k, free);
    worker_lock(w);
    dir = op_node(op);
    if (dir != SHM_NIL) {
        named = shm_node_at(w->shm, dir)->flags & SHM_NODE_CURRENT;
        if (w->conf->metadata == CONF_METADATA_FULL)
            meta_write(&k->meta, shm_node_at(w->shm, dir));
    }
    worker_unlock(w);
    if (named) /* (it may have been removed itself, if this request took very long) */
        r = dir_keep_put(k);
    if (!named || r < 0)
        dir_keep_end(k, r);
}

static void dir_keep_on_checked(struct op *op, const char *key, int error, bool marker)
{
    if (error == 0 && !marker) {
        dir_keep_put_marker(op, key);
        return;
    }
    error = error == -ENOTEMPTY ? 0 : error;
    tell_failure(key, error);
    op_step_done(op, error);
}

void dir_keep(struct op *op, const char *name, size_t len)
{
    struct worker *w = op->w;
    enum last last = LAST_NO;
    char key[KEY_CAP];
    uint32_t dir;
    int r = 0;

    worker_lock(w);
    dir = op_node(op);
    if (dir != SHM_NIL)
        last = was_last(op, dir, name, len);
    if (last != LAST_NO)
        r = key_of_node(w, dir, key);
    worker_unlock(w);
    if (r == 0 && last == LAST_ASK)
        r = dir_check_empty(op, key, dir_keep_on_checked);
    else if (r == 0 && last == LAST_YES)
        dir_keep_put_marker(op, key);
    if (r < 0 || last == LAST_NO)
        op_step_done(op, r);
}
