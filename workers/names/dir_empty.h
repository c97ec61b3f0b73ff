/* Whether a directory is empty on S3: it has nothing but its marker. */
#ifndef WORKERS_NAMES_DIR_EMPTY_H
#define WORKERS_NAMES_DIR_EMPTY_H

#include "workers/op/key.h"
#include "workers/op/op.h"

/* `error`: 0: empty; -ENOTEMPTY; -errno. `key` as passed in, valid during the call. `marker`: the
 * directory has one. */
typedef void dir_empty_fn(struct op *op, const char *key, int error, bool marker);

/* Lists `key` (with its slash). A folder that a server shows without any object also counts as an
 * entry. The op is kept, and its `state` is used. 0, or -errno without calling `then`. */
must_use int dir_check_empty(struct op *op, const char *key, dir_empty_fn *then);

#endif
