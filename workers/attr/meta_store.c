/* S3 cannot change metadata: they are written again together with their object.
 *
 *   a file        HEAD returns the current metadata; CopyObject onto itself writes the new ones. It
 *                 is conditional on the node's version: for its source, and, if the server checks
 *                 that, for its target too, so that a concurrent write is not overwritten. No HEAD
 *                 if S3 has just returned, or just got, all the metadata there are (rsync and tar
 *                 set the times of files that they have just closed)
 *   a directory   PutObject of its marker, which is empty; HEAD before it, unless it is known that
 *                 the marker has no other metadata. (A marker with content is copied, as a file.)
 *
 * A replayed op, after a crash in between, asks with HEAD what is there. So does one whose copy is
 * refused: an earlier copy of this op, whose answer was lost, may have made another version. The
 * time of the change tells whose it is (is_copied). */
#include "workers/attr/meta_store.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "s3/s3_error.h"
#include "shm/shm_session.h"
#include "workers/attr/meta_ask.h"
#include "workers/cas/cas_nodes.h"
#include "workers/objmeta/meta.h"
#include "workers/op/copy.h"
#include "workers/op/hold.h"
#include "workers/op/key.h"
#include "workers/op/validity.h"

#define AGAIN_MAX 4 /* copies of a version that was replaced meanwhile */

struct store {
    struct op *op;
    void (*then)(struct op *op, int error);
    struct meta_change change;
    struct shm_node node; /* the node with the change applied */
    uint64_t asked_ns;    /* just before the first request to S3 */
    unsigned again;
    bool copied; /* HEAD has shown that a copy of this op has acted */
    struct meta_out out;
    char type[S3_TYPE_MAX]; /* "" = S3's default */
    char xattr[XATTR_CODED_MAX];
    char key[KEY_CAP];
};

static void meta_store_begin(struct store *st);

static void meta_store_end(struct store *st, int error)
{
    struct op *op = st->op;
    void (*then)(struct op * op, int error) = st->then;

    op_set_state(op, NULL, NULL);
    free(st);
    then(op, error);
}

/* ---- done ---- */

/* Under shm->meta. A copy of an object that was uploaded in parts has another ETag. */
static void take_etag(struct worker *w, uint32_t node, struct shm_node *n, const char *etag)
{
    char now[SHM_ETAG_MAX];

    shm_etag_copy(now, etag);
    if (strcmp(now, n->etag) == 0)
        return;
    if (*n->etag)
        w->variant->was_copied(w, node, n->etag, now);
    if (n->session != SHM_NIL &&
        strcmp(shm_session_at(w->shm, n->session)->expect.etag, n->etag) == 0) {
        struct shm_session *s = shm_session_edit(w->shm, n->session);

        memcpy(s->expect.etag, now, sizeof(now));
    }
    memcpy(n->etag, now, sizeof(now));
}

int64_t meta_change_time(const struct op *op)
{
    int64_t begun = op_is_current(op) ? 0 : op->rec->progress.meta.wall_ns;

    return begun ? begun : (int64_t)clock_wall_ns();
}

/* HEAD tells what is there now. */
static void store_again(struct store *st)
{
    if (++st->again < AGAIN_MAX)
        meta_store_begin(st);
    else
        meta_store_end(st, -ESTALE);
}

/* Under shm->meta: S3 has what was composed; the node had not known. `etag`: of the object. */
static void take_stored(struct store *st, struct shm_node *n, const char *etag)
{
    struct worker *w = st->op->w;
    char was[SHM_ETAG_MAX];

    memcpy(was, n->etag, sizeof(was));
    if (!(n->flags & SHM_NODE_DIR) && *etag)
        take_etag(w, st->op->rec->node, n, etag);
    if (n->flags & SHM_NODE_DIR)
        n->flags |= SHM_NODE_MARKER;
    meta_told(n, &st->out, *st->type ? st->type : NULL);
    if (n->checked_ns < st->asked_ns)
        n->checked_ns = st->asked_ns;
    if (n->session != SHM_NIL && st->change.edit) /* S3 has the attributes now */
        shm_session_edit(w->shm, n->session)->flags &= ~(uint32_t)SHM_SESSION_XATTR;
    if (st->change.set) /* the same change that the op makes to the node */
        st->change.set(st->op, n);
    n->ctime_ns = st->node.ctime_ns;
    cas_share(w, st->op->rec->node, was);
}

