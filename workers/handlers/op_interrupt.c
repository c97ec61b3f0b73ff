/* INTERRUPT and DESTROY. Any worker may have the request that an INTERRUPT names. */
#include <errno.h>

#include "workers/handlers/fuse_op.h"
#include "workers/handlers/handlers.h"

/* Marks the record. False if it no longer holds that request. */
static bool mark(struct shm_record *rec, uint64_t unique)
{
    atomic_store(&rec->interrupted, 1);
    return atomic_load(&rec->state) == SHM_RECORD_IN_FLIGHT && rec->unique == unique;
}

static struct shm_record *find_request(struct worker *w, uint64_t unique, uint32_t *ret_slot)
{
    const struct shm_sizes *s = &w->shm->header->sizes;

    for (uint32_t slot = 0; slot < s->workers; slot++) {
        struct shm_record *cur = &shm_arena_of(w->shm, slot)->current;

        *ret_slot = slot;
        if (slot != w->slot && cur->unique == unique &&
            atomic_load(&cur->state) == SHM_RECORD_IN_FLIGHT)
            return cur;
        for (uint32_t i = 0; i < s->records; i++) {
            struct shm_record *r = shm_arena_record(w->shm, slot, i);

            if (r->unique == unique && atomic_load(&r->state) == SHM_RECORD_IN_FLIGHT)
                return r;
        }
    }
    return NULL;
}

/* If the request is found, it is marked, and its worker ends it. If not, it was replied to (then
 * the kernel ignores our reply), or it is being moved from the read area to a record: EAGAIN makes
 * the kernel send the INTERRUPT again. */
void op_interrupt(struct op *op)
{
    struct worker *w = op->w;
    uint32_t slot;
    struct shm_record *rec = find_request(w, fuse_req(op)->interrupt->unique, &slot);

    if (!rec || !mark(rec, fuse_req(op)->interrupt->unique)) {
        op_fail(op, -EAGAIN);
        return;
    }
    op_done(op);
    worker_wake(w, UINT32_C(1) << slot);
}

/* The unmount: the next read returns ENODEV. */
void op_destroy(struct op *op)
{
    op_fail(op, 0);
}
