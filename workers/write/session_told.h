/* Whether the programs of a file know that its bytes are not on S3, and since when. A loss that was
 * told before the daemon was asked to end does not count in its exit code, however late the kernel
 * hands on that the file is closed: a RELEASE comes after close(2) has returned, or when the last
 * of those who have inherited the descriptor closes it. */
#ifndef WORKERS_WRITE_SESSION_TOLD_H
#define WORKERS_WRITE_SESSION_TOLD_H

#include "workers/op/worker.h"

/* Under shm->meta, in the section with op_applied: a close or an fsync (or the exit of a program
 * that did not close it) gets the error of the session's publish, of a failed write, or that
 * another version is on S3. The last such answer counts: who gets it while the daemon is ending was
 * not told before. What was written while the publish ran was not told either. */
void session_tell(struct worker *w, uint32_t session);

/* Under shm->meta, `s` is saved. The content has changed, or another publish of it begins: what was
 * told was not about that. */
void session_untold(struct shm_session *s);

/* Under shm->meta. The session's bytes are given up, as their publish or a write failed. If the
 * daemon is ending, its exit code will say so, unless they were told before. */
void session_lost(struct worker *w, uint32_t session);

#endif
