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

void shm_lister_closed(struct shm *shm, uint32_t pid, uint32_t dir, uint64_t fh, uint64_t now_ns)
{
    uint64_t id = shm_node_id(shm, dir);
    struct shm_lister *l = slot_of(shm, pid, id);

    if (!pid || l->pid != pid || l->dir != id || l->fh != fh)
        return;
    l = lister_edit(shm, l);
    l->open = 0;
    l->last_ns = now_ns;
}

/* (While it is open, last_ns is when it was read.) */
bool shm_lister_looks(struct shm *shm, uint32_t pid, uint32_t dir, uint64_t now_ns, uint64_t ttl_ns)
{
    uint64_t id = shm_node_id(shm, dir);
    struct shm_lister *l = slot_of(shm, pid, id);

    if (!pid || l->pid != pid || l->dir != id ||
        now_ns - l->last_ns > (l->open ? ttl_ns : SHM_LISTER_GAP_NS))
        return false;
    if (!l->open)
        lister_edit(shm, l)->last_ns = now_ns;
    return true;
}
