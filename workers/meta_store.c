/* Metadata cannot be changed, only copied: HEAD tells what is there, CopyObject onto itself writes
 * it anew, pinned to the version that the node is. Killed in between and begun again, it does the
 * same once more. */
#include "workers/meta_store.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "s3/s3_error.h"
#include "workers/key.h"
#include "workers/meta.h"
#include "workers/names.h"

struct store {
    struct op *op;
    void (*then)(struct op *op, int error);
    struct shm_node changed;
    char key[KEY_CAP];
};

static void end(struct store *st, int error)
{
    struct op *op = st->op;
    void (*then)(struct op *op, int error) = st->then;

    op->state = NULL;
    op->state_free = NULL;
    free(st);
    then(op, error);
}

/* A copy of an object that came in parts has another ETag. */
static void take_etag(struct store *st, const char *etag)
{
    struct worker *w = st->op->w;
    struct shm_node *n;

    worker_lock(w);
    n = shm_node_edit(w->shm, st->op->rec->node);
    memset(n->etag, 0, sizeof(n->etag));
    memcpy(n->etag, etag, strnlen(etag, SHM_ETAG_MAX - 1));
    worker_unlock(w);
}

static void on_copied(void *arg, const struct s3_result *res)
{
    struct store *st = arg;

    st->op->s3 = NULL;
    if (res->error == 0)
        take_etag(st, res->obj.etag);
    end(st, res->error);
}

static void on_head(void *arg, const struct s3_result *res)
{
    struct store *st = arg;
    struct worker *w = st->op->w;
    struct meta_out meta;
    struct s3_copy copy = {
        .from_key = st->key,
        .to_key = st->key,
        .if_source_match = *st->changed.etag ? st->changed.etag : NULL,
        .replace_meta = true,
        .content_type = *res->obj.content_type ? res->obj.content_type : NULL,
    };
    int r = res->error;

    st->op->s3 = NULL;
    if (r == 0 && strcmp(res->obj.etag, st->changed.etag) != 0)
        r = -ESTALE;
    if (r == 0 && res->obj.size > S3_PUT_MAX)
        r = -EFBIG; /* needs a copy in parts */
    if (r == 0) {
        meta_write(&meta, &st->changed);
        meta_keep(&meta, &res->obj);
        copy.meta = meta.pair;
        copy.n_meta = meta.n;
        w->stats->s3[S3_OP_COPY]++;
        r = s3_copy(w->s3, &copy, on_copied, st, &st->op->s3);
    }
    if (r < 0)
        end(st, r);
}

static void ask(struct store *st)
{
    struct op *op = st->op;
    struct worker *w = op->w;
    int r;

    worker_lock(w);
    r = key_of_node(w, op->rec->node, st->key);
    worker_unlock(w);
    if (r == 0) {
        w->stats->s3[S3_OP_HEAD]++;
        r = s3_head(w->s3, st->key, on_head, st, &op->s3);
    }
    if (r < 0)
        end(st, r);
}

/* The node is held, so that no publish, rename or unlink comes in between. */
static void attempt(struct op *op)
{
    struct worker *w = op->w;
    uint32_t node;
    bool held;

    worker_lock(w);
    node = op->rec->node != SHM_NIL ? op->rec->node : op_node(op);
    held = node != SHM_NIL && names_hold(op, node);
    if (held)
        op_edit(op)->node = node;
    worker_unlock(w);
    if (node == SHM_NIL) {
        op_stop_waiting(op);
        end(op->state, -ESTALE);
    } else if (held) {
        op_stop_waiting(op);
        ask(op->state);
    }
}

void meta_store(struct op *op, const struct shm_node *changed,
                void (*then)(struct op *op, int error))
{
    struct store *st;

    if (op_keep(op) < 0)
        return;
    st = calloc(1, sizeof(*st));
    if (!st) {
        then(op, -ENOMEM);
        return;
    }
    st->op = op;
    st->then = then;
    st->changed = *changed;
    op->stays = true;
    op->state = st;
    op->state_free = free;
    op_wait(op, attempt);
    attempt(op);
}