/* `error`, `etag`: of the request that stored it, or of the HEAD that showed it. */
static void stored(struct store *st, int error, const char *etag)
{
    struct worker *w = st->op->w;
    struct shm_node *n;
    bool is_same;

    worker_lock(w);
    n = shm_node_edit(w->shm, st->op->rec->node);
    is_same = (n->flags & SHM_NODE_DIR) || strcmp(n->etag, st->node.etag) == 0;
    if (error == 0 && is_same)
        take_stored(st, n, etag);
    worker_unlock(w);
    if (error || is_same)
        meta_store_end(st, error);
    else
        /* The node has grown meanwhile (an append was published through another one): the copy was
         * not made of its version, and may have been replaced by it. */
        store_again(st);
}

static void on_stored(void *arg, const struct s3_result *res)
{
    struct store *st = arg;

    st->op->s3 = NULL;
    if (res->error == -ESTALE) /* perhaps by what an earlier one has made */
        store_again(st);
    else
        stored(st, res->error, res->obj.etag);
}

/* ---- writing ---- */

/* `obj` NULL: the object has no other metadata. */
static int copy(struct store *st, const struct s3_object *obj)
{
    const char *etag = obj ? obj->etag : st->node.etag;
    struct s3_copy copy = {
        .from_key = st->key,
        .to_key = st->key,
        .if_source_match = *etag ? etag : NULL,
        .if_match = *etag ? etag : NULL,
        .replace_meta = true,
        .content_type = *st->type ? st->type : NULL,
        .meta = st->out.pair,
        .n_meta = st->out.n,
        .kept = &st->out.kept,
    };

    shm_etag_copy(st->node.etag, etag);
    return copy_object(st->op->w, &copy, obj ? obj->size : st->node.size, on_stored, st,
                       &st->op->s3);
}

static int put_marker(struct store *st)
{
    struct s3_put put = meta_marker(st->key, &st->out);

    if (*st->type)
        put.content_type = st->type;
    return s3_put(st->op->w->s3, &put, on_stored, st, &st->op->s3);
}

/* Prepares the metadata to send. 1: something changes; 0: no change; -errno. */
static int compose(struct store *st, const struct s3_object *obj)
{
    struct worker *w = st->op->w;
    const char *old = obj ? meta_xattr(obj) : "";
    bool changed = false;
    int r = 0;

    worker_lock(w);
    st->node = *shm_node_at(w->shm, st->op->rec->node);
    if (st->change.set)
        st->change.set(st->op, &st->node);
    changed = meta_differ(&st->node, shm_node_at(w->shm, st->op->rec->node));
    worker_unlock(w);
    if (obj && (obj->own_type || (st->node.flags & SHM_NODE_DIR)))
        memcpy(st->type, obj->content_type, sizeof(st->type));
    if (st->change.set_type) {
        char was[S3_TYPE_MAX];

        memcpy(was, st->type, sizeof(was));
        r = st->change.set_type(st->op, st->type);
        if (r < 0)
            return r;
        changed |= strcmp(was, st->type) != 0;
    }
    if (st->change.edit) {
        r = st->change.edit(st->op, old, st->xattr);
        if (r < 0)
            return r;
        changed |= strcmp(old, st->xattr) != 0;
    }
    if (changed || st->op->rec->progress.meta.sent)
        st->node.ctime_ns = meta_change_time(st->op);
    meta_write(&st->out, &st->node);
    if (st->change.edit)
        meta_write_xattr(&st->out, st->xattr);
    if (obj)
        /* everything that came with the object fits */
        (void)meta_keep(&st->out, obj, META_KEEP_COPY);
    if (st->change.edit && st->out.bytes > META_BYTES_MAX && strlen(st->xattr) > strlen(old))
        return -ENOSPC;
    return changed;
}

static void note_sent(struct op *op)
{
    worker_lock(op->w);
    op_progress(op)->meta.sent = 1;
    worker_unlock(op->w);
}

/* A copy of this op has stored it, or somebody else: the node may not know yet. */
static void found_stored(struct store *st, const struct s3_object *obj)
{
    shm_etag_copy(st->node.etag, obj->etag);
    stored(st, 0, obj->etag);
}

