/* Files that lose their name while they are open for reading: by unlink, or replaced by a rename.
 * As on a local disk they can be read to the end. Files open for writing are in their session
 * anyway, except for a copy that the server has made (op_copy_range.c). */
#include "workers/write/orphan.h"

#include <errno.h>
#include <stdlib.h>

#include "workers/op/hold.h"
#include "workers/read/fetch.h"
#include "workers/read/read.h"
#include "workers/write/cas_readers.h"
#include "workers/write/session.h"
#include "workers/write/session_attach.h"
#include "workers/write/session_end.h"

/* Under shm->meta. */
static bool is_needed(struct worker *w, uint32_t node)
{
    const struct shm_node *n = node == SHM_NIL ? NULL : shm_node_at(w->shm, node);

    if (!n || !n->opens || read_is_from_session(w, n) ||
        (n->flags & (SHM_NODE_DIR | SHM_NODE_LOCAL)) || n->size > ORPHAN_LOAD_MAX)
        return false;
    if (n->session != SHM_NIL) /* its writers may still write */
        return true;
    return !fetch_is_whole(w, n);
}

/* ---- compare-and-set: the node is detached, and its session is loaded (cas_readers.c) ---- */

struct keep {
    session_then_fn *then;
    uint32_t node;
};

static void keep_resume(struct op *op)
{
    struct keep *k = op->state;
    session_then_fn *then = k->then;
    struct worker *w = op->w;
    bool idle = false;
    uint32_t waits;

    worker_lock(w);
    cas_keep_readers(w, shm_node_named(w->shm, k->node));
    waits =
        cas_readers_wait(w, shm_node_at(w->shm, k->node)->parent, shm_node_name(w->shm, k->node),
                         shm_node_at(w->shm, k->node)->name_len);
    if (waits != SHM_NIL) {
        idle = shm_session_at(w->shm, waits)->load.state == SHM_JOB_IDLE;
        worker_awaits_session(w, waits);
    }
    worker_unlock(w);
    if (waits != SHM_NIL) {
        if (idle)
            cas_readers_load(w, waits);
        return;
    }
    op_stop_waiting(op);
    op_set_state(op, NULL, NULL);
    free(k);
    then(op, 0);
}

static void keep_readers(struct op *op, uint32_t node, session_then_fn *then)
{
    struct worker *w = op->w;
    struct keep *k;

    if (node == SHM_NIL) {
        then(op, 0);
        return;
    }
    if (op_keep(op) < 0)
        return;
    k = malloc(sizeof(*k));
    if (!k) {
        then(op, -ENOMEM);
        return;
    }
    *k = (struct keep){then, node};
    worker_lock(w);
    cas_keep_readers(w, shm_node_named(w->shm, node));
    worker_unlock(w);
    op_set_state(op, k, free);
    op_wait(op, keep_resume);
    keep_resume(op);
}

void orphan_prepare(struct op *op, uint32_t node, session_then_fn *then)
{
    bool needed;

    if (op->w->variant->isolates) {
        keep_readers(op, node, then);
        return;
    }

    worker_lock(op->w);
    needed = op->rec->session != SHM_NIL || is_needed(op->w, node);
    worker_unlock(op->w);
    if (needed)
        session_attach_whole(op, node, then);
    else
        then(op, 0);
}

/* Under shm->meta. */
static bool is_replaced_by_publish(struct worker *w, uint32_t node)
{
    uint32_t at = 0;

    while ((at = hold_next_publishing(w, at, node)) != SHM_NIL) {
        const struct shm_session *s = shm_session_at(w->shm, at++);

        if (s->size <= ORPHAN_LOAD_MAX && s->changed_from < shm_node_at(w->shm, node)->size)
            return true;
    }
    return false;
}

/* Under shm->meta. By an unlink, or by a rename of another file (or by one of its own, to which the
 * same applies: it has another key afterwards). */
static bool is_replaced_by_op(struct worker *w, uint32_t node)
{
    const struct shm_record *r = hold_of(w, node);

    return r &&
           (r->opcode == FUSE_UNLINK || r->opcode == FUSE_RENAME || r->opcode == FUSE_RENAME2) &&
           (r->node == SHM_NIL || shm_node_at(w->shm, r->node)->size <= ORPHAN_LOAD_MAX);
}

bool orphan_is_too_late(struct worker *w, uint32_t node)
{
    const struct shm_node *n = shm_node_at(w->shm, node);

    return n->size <= ORPHAN_LOAD_MAX && *n->etag && n->session == SHM_NIL &&
           !(n->flags & (SHM_NODE_DIR | SHM_NODE_LOCAL | SHM_NODE_TYPED)) &&
           (is_replaced_by_op(w, node) || is_replaced_by_publish(w, node)) && !fetch_is_whole(w, n);
}
