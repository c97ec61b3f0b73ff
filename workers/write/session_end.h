/* The end of a session. */
#ifndef WORKERS_WRITE_SESSION_END_H
#define WORKERS_WRITE_SESSION_END_H

#include "workers/op/worker.h"

/* Under shm->meta: releases one ref. True if that was the last one: the session has been closed
 * (CLOSING), and the caller must call session_clear after unlocking. What is still unpublished then
 * is discarded (session_discard). */
must_use bool session_unref(struct worker *w, uint32_t session);

/* Under shm->meta: the same when a job has ended. True if the session has no user any more. */
must_use bool session_end_unused(struct worker *w, uint32_t session);

/* Empties the spool slot of a CLOSING session and frees it. recover() does it for dead owners. */
void session_clear(struct worker *w, uint32_t session);

/* Under shm->meta: discards the unpublished bytes. Cached pages are dropped (worker_notify_kernel()
 * after unlocking); a node that was never published loses its name. */
void session_discard(struct worker *w, uint32_t session);

/* Under shm->meta: the file was unlinked, or replaced by a rename. The session stays for those that
 * have it open, and publishes nothing any more. */
void session_orphan(struct worker *w, uint32_t session);

/* Under shm->meta, last write wins: the file of this name was removed, or replaced by a rename.
 * Sessions whose name had gone to a version from elsewhere (resolve_intern.c) publish nothing any
 * more either: they would bring the file back. */
void session_orphan_left(struct worker *w, uint32_t dir, const char *name, size_t len);

#endif
