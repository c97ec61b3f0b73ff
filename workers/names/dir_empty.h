/* Whether a directory is empty, as S3 sees it: nothing but its marker is there. */
#ifndef WORKERS_NAMES_DIR_EMPTY_H
#define WORKERS_NAMES_DIR_EMPTY_H

#include "workers/op/key.h"
#include "workers/op/op.h"

/* `error`: 0: empty; -ENOTEMPTY; -errno. `key` as it was passed, valid during the call. */
typedef void dir_empty_fn(struct op *op, const char *key, int error);

/* Lists `key` (with its slash). Folders that a server shows without any object count. The op is
 * kept, and its `state` is used. 0, or -errno without calling `then`. */
must_use int dir_check_empty(struct op *op, const char *key, dir_empty_fn *then);

#endif
