/* How long what S3 returned for a name stays valid. Times are monotonic: when the request to S3 was
 * sent. */
#ifndef WORKERS_OP_VALIDITY_H
#define WORKERS_OP_VALIDITY_H

#include "base/clock.h"
#include "workers/op/worker.h"

/* FRESH and LOOKED serve the one request that the kernel sends right after the one that set them.
 * If that request does not come, they must not serve another much later. Measured from when the
 * request to S3 was sent, so it includes the round trip. */
#define VALIDITY_NEXT_NS NS_PER_S

static inline bool validity_holds(uint64_t checked_ns, uint64_t ttl_ns, uint64_t now)
{
    return ttl_ns && checked_ns && now - checked_ns <= ttl_ns;
}

/* Under shm->meta. The kernel will look the name up once more; S3 need not be asked again for
 * that. */
static inline void validity_looked(struct worker *w, uint32_t node, uint32_t pid)
{
    struct shm_node *n = shm_node_edit(w->shm, node);

    n->flags |= SHM_NODE_LOOKED;
    if (!(n->flags & SHM_NODE_DIR))
        n->looked_by = pid;
}

/* Under shm->meta. This thread uses the node that its LOOKUP returned, so it will not look the name
 * up again for that. */
static inline void validity_used(struct worker *w, uint32_t node, uint32_t pid)
{
    const struct shm_node *n = shm_node_at(w->shm, node);

    if ((n->flags & (SHM_NODE_LOOKED | SHM_NODE_DIR)) == SHM_NODE_LOOKED && n->looked_by == pid)
        shm_node_edit(w->shm, node)->flags &= (uint16_t)~SHM_NODE_LOOKED;
}

/* Under shm->meta. A change of this file has failed, and may have been made all the same: the next
 * LOOKUP asks S3. Does nothing for a directory, or SHM_NIL. */
static inline void validity_doubted(struct worker *w, uint32_t node)
{
    struct shm_node *n;

    if (node == SHM_NIL || (shm_node_at(w->shm, node)->flags & SHM_NODE_DIR))
        return;
    n = shm_node_edit(w->shm, node);
    n->checked_ns = 0;
    n->flags &= (uint16_t) ~(SHM_NODE_LOOKED | SHM_NODE_FRESH);
}

#define VALIDITY_RENEW_NS (100 * NS_PER_MS) /* a directory is marked as seen at most this often */
#define VALIDITY_DEPTH 32                   /* directories that one reply renews, at most */

/* Under shm->meta. S3, asked at this time, returned something in the directory: so that directory
 * and all above it exist. */
static inline void validity_proves(struct worker *w, uint32_t dir, uint64_t asked_ns)
{
    for (int i = 0; i < VALIDITY_DEPTH && dir != SHM_NIL; i++) {
        const struct shm_node *n = shm_node_at(w->shm, dir);

        if (n->checked_ns + VALIDITY_RENEW_NS < asked_ns)
            shm_node_edit(w->shm, dir)->checked_ns = asked_ns;
        dir = n->parent;
    }
}

/* Under shm->meta. True if the node has this flag (FRESH, LOOKED), and it was set recently. Clears
 * the flag. */
static inline bool validity_take(struct worker *w, uint32_t node, uint16_t flag, uint64_t now)
{
    const struct shm_node *n = shm_node_at(w->shm, node);

    if (!(n->flags & flag))
        return false;
    shm_node_edit(w->shm, node)->flags &= (uint16_t)~flag;
    return validity_holds(n->checked_ns, VALIDITY_NEXT_NS, now);
}

/* Under shm->meta. An entry of the directory was added, removed or changed, and the name table
 * already has the change: the pages of its listing are stale, but the table still knows all names
 * of the directory. */
static inline void validity_dir_changed(struct worker *w, uint32_t dir)
{
    if (dir != SHM_NIL)
        shm_node_new_content(w->shm, dir);
}

#endif
