/* Loading the content of a session from S3. */
#ifndef WORKERS_WRITE_SESSION_LOAD_H
#define WORKERS_WRITE_SESSION_LOAD_H

#include "workers/op/worker.h"

/* Starts the load of a session whose spool is still empty. 0: it runs, or has ended already (the
 * session's waiters are woken; the result is in load.error); -EAGAIN: nothing to do, or a load is
 * already running; -ENOMEM, -ENOSPC, or an error of the S3 client. */
must_use int session_load(struct worker *w, uint32_t session);

/* Not under a lock. Loads a session that is a pending copy (copy_source.h), if no load runs yet.
 * False: it cannot be loaded, look for the next one. */
must_use bool session_load_copy(struct worker *w, uint32_t session);

/* Under shm->meta. It could not be loaded: nothing waits for it any more. */
void session_copy_lost(struct worker *w, uint32_t session);

#endif