static int send_composed(struct store *st, const struct s3_object *obj)
{
    bool dir = st->node.flags & SHM_NODE_DIR;

    note_sent(st->op);
    return dir && (!obj || obj->size == 0) ? put_marker(st) : copy(st, obj);
}

static void write_anew(struct store *st, const struct s3_object *obj)
{
    int r = compose(st, obj);

    if ((r == 0 && obj) || (r == 1 && st->copied)) {
        found_stored(st, obj);
        return;
    }
    if (r == 1) {
        r = send_composed(st, obj);
        if (r == 0)
            return;
    }
    meta_store_end(st, r);
}

/* ---- asking ---- */

/* Under shm->meta. The object is what a copy of this op has made of the node's version, perhaps one
 * of a predecessor: it has the time of this change. (The copy may have another ETag: on AWS, if the
 * object was uploaded in parts, or is encrypted with KMS.) */
static bool is_copied(const struct store *st, const struct s3_object *obj)
{
    const struct shm_node *n = shm_node_at(st->op->w->shm, st->op->rec->node);
    const union shm_progress *p = &st->op->rec->progress;

    return p->meta.sent && !(n->flags & SHM_NODE_DIR) &&
           meta_is_of_change(obj, n->size, p->meta.wall_ns);
}

static void meta_store_on_head(void *arg, const struct s3_result *res)
{
    struct store *st = arg;
    struct worker *w = st->op->w;
    const struct s3_object *obj = res->error ? NULL : &res->obj;
    int r = res->error;

    st->op->s3 = NULL;
    if (r == 0 || r == -ENOENT) {
        worker_lock(w);
        st->copied = obj && is_copied(st, obj);
        if (st->copied)
            take_etag(w, st->op->rec->node, shm_node_edit(w->shm, st->op->rec->node), obj->etag);
        r = meta_learn(w, st->op->rec->node, obj);
        worker_unlock(w);
    }
    if (r == 0 || (r == -ENOENT && (st->node.flags & SHM_NODE_DIR)))
        write_anew(st, obj);
    else
        meta_store_end(st, r);
}

/* True if the object cannot have metadata that the node does not know. */
static bool is_known(const struct store *st)
{
    const struct shm_node *n = &st->node;

    if (n->flags & SHM_NODE_DIR)
        return (n->flags & SHM_NODE_META) && !(n->flags & SHM_NODE_MORE);
    return shm_node_is_plain(n) && validity_holds(n->checked_ns, VALIDITY_NEXT_NS, st->asked_ns);
}

static void meta_store_begin(struct store *st)
{
    struct op *op = st->op;
    struct worker *w = op->w;
    int r;

    worker_lock(w);
    if (!op->rec->progress.meta.wall_ns)
        op_progress(op)->meta.wall_ns = (int64_t)clock_wall_ns();
    st->node = *shm_node_at(w->shm, op->rec->node);
    r = key_of_node(w, op->rec->node, st->key);
    worker_unlock(w);
    st->type[0] = '\0'; /* of an attempt before */
    st->copied = false;
    st->asked_ns = clock_mono_ns();
    if (r == 0 && is_known(st) && !op->rec->progress.meta.sent) {
        write_anew(st, NULL);
        return;
    }
    if (r == 0)
        r = s3_head(w->s3, st->key, meta_store_on_head, st, &op->s3);
    if (r < 0)
        meta_store_end(st, r);
}

/* The node is locked, so that no publish, rename or unlink of it starts meanwhile. */
static void meta_store_attempt(struct op *op)
{
    struct worker *w = op->w;
    uint32_t node;
    bool held;

    worker_lock(w);
    node = op->rec->node != SHM_NIL ? op->rec->node : op_node(op);
    held = node != SHM_NIL && hold_take(op, node);
    if (held)
        op_edit(op)->node = node;
    worker_unlock(w);
    if (node == SHM_NIL) {
        op_stop_waiting(op);
        meta_store_end(op->state, -ESTALE);
    } else if (held) {
        op_stop_waiting(op);
        meta_store_begin(op->state);
    }
}

void meta_store(struct op *op, const struct meta_change *change,
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
    st->change = *change;
    op->stays = true;
    op_set_state(op, st, free);
    op_wait(op, meta_store_attempt);
    meta_store_attempt(op);
}
