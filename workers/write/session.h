/* Write sessions, as the handlers use them. The table of sessions is shm/shm_session.h; where their
 * bytes lie is spool.h. "Under shm->meta" says that the caller holds it; all else is to be called
 * without. */
#ifndef WORKERS_WRITE_SESSION_H
#define WORKERS_WRITE_SESSION_H

#include "s3/s3.h"
#include "shm/shm_session.h"
#include "workers/op/op.h"
#include "workers/op/proc.h"

/* Continues a handler; the op has not been answered. */
typedef void session_then_fn(struct op *op, int error);

/* ---- session_attach.c ---- */

/* Takes a ref on the write session of `node` (begun if there is none), notes it in
 * op->rec->session, and sees that the spool holds the file: `truncate` = emptied, else loaded from
 * S3. Then calls `then`, perhaps at once: with 0, or with
 * -errno and the ref given back: -ESTALE when the object is of another version by now, or gone (the
 * name was detached: the kernel looks up again), -ENFILE, -ENOSPC, what S3 says. Keeps the op. A
 * replayed op goes on where it was. */
void session_attach(struct op *op, uint32_t node, bool truncate,
                    session_then_fn *then);

/* Under shm->meta. A session on the node's version, of which nothing is loaded yet, noted in
 * op->rec->session; the node has none. Its index; to be rolled back: -ENFILE; -ESTALE (compare-and-set):
 * somebody has the node open, the kernel is to look up another. */
must_use int64_t session_begin(struct op *op, uint32_t node, bool truncate);

/* Starts the load of a session of which the spool has nothing yet. 0: it runs, or has ended already
 * (sessions' waiters are woken; load.error tells); -EAGAIN: nothing to do, or somebody else's runs;
 * -ENOMEM, -ENOSPC, what S3's client says. */
must_use int session_load(struct worker *w, uint32_t session);

/* Not under a lock. Loads a session that is to be a copy (copy_source.h), if nobody does yet. False: it cannot be, look for the next one. */
must_use bool session_load_copy(struct worker *w, uint32_t session);

/* Under shm->meta. It could not be loaded: nobody waits for it. */
void session_copy_lost(struct worker *w, uint32_t session);

/* Its file has been unlinked, or replaced by another, on this mount: it has no name to be told of by.
 * (One that has only moved has.) */
static inline bool session_is_nameless(const struct shm_session *s)
{
    return (s->flags & SHM_SESSION_ORPHAN) ||
           ((s->flags & SHM_SESSION_REPLACED) && !(s->flags & SHM_SESSION_MOVED));
}

/* Gives the ref in op->rec->session back, if there is one. */
void session_detach(struct op *op);

/* ---- session_change.c: changing the content ---- */

/* Under shm->meta. Nobody may change the spool while a publish streams from it, while it moves to
 * disk or while an open empties it. True: the op is noted (op->rec->step = OP_STEP_CHANGING) and
 * may change it, up to `end` bytes; false: wait. */
must_use bool session_change_begin(struct op *op, uint32_t session, uint64_t end);

/* Under shm->meta, in the section with op_applied. Ends what session_change_begin began, and wakes
 * who waits for it (returns their mask, for worker_wake after unlocking). */
must_use uint32_t session_change_end(struct op *op, uint32_t session);

#define OP_STEP_CHANGING 1
#define OP_STEP_TRUNCATED 2 /* by an open, or by path: a replacement must not do it again */
#define OP_STEP_LOADING 3   /* session_take_turn: waits for a load that it knows of */

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

/* Under shm->meta: the content has changed, now, from `from` on, and has this size. */
void session_written(struct worker *w, uint32_t session, uint64_t from, uint64_t new_size);

/* ---- session_pids.c: who opened and wrote ---- */

/* Notes that the caller opened / wrote (enum shm_pid_flag). Reads /proc when the thread is not
 * known yet. */
void session_note_pid(struct worker *w, uint32_t session, uint32_t pid,
                      uint32_t flag);

/* The same under shm->meta, with what proc_look has said of the thread. */
void session_note_proc(struct worker *w, uint32_t session, uint32_t pid,
                       const struct proc_info *info, uint32_t flag);

/* Under shm->meta: all processes that count for what is unpublished were killed by signals. */
must_use bool session_is_torn(const struct shm_session *s);

/* ---- publish_wait.c ---- */

/* Brings the session's content, as it is now, to S3: starts a publish, or waits for the one that
 * runs, and calls `then` with 0 (also when there is nothing to do) or the error of the attempt that
 * carried it. Keeps the op. The publish itself goes on if the op is interrupted. */
void session_publish(struct op *op, uint32_t session, session_then_fn *then);

/* The same for content that a rename brings to the session's name: the object gets the metadata and
 * the type of `like` (which is copied), where it came from. */
void session_publish_like(struct op *op, uint32_t session, const struct s3_object *like,
                          session_then_fn *then);

/* ---- session_end.c ---- */

/* Under shm->meta: one ref less. True if that was the last one: the session has been closed
 * (CLOSING), and the caller calls session_clear after unlocking. What is still unpublished then is
 * given up (session_discard). */
must_use bool session_unref(struct worker *w, uint32_t session);

/* Under shm->meta: the same when a job has ended. True if nobody uses the session any more. */
must_use bool session_end_unused(struct worker *w, uint32_t session);

/* Empties the spool slot of a CLOSING session and frees it. recover() does it for dead owners. */
void session_clear(struct worker *w, uint32_t session);

/* Under shm->meta: gives the unpublished bytes up. Cached pages are dropped (worker_notify_kernel()
 * after unlocking); a node that was never published loses its name. */
void session_discard(struct worker *w, uint32_t session);

/* Under shm->meta: the file was unlinked, or replaced by a rename. The session goes on for those
 * who have it open, and publishes nothing any more. */
void session_orphan(struct worker *w, uint32_t session);

/* Under shm->meta, last write wins: the file of this name was removed, or replaced by a rename. Sessions
 * that had left the name to a version from elsewhere (resolve_intern.c) publish nothing any more
 * either: they would bring it back. */
void session_orphan_left(struct worker *w, uint32_t dir, const char *name, size_t len);

/* ---- orphan.c: files without a name ---- */

#define ORPHAN_LOAD_MAX (UINT64_C(64) << 20)

/* Before the node's name goes: if somebody has the file open for reading and not all of it is here, it
 * is loaded into a session (noted in op->rec->session), as S3 will not have it any more. Not files
 * over ORPHAN_LOAD_MAX: those are read on by version id, or are ESTALE. Then calls `then`, perhaps at once;
 * an error says that it could not be loaded, and need stop nobody. Keeps the op. (With compare-and-set
 * the session is not the op's: cas_readers.c.) */
void orphan_prepare(struct op *op, uint32_t node, session_then_fn *then);

/* Under shm->meta, last, when the name has gone (the session is an ORPHAN then) or stays: gives the ref
 * back. The session to be cleared after unlocking, or SHM_NIL. */
must_use uint32_t orphan_done(struct op *op);

/* ---- op_open_write.c: called by op_open.c ---- */

/* Opens the op's node for writing, makes the handle and answers. */
void open_for_write(struct op *op, uint32_t node, bool truncate);

#endif
