/* A slot for each pair of thread and directory, by a hash of both. */
#include "shm/shm_lister.h"

static struct shm_lister *slot_of(struct shm *shm, uint32_t pid, uint64_t dir)
{
    return &shm->nodes->listers[(pid * UINT32_C(2654435761) ^ (uint32_t)dir) % SHM_LISTERS];
}

static struct shm_lister *lister_edit(struct shm *shm, struct shm_lister *l)
{
    shm_save(shm, shm->meta, l, sizeof(*l));
    return l;
}

void shm_lister_reads(struct shm *shm, uint32_t pid, uint32_t dir, uint64_t fh, uint64_t now_ns)
{
    uint64_t id = shm_node_id(shm, dir);

    if (pid)
        *lister_edit(shm, slot_of(shm, pid, id)) =
            (struct shm_lister){.pid = pid, .dir = id, .fh = fh, .open = 1, .last_ns = now_ns};
}

void shm_lister_closed(struct shm *shm, uint32_t pid, uint32_t dir, uint64_t fh)
{
    uint64_t id = shm_node_id(shm, dir);
    struct shm_lister *l = slot_of(shm, pid, id);

    if (!pid || l->pid != pid || l->dir != id || l->fh != fh)
        return;
    lister_edit(shm, l)->open = 0;
}

enum shm_lister_look shm_lister_looks(struct shm *shm, uint32_t pid, uint32_t dir, bool is_open,
                                      uint64_t now_ns, uint64_t ttl_ns)
{
    uint64_t id = shm_node_id(shm, dir);
    struct shm_lister *l = slot_of(shm, pid, id);
    uint64_t gap = now_ns - l->last_ns;

    if (!pid || l->pid != pid || l->dir != id)
        return SHM_LISTER_NO;
    if (gap > SHM_LISTER_GAP_NS && (!l->open || gap > ttl_ns))
        return SHM_LISTER_NO;
    if (gap > SHM_LISTER_GAP_NS && !is_open)
        return SHM_LISTER_IF_OPEN;
    lister_edit(shm, l)->last_ns = now_ns;
    return SHM_LISTER_YES;
}
