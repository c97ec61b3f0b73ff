/* Files that lose their name while somebody reads them: by unlink, or replaced by a rename. As on a
 * local disk they can be read to their end. What writers have open is in their session anyway, but
 * for a copy that the server has made (op_copy_range.c). */
#include "workers/cas.h"
#include "workers/fetch.h"
#include "workers/read_blocks.h"
#include "workers/session.h"

/* Under shm->meta. */
static bool is_needed(struct worker *w, uint32_t node)
{
    const struct shm_node *n = node == SHM_NIL ? NULL : shm_node_at(w->shm, node);

    if (!n || cas_on(w) || !n->opens || read_is_from_session(w, n) ||
        (n->flags & (SHM_NODE_DIR | SHM_NODE_LOCAL)) || n->size > ORPHAN_LOAD_MAX)
        return false;
    if (n->session != SHM_NIL) /* who has it may go on to write */
        return true;
    for (uint32_t no = 0; (uint64_t)no * SHM_BLOCK_SIZE < n->size; no++) {
        if (!fetch_is_cached(w, node, n->content, no))
            return true;
    }
    return n->size > SHM_BLOCK_SIZE; /* many blocks may be evicted while it is read */
}

void orphan_prepare(struct op *op, uint32_t node, session_then_fn *then)
{
    bool needed;

    worker_lock(op->w);
    needed = op->rec->session != SHM_NIL || is_needed(op->w, node);
    worker_unlock(op->w);
    if (needed)
        session_attach(op, node, false, then);
    else
        then(op, 0);
}

uint32_t orphan_done(struct op *op)
{
    uint32_t session = op->rec->session;

    if (session == SHM_NIL)
        return SHM_NIL;
    op_edit(op)->session = SHM_NIL;
    return session_unref(op->w, session) ? session : SHM_NIL;
}
