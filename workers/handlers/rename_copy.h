/* The copy of a renamed file to its new key, by the server (last write wins). */
#ifndef WORKERS_HANDLERS_RENAME_COPY_H
#define WORKERS_HANDLERS_RENAME_COPY_H

#include "s3/s3.h"
#include "workers/op/op.h"

/* Copies op->rec->node, pinned to its version, to its new name. 0, and rename_copied is called with
 * the result; or -errno: -EFBIG, or what rename_keys_of and s3_copy return. */
must_use int rename_copy(struct op *op);

/* Of rename_lww.c: `arg` is the op. */
void rename_copied(void *arg, const struct s3_result *res);

#endif
