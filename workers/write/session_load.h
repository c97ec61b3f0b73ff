/* Loading the content of a session from S3. */
#ifndef WORKERS_WRITE_SESSION_LOAD_H
#define WORKERS_WRITE_SESSION_LOAD_H

#include "workers/op/worker.h"

/* Starts the load of a session whose spool is still empty. 0: it runs, or has ended already (the
 * session's waiters are woken; the result is in load.error); -EAGAIN: nothing to do, or a load is
 * already running; -ENOMEM, -ENOSPC, or an error of the S3 client. */
must_use int session_load(struct worker *w, uint32_t session);

/* The same for a PATCH: one load, of the first piece that is needed before bytes [off, end) are
 * changed (shm_patch_needs); a waiter looks again when it has ended. (Of any other session: all.)
 * session_load() of a PATCH loads the first piece that is missing at all. */
must_use int session_load_range(struct worker *w, uint32_t session, uint64_t off, uint64_t end);

/* Under shm->meta. The spool, which is empty, may become this large: in memory, or on disk from the
 * start. 0 or -ENOSPC. */
must_use int session_load_reserve(struct worker *w, uint32_t session, uint64_t size);

/* Not under a lock. Loads a session that is a pending copy (copy_source.h), if no load runs yet.
 * False: it cannot be loaded, look for the next one. */
must_use bool session_load_copy(struct worker *w, uint32_t session);

/* Under shm->meta. It could not be loaded: nothing waits for it any more. */
void session_copy_lost(struct worker *w, uint32_t session);

#endif
