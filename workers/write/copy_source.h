/* Sessions that need an object which this mount is about to overwrite, delete or move: those that
 * are to become a copy of it (op_copy_range.c), and those that change it in place and have not
 * loaded all of it (session_patch.h; up to ORPHAN_LOAD_MAX, as for readers). They are loaded first.
 * (If others change a source, the close reports it.) */
#ifndef WORKERS_WRITE_COPY_SOURCE_H
#define WORKERS_WRITE_COPY_SOURCE_H

#include "workers/op/key.h"
#include "workers/op/op.h"

/* Under shm->meta. A session other than `but` (SHM_NIL: any) that needs this key (`below`: any key
 * with this prefix) and can still be loaded; this worker is woken when that ends. SHM_NIL if there
 * is none. */
uint32_t copy_source_wanted(struct worker *w, const char *key, bool below, uint32_t but);

/* Loads all of them, then calls `then` with 0, perhaps at once. The op must be kept; its `state` is
 * used. */
void copy_source_settle(struct op *op, const char *key, bool below,
                        void (*then)(struct op *op, int error));

#endif
