/* Compare-and-set: nodes that nobody shares, and whose sessions are whose (cas.h, "Isolation"). */
#ifndef WORKERS_CAS_CAS_NODES_H
#define WORKERS_CAS_CAS_NODES_H

#include "workers/op/op.h"

/* Under shm->meta. The next session from index `at` on that the caller has open on this name,
 * SHM_NIL if there is none. Not unlinked ones. */
uint32_t cas_next_session(struct op *op, uint32_t at, uint32_t dir, const char *name, size_t len);

/* The same with those of ancestors that wait for the caller (cas_identify_family): what it removes
 * or moves is removed or moved by them. */
uint32_t cas_next_of_family(struct op *op, uint32_t at, uint32_t dir, const char *name, size_t len);

/* Under shm->meta. The node of one of them that has something unpublished, SHM_NIL if there is
 * none. */
uint32_t cas_own_session(struct op *op, uint32_t dir, const char *name, size_t len);

/* Under shm->meta. The node of a session of the caller's on the name of `named`, that has nothing
 * unpublished and is built on the version which that one is of; SHM_NIL if there is none. */
uint32_t cas_own_clean(struct op *op, uint32_t named);

/* Not under a lock. The caller has removed, replaced or (`moved`) renamed the file of this name:
 * what others have open of it is another file than the name has now. */
void cas_replaced(struct op *op, uint64_t dir_id, const char *name, size_t len, bool moved);

/* Under shm->meta. Another node of the same version, with the same bytes: PRIVATE, or (once this
 * one has left its name) the one that the name has from now on. Its index, or -ENOMEM. */
must_use int64_t cas_copy(struct worker *w, uint32_t node, bool private);

/* Under shm->meta. A PRIVATE copy of the node for the thread that asks, to write through: of the
 * same version, and with the same bytes. Its index, or -ENOMEM. */
must_use int64_t cas_private(struct op *op, uint32_t node);

/* Under shm->meta. The PRIVATE node that was made last for a thread of the caller's process, if it
 * is a copy of what the name maps to now (the same version and the same bytes), and nobody has
 * opened it yet; else SHM_NIL. Threads that open a file at once get one node, and so one session,
 * whoever comes first. */
uint32_t cas_made(struct op *op, uint32_t named);

/* Under shm->meta. The node that the kernel was told last under the name of this one, which the
 * name maps to: itself, or a PRIVATE one. */
uint32_t cas_told(struct worker *w, uint32_t named);

/* Under shm->meta. The kernel is told this node under its name. */
void cas_tells(struct worker *w, uint32_t node);

/* Under shm->meta. What S3 knows of the node's version is known of it from now on by all nodes of
 * its name that were of version `from`: a change of metadata made through one of them. */
void cas_share(struct worker *w, uint32_t node, const char from[SHM_ETAG_MAX]);

/* Under shm->meta. As cas_copied, for the sessions on the node's name that are built on `from`. */
void cas_sessions_copied(struct worker *w, uint32_t node, const char from[SHM_ETAG_MAX],
                         const char to[SHM_ETAG_MAX]);

#endif
