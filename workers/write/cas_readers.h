/* Compare-and-set: who reads what is about to be replaced. */
#ifndef WORKERS_WRITE_CAS_READERS_H
#define WORKERS_WRITE_CAS_READERS_H

#include "workers/op/worker.h"

/* Under shm->meta. The name's node is about to be replaced, or to go. If somebody has it open for
 * reading, and not all of it is here, it goes off the name (which gets another node of the same
 * version) and gets a session, an orphan that publishes nothing, for its bytes. Files over
 * ORPHAN_LOAD_MAX are left out: those are read on by version id, or are ESTALE. */
void cas_keep_readers(struct worker *w, uint32_t named);

/* Under shm->meta. Such a session of this name that is still to be loaded, or is being loaded;
 * SHM_NIL if there is none. */
uint32_t cas_readers_wait(struct worker *w, uint32_t dir, const char *name, size_t len);

/* Begins the load of such a session, if none runs; whoever waits in this worker looks again. One
 * that cannot begin counts as failed: its readers see what is here. */
void cas_readers_load(struct worker *w, uint32_t session);

#endif
