/* Finding the node of a lock; releasing locks when a file is closed. */
#include "workers/handlers/lock.h"

#include "workers/handlers/fuse_op.h"

#include "shm/shm_flock.h"
#include "shm/shm_handle.h"

uint32_t lock_node(struct worker *w, uint64_t fh, uint32_t *ret_handle)
{
    *ret_handle = shm_handle_of_fh(w->shm, fh, SHM_HANDLE_FILE);
    return *ret_handle == SHM_NIL ? SHM_NIL : shm_handle_at(w->shm, *ret_handle)->node;
}

void lock_flush(struct op *op)
{
    struct worker *w = op->w;
    uint32_t handle, node, wake = 0;

    worker_lock(w);
    node = lock_node(w, fuse_req(op)->flush->fh, &handle);
    if (node != SHM_NIL)
        wake = shm_flock_drop_owner(w->shm, node, fuse_req(op)->flush->lock_owner);
    worker_unlock(w);
    worker_wake(w, wake);
}

void lock_release(struct op *op)
{
    struct worker *w = op->w;
    bool more = false;

    do {
        uint32_t handle, node, wake = 0;

        worker_lock(w);
        node = lock_node(w, fuse_req(op)->release->fh, &handle);
        if (node != SHM_NIL)
            more = shm_flock_drop_handle(w->shm, node, handle, &wake);
        worker_unlock(w);
        worker_wake(w, wake);
    } while (more);
}
