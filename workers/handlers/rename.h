/* Renames: op_rename.c does the checks, rename_lww.c and rename_cas.c have the steps, rename_dir.c
 * moves the keys of a directory; rename.c has what they share. */
#ifndef WORKERS_HANDLERS_RENAME_H
#define WORKERS_HANDLERS_RENAME_H

#include <stdio.h> /* RENAME_NOREPLACE */

#include "workers/op/key.h"
#include "workers/op/op.h"
#include "workers/write/delete.h"

#ifndef RENAME_NOREPLACE
#define RENAME_NOREPLACE 1
#endif

/* Moves every key below `from` to `to` (both with a slash at the end), a CopyObject and a
 * DeleteObject for each, several in parallel, one page of keys at a time, until a listing of `from`
 * is empty. Not atomic, but resumable: when it is started again after a worker's death, it does
 * what is left. Calls `then` with 0 or -errno, the first error; keys that were moved before it stay
 * moved. Requires a kept op, and uses its `state`. */
void rename_keys(struct op *op, const char *from, const char *to,
                 void (*then)(struct op *op, int error));

/* The new key has the file, with version op->rec->progress.rename.etag. */
static inline bool rename_is_copied(const struct op *op)
{
    return op->rec->progress.rename.step >= SHM_RENAME_COPIED;
}

/* Under shm->meta. Records that the rename has reached this step. */
static inline void rename_came_to(struct op *op, enum shm_rename_step step)
{
    op_progress(op)->rename.step = step;
}

/* Not under a lock. Records that the new key now has the file, with this ETag. */
void rename_note_copied(struct op *op, const char *etag);

/* The arguments of either RENAME opcode. */
struct rename_args {
    const char *name, *new_name;
    size_t len, new_len;
    uint64_t new_dir_id;
    uint32_t flags;
};

/* A step: the directory of the old name stays, although that was its last (dir_keep.h). */
void rename_keep_dir(struct op *op);

/* Ends the op. With 0 it moves the source's node to the new name; the file already has the key of
 * that name, and its ETag there is in rec->progress. */
void rename_finish(struct op *op, int error);

struct rename_args rename_args_of(const struct op *op);

/* Both keys; for directories (`dir`) with a slash at the end. 0, -ESTALE, -ENAMETOOLONG,
 * -EINVAL. */
must_use int rename_keys_of(struct op *op, bool dir, char from[KEY_CAP], char to[KEY_CAP]);

/* Compare-and-set: moves the file op->rec->node (held) to its new name. Where the server honours
 * conditions on the destination of a copy, it is a copy that is conditional on what the caller
 * expects at the new name (cas.h), and a DELETE of the version that was copied; elsewhere a GET
 * into a session's spool and a PUT come in place of the copy. Calls rename_finish with 0 or -errno:
 * -EEXIST: the old or the new name has another version than expected; -EIO: it is unknown whether
 * the PUT, or the copy, took effect; -ESTALE: the source has changed: look it up again; -EFBIG: too
 * large for one PUT. Requires a kept op, and uses its `state` and rec->session. `dir` is false:
 * directories are not renamed. */
void rename_cas(struct op *op, bool dir);

/* Last write wins: moves op->rec->node (held) to its new name by a copy on the server and a DELETE;
 * a directory key by key. Unpublished bytes are published first, under the old name. Calls
 * rename_finish with 0 or -errno. Requires a kept op, and uses its `state`. */
void rename_lww(struct op *op, bool dir);

#endif
