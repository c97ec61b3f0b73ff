/* FORGET, BATCH_FORGET: the kernel drops references. There is no reply, so the section that changes
 * the counts also ends the request (its record becomes FREE): a replacement must not count
 * again. */
#include "workers/handlers/fuse_op.h"
#include "workers/handlers/handlers.h"

#define BATCH 8 /* nodes per locked section: each takes up to 1 KiB of the undo log */

/* Under shm->meta. An id may be unknown, as after all processes were killed: then there is nothing
 * to release. */
static void forget_forget(struct worker *w, uint64_t node_id, uint64_t n)
{
    uint32_t node = shm_node_of_id(w->shm, node_id);

    if (node != SHM_NIL)
        shm_node_forget(w->shm, node, n);
}

/* Under shm->meta. */
static void free_record(struct op *op)
{
    shm_save(op->w->shm, op->w->shm->meta, &op->rec->state, sizeof(op->rec->state));
    atomic_store_explicit(&op->rec->state, SHM_RECORD_FREE, memory_order_release);
}

void op_forget(struct op *op)
{
    struct worker *w = op->w;

    worker_lock(w);
    forget_forget(w, fuse_req(op)->nodeid, fuse_req(op)->forget->nlookup);
    free_record(op);
    worker_unlock(w);
    op_done(op);
}

void op_batch_forget(struct op *op)
{
    struct worker *w = op->w;
    const struct fuse_forget_one *one = fuse_req(op)->data;
    uint32_t n = fuse_req(op)->batch_forget->count, i;

    if (n > fuse_req(op)->data_len / sizeof(*one))
        n = (uint32_t)(fuse_req(op)->data_len / sizeof(*one));
    do {
        worker_lock(w);
        i = op->rec->batch_done;
        for (unsigned k = 0; k < BATCH && i < n; k++, i++)
            forget_forget(w, one[i].nodeid, one[i].nlookup);
        op_edit(op)->batch_done = i;
        if (i >= n)
            free_record(op);
        worker_unlock(w);
    } while (i < n);
    op_done(op);
}
