/* Compare-and-set: readers of a version that is about to be replaced. */
#ifndef WORKERS_WRITE_CAS_READERS_H
#define WORKERS_WRITE_CAS_READERS_H

#include "workers/op/worker.h"

/* Under shm->meta. The version of the name's node is about to be replaced or removed. Each node of
 * this version that is open for reading, and not completely cached, gets a session for its bytes,
 * an orphan that publishes nothing; that of the name is detached from it (which gets another node
 * of the same version). A few at a time: again after cas_readers_wait. Not for files over
 * ORPHAN_LOAD_MAX: they are read on by version id, or their readers get ESTALE. */
void cas_keep_readers(struct worker *w, uint32_t named);

/* Under shm->meta. Such a session of this name whose load has not finished or not started; SHM_NIL
 * if there is none. */
uint32_t cas_readers_wait(struct worker *w, uint32_t dir, const char *name, size_t len);

/* Starts the load of such a session, if none runs; the ops of this worker that wait for it look
 * again. A load that cannot start counts as failed: the readers get only what is cached. */
void cas_readers_load(struct worker *w, uint32_t session);

#endif
