/* Renames: op_rename.c decides, rename_lww.c and rename_cas.c have the steps, rename_dir.c moves
 * the keys of a directory; rename.c is what they share. */
#ifndef WORKERS_HANDLERS_RENAME_H
#define WORKERS_HANDLERS_RENAME_H

#include "workers/op/key.h"
#include "workers/op/op.h"
#include "workers/write/delete.h"

/* Moves every key below `from` to `to` (both with a slash at the end): CopyObject and DeleteObject
 * each, some side by side, a page of keys at a time, until a listing of `from` shows none. Not
 * atomic, but resumable: begun again after a worker's death it does what is left. Calls `then` with
 * 0 or -errno, the first error; what was moved by then stays moved. The op is kept, and its `state`
 * is used. */
void rename_keys(struct op *op, const char *from, const char *to,
                 void (*then)(struct op *op, int error));

/* The new key has the file, version op->rec->progress.rename.etag. */
static inline bool rename_is_copied(const struct op *op)
{
    return op->rec->progress.rename.step >= SHM_RENAME_COPIED;
}

/* Under shm->meta. It has come so far. */
static inline void rename_came_to(struct op *op, enum shm_rename_step step)
{
    op_progress(op)->rename.step = step;
}

/* Not under a lock. The new key has the file now, as this version. */
void rename_note_copied(struct op *op, const char *etag);

/* Names of either RENAME opcode. */
struct rename_args {
    const char *name, *new_name;
    size_t len, new_len;
    uint64_t new_dir_id;
    uint32_t flags;
};

/* Ends the op: with 0 the source's node moves to the new name, which is its key already; its ETag
 * there is in rec->progress. */
void rename_finish(struct op *op, int error);

struct rename_args rename_args_of(const struct op *op);

/* Both keys; of directories with their slashes. 0, -ESTALE, -ENAMETOOLONG, -EINVAL. */
must_use int rename_keys_of(struct op *op, bool dir, char from[KEY_CAP], char to[KEY_CAP]);

/* Compare-and-set: brings the file op->rec->node (held) to its new name. Few servers keep
 * conditions on the destination of a copy, so it is a GET into a session's spool, a PUT that is
 * conditional on what the caller expects at the new name (cas.h), and a DELETE of the version that
 * was read. Calls rename_finish with 0 or -errno: -EEXIST: the old or the new name has another
 * version than expected; -EIO: whether the PUT took effect cannot be told; -ESTALE: the source has
 * changed: look it up again. The op is kept, and its `state` and rec->session are used. `dir` is
 * false: directories are not renamed. */
void rename_cas(struct op *op, bool dir);

/* Last write wins: brings op->rec->node (held) to its new name by a copy on the server and a
 * DELETE, a directory key by key. What is unpublished is published first, under the old name.
 * Calls rename_finish with 0 or -errno. The op is kept, and its `state` is used. */
void rename_lww(struct op *op, bool dir);

#endif
