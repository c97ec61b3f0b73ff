/* Renames: op_rename.c decides, rename_dir.c moves the keys of a directory. */
#ifndef WORKERS_RENAME_H
#define WORKERS_RENAME_H

#include "workers/key.h"
#include "workers/op.h"

/* Moves every key below `from` to `to` (both with a slash at the end): CopyObject and DeleteObject
 * each, some side by side, a page of keys at a time, until a listing of `from` shows none. Not
 * atomic, but resumable: begun again after a worker's death it does what is left. Calls `then` with
 * 0 or -errno, the first error; what was moved by then stays moved. The op is kept, and its `state`
 * is used. */
void rename_keys(struct op *op, const char *from, const char *to,
                 void (*then)(struct op *op, int error));

/* Names of either RENAME opcode. */
struct rename_args {
    const char *name, *new_name;
    size_t len, new_len;
    uint64_t new_dir_id;
    uint32_t flags;
};

#endif
