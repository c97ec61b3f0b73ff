/* What closing a file does to its locks; taking them is op_lock.c's own matter. */
#ifndef WORKERS_HANDLERS_LOCK_H
#define WORKERS_HANDLERS_LOCK_H

#include "workers/op/op.h"

/* Under shm->meta: the node of an open file, and its handle into *ret_handle; SHM_NIL if it is
 * none. */
uint32_t lock_node(struct worker *w, uint64_t fh, uint32_t *ret_handle);

/* FLUSH: the ranges that its lock_owner has on the file go. Done twice it does no harm. */
void lock_flush(struct op *op);

/* RELEASE: whatever was taken through the handle goes (flock locks, those of the open file
 * description, and what an unheard FLUSH left). Done twice it does no harm. */
void lock_release(struct op *op);

#endif
