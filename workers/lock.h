/* What closing a file does to its locks; taking them is op_lock.c's own matter. */
#ifndef WORKERS_LOCK_H
#define WORKERS_LOCK_H

#include "workers/op.h"

/* FLUSH: the ranges that its lock_owner has on the file go. Done twice it does no harm. */
void lock_flush(struct op *op);

/* RELEASE: whatever was taken through the handle goes (flock locks, those of the open file
 * description, and what an unheard FLUSH left). Done twice it does no harm. */
void lock_release(struct op *op);

#endif
