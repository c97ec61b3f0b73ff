/* Write sessions: what their headers share. A session is attached to (session_attach.h), loaded
 * (session_load.h), changed (session_change.h), published (publish_wait.h) and ends
 * (session_end.h). The table of sessions is shm/shm_session.h; their bytes are in the spool
 * (spool.h). "Under shm->meta" means that the caller holds it; all other functions must be called
 * without it. */
#ifndef WORKERS_WRITE_SESSION_H
#define WORKERS_WRITE_SESSION_H

#include "shm/shm_session.h"
#include "workers/op/op.h"

/* Continues a handler; the op has not been replied to. */
typedef void session_then_fn(struct op *op, int error);

#endif
