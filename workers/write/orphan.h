/* Files without a name that are still being read. */
#ifndef WORKERS_WRITE_ORPHAN_H
#define WORKERS_WRITE_ORPHAN_H

#include "workers/write/session.h"

#define ORPHAN_LOAD_MAX (UINT64_C(64) << 20)

/* Before the node's name is removed: if the file is open for reading and not all of it is cached,
 * it is loaded into a session (noted in op->rec->session: an ORPHAN when the name is removed),
 * since S3 is about to lose it. Not for files over ORPHAN_LOAD_MAX: they are read on by version
 * id, or their readers get ESTALE. Then calls `then`, perhaps at once; an error means that the
 * file could not be loaded, and the caller may continue all the same. Keeps the op. (With compare-
 * and-set the session does not belong to the op: cas_readers.c.) */
void orphan_prepare(struct op *op, uint32_t node, session_then_fn *then);

/* Under shm->meta. True if the node's version is being replaced or removed just now, and not all of
 * it is cached: whoever opened it now would come too late to have it kept. Wait, and look again:
 * this worker will be woken. False also if that may take long, as the new version is large. */
must_use bool orphan_is_too_late(struct worker *w, uint32_t node);

#endif
