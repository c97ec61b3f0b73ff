/* Changing the content of a session. */
#ifndef WORKERS_WRITE_SESSION_CHANGE_H
#define WORKERS_WRITE_SESSION_CHANGE_H

#include "workers/op/op.h"

/* Bytes [from, to) of a file; `to` UINT64_MAX: up to the end. */
struct session_range {
    uint64_t from, to;
};

#define SESSION_ALL ((struct session_range){.to = UINT64_MAX})
#define SESSION_FROM(off) ((struct session_range){.from = (off), .to = UINT64_MAX})

/* Under shm->meta. The spool must not change while a publish streams from it, while it moves to
 * disk or while an open empties it. True: the op is noted (op->rec->change = SHM_CHANGE_BEGUN) and
 * may change this range (whose end is known) of it; false: wait. */
must_use bool session_change_begin(struct op *op, uint32_t session, struct session_range range);

/* Under shm->meta, in the section with op_applied. Ends what session_change_begin began. Returns
 * the mask of workers that wait for it, for worker_wake after unlocking. */
must_use uint32_t session_change_end(struct op *op, uint32_t session);

/* session_change_begin for handlers: loads first what the spool does not have (of a copy that the
 * server made, op_copy_range.c; or of a patch, shm_patch.h), and moves the content to disk if it
 * does not fit into memory up to the end of the range. 1: begun; 0: wait, and try again; -ENOSPC,
 * -EIO: it must move to disk and cannot; the error of the load, -ESTALE if the object has another
 * version by now, or is gone. */
must_use int session_take_turn(struct op *op, uint32_t session, struct session_range range);

/* Moves the content to disk. 0 (also if another job or change has begun meanwhile: look again),
 * -ENOSPC, -EIO. On failure the content stays as it was. */
must_use int session_move_to_disk(struct op *op, uint32_t session);

/* Under shm->meta, in a change that makes the content shorter, before the spool is shortened: from
 * now on no reader reads beyond `size`, where there will be zeroes, however long the change
 * takes. */
void session_cut(struct worker *w, uint32_t session, uint64_t size);

/* Under shm->meta: a WRITE failed (error: -errno), so the content is not what the writer intended.
 * Every attempt to publish it fails with this error, until the file is emptied. */
void session_write_failed(struct worker *w, uint32_t session, int error);

/* Under shm->meta, last write wins: the name may have gone from the node to a version from
 * elsewhere (resolve_intern.c). What is written here replaces that version, so the node gets the
 * name back; unless it was removed or replaced here, or that version has a writer of its own, whose
 * session keeps the name until it publishes. */
void session_regain_name(struct worker *w, uint32_t session);

/* Under shm->meta: the content has changed now, in this range, and has this size. All processes on
 * this mount see it (last write wins). */
void session_written(struct worker *w, uint32_t session, struct session_range range,
                     uint64_t new_size);

#endif
