/* Changing the content of a session. */
#ifndef WORKERS_WRITE_SESSION_CHANGE_H
#define WORKERS_WRITE_SESSION_CHANGE_H

#include "workers/op/op.h"

/* Under shm->meta. Nobody may change the spool while a publish streams from it, while it moves to
 * disk or while an open empties it. True: the op is noted (op->rec->change = SHM_CHANGE_BEGUN) and
 * may change it, up to `end` bytes; false: wait. */
must_use bool session_change_begin(struct op *op, uint32_t session, uint64_t end);

/* Under shm->meta, in the section with op_applied. Ends what session_change_begin began, and wakes
 * who waits for it (returns their mask, for worker_wake after unlocking). */
must_use uint32_t session_change_end(struct op *op, uint32_t session);

/* session_change_begin for handlers: loads the content first where the spool does not have it (a
 * copy that the server made, op_copy_range.c), and moves it to disk where `end` bytes do not fit
 * into memory. 1: begun; 0: wait, and try again; -ENOSPC, -EIO: it must move and cannot; what the
 * load says, -ESTALE when the object is of another version by now, or gone. */
must_use int session_take_turn(struct op *op, uint32_t session, uint64_t end);

/* The content goes to disk. 0 (also when somebody else began something meanwhile: look again),
 * -ENOSPC, -EIO. The content stays as it was on failure. */
must_use int session_move_to_disk(struct op *op, uint32_t session);

/* Under shm->meta, in a change that makes the content shorter, and before the spool is: nobody
 * reads beyond `size` from now on, where there will be zeroes, however long the change takes. */
void session_cut(struct worker *w, uint32_t session, uint64_t size);

/* Under shm->meta: a WRITE failed (error: -errno), so the content is not what the writer means it
 * to be. Every attempt to publish it fails with this error, until the file is emptied. */
void session_write_failed(struct worker *w, uint32_t session, int error);

/* Under shm->meta, last write wins: the node may have left its name to a version from elsewhere
 * (resolve_intern.c), which what is written here replaces. It gets it back, unless it was removed
 * or replaced here, or somebody writes to that version: he has it until he publishes. */
void session_regain_name(struct worker *w, uint32_t session);

/* Under shm->meta: the content has changed, now, from `from` on, and has this size. Everybody on
 * this mount sees it (last write wins). */
void session_written(struct worker *w, uint32_t session, uint64_t from, uint64_t new_size);

#endif
