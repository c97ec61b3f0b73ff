/* What closing a file does to its locks; op_lock.c takes them. */
#ifndef WORKERS_HANDLERS_LOCK_H
#define WORKERS_HANDLERS_LOCK_H

#include "workers/op/op.h"

/* Under shm->meta. The node of the open file `fh`, and its handle in *ret_handle; SHM_NIL for both
 * if `fh` is no open file. */
uint32_t lock_node(struct worker *w, uint64_t fh, uint32_t *ret_handle);

/* FLUSH: releases the ranges that its lock_owner has on the file. May be repeated. */
void lock_flush(struct op *op);

/* RELEASE: releases all locks that were taken through the handle (flock locks, those of the open
 * file description, and ranges left by a FLUSH that did not arrive). May be repeated. */
void lock_release(struct op *op);

#endif
