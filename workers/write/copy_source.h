/* Sources of copies that are not made yet (op_copy_range.c). A session may be a pending copy of an
 * object that this mount is about to overwrite, delete or move: that session is loaded first. (If
 * others change a source, the close reports it.) */
#ifndef WORKERS_WRITE_COPY_SOURCE_H
#define WORKERS_WRITE_COPY_SOURCE_H

#include "workers/op/key.h"
#include "workers/op/op.h"

/* Under shm->meta. A session that is a pending copy of this key (`below`: of any key with this
 * prefix) and can still be loaded; this worker is woken when that ends. SHM_NIL if there is
 * none. */
uint32_t copy_source_wanted(struct worker *w, const char *key, bool below);

/* Loads all of them, then calls `then` with 0, perhaps at once. The op must be kept; its `state` is
 * used. */
void copy_source_settle(struct op *op, const char *key, bool below,
                        void (*then)(struct op *op, int error));

#endif
