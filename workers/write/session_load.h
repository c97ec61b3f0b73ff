/* Loading the content of a session from S3. */
#ifndef WORKERS_WRITE_SESSION_LOAD_H
#define WORKERS_WRITE_SESSION_LOAD_H

#include "workers/op/worker.h"

/* Starts the load of a session of which the spool has nothing yet. 0: it runs, or has ended already
 * (sessions' waiters are woken; load.error tells); -EAGAIN: nothing to do, or somebody else's runs;
 * -ENOMEM, -ENOSPC, what S3's client says. */
must_use int session_load(struct worker *w, uint32_t session);

/* Not under a lock. Loads a session that is to be a copy (copy_source.h), if nobody does yet.
 * False: it cannot be, look for the next one. */
must_use bool session_load_copy(struct worker *w, uint32_t session);

/* Under shm->meta. It could not be loaded: nobody waits for it. */
void session_copy_lost(struct worker *w, uint32_t session);

#endif
