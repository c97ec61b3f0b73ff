/* Getting hold of a session. */
#ifndef WORKERS_WRITE_SESSION_ATTACH_H
#define WORKERS_WRITE_SESSION_ATTACH_H

#include "workers/write/session.h"

/* Takes a ref on the write session of `node` (begun if there is none), notes it in
 * op->rec->session, and sees that the spool holds the file: `truncate` = emptied, else loaded from
 * S3. Then calls `then`, perhaps at once: with 0, or with
 * -errno and the ref given back: -ESTALE when the object is of another version by now, or gone (the
 * name was detached: the kernel looks up again), -ENFILE, -ENOSPC, what S3 says. Keeps the op. A
 * replayed op goes on where it was. */
void session_attach(struct op *op, uint32_t node, bool truncate, session_then_fn *then);

/* Under shm->meta. A session on the node's version, of which nothing is loaded yet, noted in
 * op->rec->session; the node has none. Its index; to be rolled back: -ENFILE; -ESTALE
 * (compare-and-set): somebody has the node open, the kernel is to look up another. */
must_use int64_t session_begin(struct op *op, uint32_t node, bool truncate);

/* Gives the ref in op->rec->session back, if there is one. */
void session_detach(struct op *op);

#endif
