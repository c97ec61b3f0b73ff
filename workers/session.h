/* Write sessions, as the handlers use them: the content in the spool, loading it, publishing it.
 *
 * session_* in this directory is about one open file; shm/shm_session.h is the table. */
#ifndef WORKERS_SESSION_H
#define WORKERS_SESSION_H

#include "shm/shm_session.h"
#include "workers/op.h"

/* ---- spool.c: the bytes ---- */

/* Reads up to len bytes at off of the session's content (size: that of the session; beyond it nothing is read).
 * Bytes read or -errno. Not under a lock. */
must_use ssize_t spool_read(struct worker *w, uint32_t session, void *buf,
                            size_t len, uint64_t off);

/* Writes; moves the content from memory to the file when it grows beyond buffer.memory. 0, -ENOSPC, -EIO, -EFBIG
 * (over S3_PUT_MAX). -EBUSY: another worker is moving it: wait for the session's job. Not under a lock. */
must_use int spool_write(struct worker *w, uint32_t session, const void *buf,
                         size_t len, uint64_t off);

/* Cuts or grows (with zeroes) the content. As spool_write. */
must_use int spool_truncate(struct worker *w, uint32_t session, uint64_t size);

/* Gives the slot's memory and disk back. */
void spool_clear(struct worker *w, uint32_t session);

/* Where the content lies now, for a PUT. */
int spool_fd(struct worker *w, uint32_t session);

/* ---- load.c ---- */

/* Makes the session of op->rec->session hold the object that its node stands for (or the newer one that S3 has by now:
 * last write wins). `then` is called, perhaps at once, with 0 or -errno; the op is kept and waits meanwhile. */
void session_load(struct op *op, void (*then)(struct op *op, int error));

/* ---- publish.c ---- */

/* Brings the session's content, as of now, to S3: starts a publish, or waits for the one that runs and then starts
 * another if that carried less. `then` as above. The op is kept and `stays` as long as the PUT runs for it. */
void session_publish(struct op *op, uint32_t session,
                     void (*then)(struct op *op, int error));

/* ---- session_end.c ---- */

/* Under shm->meta: one ref less. Returns true if that was the last one: the session has been closed (CLOSING), and the
 * caller calls session_clear after unlocking. Only for a session that is clean, or given up by session_discard. */
must_use bool session_unref(struct worker *w, uint32_t session);

/* Not under a lock: empties the spool slot of a CLOSING session and frees it. recover() does it for dead owners. */
void session_clear(struct worker *w, uint32_t session);

/* Under shm->meta: gives the unpublished bytes up. The node's attributes go back to the published version, cached pages
 * are dropped (worker_notify_kernel() after unlocking), a node that was never published is detached. */
void session_discard(struct worker *w, uint32_t session);

/* ---- op_open_write.c: called by op_open.c and op_attr.c ---- */

/* Opens the op's node for writing: attaches to its session or begins one, loads it unless `truncate`, makes the handle
 * and answers. The op may be current or kept. */
void open_for_write(struct op *op, uint32_t node, bool truncate);

/* ---- orphans, for op_unlink.c and op_rename.c (under shm->meta) ---- */

/* The file was unlinked (or replaced by a rename): the session goes on for those who have it open, and publishes
 * nothing any more. */
void session_orphan(struct worker *w, uint32_t session);

#endif
