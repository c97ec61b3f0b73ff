/* Waiting for a free slot of the table of sessions. */
#ifndef WORKERS_WRITE_SESSION_ROOM_H
#define WORKERS_WRITE_SESSION_ROOM_H

#include "workers/op/op.h"

/* Not under a lock. For a handler whose new session got `error`, and which has changed nothing, nor
 * started anything for the op. If that is -ENFILE because all sessions are in use: keeps the op,
 * and calls `again`, the handler, when one may be free. True: the op waits, or is gone. False: the
 * op is to fail with `error`, which is another one; or the caller's process holds all sessions
 * itself; or the op has waited for as long as for S3 (s3.deadline; CREATE and MKNOD: 10 s). */
must_use bool session_room_wait(struct op *op, int error, op_handler *again);

/* Under shm->meta, after shm_session_free. The workers to wake: ops of theirs wait for a slot. */
must_use uint32_t session_room_waiters(struct worker *w);

#endif
