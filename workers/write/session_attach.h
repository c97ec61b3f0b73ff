/* Attaching to a session. */
#ifndef WORKERS_WRITE_SESSION_ATTACH_H
#define WORKERS_WRITE_SESSION_ATTACH_H

#include "workers/write/session.h"

/* Takes a ref on the write session of `node` (begun if there is none), notes it in
 * op->rec->session, and makes sure that the spool holds the file: `truncate` = emptied, else loaded
 * from S3; of a large file nothing is loaded yet (session_patch.h). Then calls `then`, perhaps at
 * once: with 0, or with -errno and the ref released: -ESTALE if the object has another version by
 * now, or is gone (the name was detached: the kernel looks up again), -ENFILE, -ENOMEM, -ENOSPC, or
 * the error of S3. Keeps the op. A replayed op continues where it was. */
void session_attach(struct op *op, uint32_t node, bool truncate, session_then_fn *then);

/* Under shm->meta. The node has no session: begins one on the node's version, with nothing loaded
 * yet, and notes it in op->rec->session. Returns its index. On errors the caller must roll back:
 * -ENFILE; -ESTALE (compare-and-set): the node is open, the kernel has to look up another. */
must_use int64_t session_begin(struct op *op, uint32_t node, bool truncate);

/* Releases the ref in op->rec->session, if there is one. If the op is going to fail, and has done
 * more with its session than to attach it, use session_detach_fail: a replacement that handles it
 * again would find nothing left to do in a new session, and report success. */
void session_detach(struct op *op);

/* The same in parts, for a caller that has a locked section of its own. The first under shm->meta,
 * the second after unlocking. */
struct session_detached {
    uint32_t session; /* SHM_NIL: there was none */
    uint32_t mask;    /* workers to wake */
    bool closed;      /* nobody else uses it: it must be cleared */
};
must_use struct session_detached session_detach_begin(struct op *op);
void session_detach_end(struct worker *w, const struct session_detached *d);

/* op_fail(), with the release in the section that stores the reply. `error`: -errno. */
void session_detach_fail(struct op *op, int error);

/* session_attach for an op that wants all of the content in the spool: of a large file too
 * (session_patch.h). */
void session_attach_whole(struct op *op, uint32_t node, session_then_fn *then);

#endif
