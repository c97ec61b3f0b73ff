/* Sources of copies that are not made yet (op_copy_range.c). What this mount is about to overwrite,
 * delete or move may be wanted by a session that is to be a copy of it: that is loaded first. (What
 * others do to a source is told by the close.) */
#ifndef WORKERS_WRITE_COPY_SOURCE_H
#define WORKERS_WRITE_COPY_SOURCE_H

#include "workers/op/key.h"
#include "workers/op/op.h"

/* Under shm->meta. A session that is to be a copy of this key (`below`: of any that begins with
 * it), and still can be loaded, the end of which will wake this worker; SHM_NIL if there is
 * none. */
uint32_t copy_source_wanted(struct worker *w, const char *key, bool below);

/* Loads all of them, then calls `then` with 0, perhaps at once. The op must be kept; its `state` is
 * used. */
void copy_source_settle(struct op *op, const char *key, bool below,
                        void (*then)(struct op *op, int error));

#endif
