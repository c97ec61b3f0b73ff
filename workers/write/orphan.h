/* Files without a name, which somebody reads on. */
#ifndef WORKERS_WRITE_ORPHAN_H
#define WORKERS_WRITE_ORPHAN_H

#include "workers/write/session.h"

#define ORPHAN_LOAD_MAX (UINT64_C(64) << 20)

/* Before the node's name goes: if somebody has the file open for reading and not all of it is here,
 * it is loaded into a session (noted in op->rec->session), as S3 will not have it any more. Not
 * files over ORPHAN_LOAD_MAX: those are read on by version id, or are ESTALE. Then calls `then`,
 * perhaps at once; an error says that it could not be loaded, and need stop nobody. Keeps the op.
 * (With compare-and-set the session is not the op's: cas_readers.c.) */
void orphan_prepare(struct op *op, uint32_t node, session_then_fn *then);

/* Under shm->meta, last, when the name has gone (the session is an ORPHAN then) or stays: gives the
 * ref back. The session to be cleared after unlocking, or SHM_NIL. */
must_use uint32_t orphan_done(struct op *op);

#endif
