/* The ring of kernel notifications. Written out in daemon/notifier.c. */
#include "shm/shm_notify.h"

#include <errno.h>
#include <string.h>

size_t shm_notify_size(const struct shm_sizes *s)
{
    (void)s;
    return sizeof(struct shm_notify_ring);
}

void shm_notify_init(struct shm *shm)
{
    shm->notify->head = shm->notify->tail = 0;
}

static struct shm_notify *put(struct shm *shm)
{
    struct shm_notify_ring *r = shm->notify;
    struct shm_notify *n;

    if (r->tail - r->head >= SHM_NOTIFY_SLOTS) {
        shm_set(shm, shm->meta, r->dropped, r->dropped + 1);
        return NULL;
    }
    n = &r->slot[r->tail % SHM_NOTIFY_SLOTS];
    shm_save(shm, shm->meta, n, sizeof(*n));
    shm_set(shm, shm->meta, r->tail, r->tail + 1);
    return n;
}

void shm_notify_inode(struct shm *shm, uint32_t node)
{
    struct shm_notify *n = put(shm);

    if (n)
        *n = (struct shm_notify){.kind = SHM_NOTIFY_INODE,
                                 .node_id = shm_node_id(shm, node)};
}

void shm_notify_entry(struct shm *shm, uint32_t parent, const char *name,
                      size_t len)
{
    struct shm_notify *n = len <= SHM_NAME_MAX ? put(shm) : NULL;

    if (!n)
        return;
    *n = (struct shm_notify){.kind = SHM_NOTIFY_ENTRY,
                             .n = (uint32_t)len,
                             .node_id = shm_node_id(shm, parent)};
    memcpy(n->name, name, len);
}

void shm_notify_prune(struct shm *shm, const uint64_t *node_ids, uint32_t n_ids)
{
    struct shm_notify *n = n_ids && n_ids <= SHM_NOTIFY_NODES ? put(shm) : NULL;

    if (!n)
        return;
    *n = (struct shm_notify){.kind = SHM_NOTIFY_PRUNE, .n = n_ids};
    memcpy(n->nodes, node_ids, n_ids * sizeof(*node_ids));
}

bool shm_notify_next(struct shm *shm, struct shm_notify *ret)
{
    struct shm_notify_ring *r = shm->notify;
    bool any;

    shm_lock(shm, shm->meta);
    any = r->head != r->tail;
    if (any)
        *ret = r->slot[r->head % SHM_NOTIFY_SLOTS];
    shm_unlock(shm, shm->meta);
    return any;
}

void shm_notify_written(struct shm *shm)
{
    struct shm_notify_ring *r = shm->notify;

    shm_lock(shm, shm->meta);
    if (r->head != r->tail) {
        shm_set(shm, shm->meta, r->head, r->head + 1);
        shm_set(shm, shm->meta, r->written, r->written + 1);
    }
    shm_unlock(shm, shm->meta);
}

int shm_notify_check(struct shm *shm, struct err *err)
{
    uint32_t n;

    shm_lock(shm, shm->meta);
    n = shm->notify->tail - shm->notify->head;
    shm_unlock(shm, shm->meta);
    if (n > SHM_NOTIFY_SLOTS)
        return err_set(err, EUCLEAN, "%u notifications in %u slots", n,
                       SHM_NOTIFY_SLOTS);
    return 0;
}
