/* Compare-and-set: private nodes, and which sessions belong to which process (cas.h,
 * "Isolation"). */
#ifndef WORKERS_CAS_CAS_NODES_H
#define WORKERS_CAS_CAS_NODES_H

#include "workers/op/op.h"

/* Under shm->meta. The next session, from index `at` on, that the caller has open on this name;
 * SHM_NIL if there is none. Skips sessions of unlinked files. */
uint32_t cas_next_session(struct op *op, uint32_t at, uint32_t dir, const char *name, size_t len);

/* The same, including sessions of ancestors that wait for the caller (cas_identify_family): what
 * the caller removes or moves counts as removed or moved by them. */
uint32_t cas_next_of_family(struct op *op, uint32_t at, uint32_t dir, const char *name, size_t len);

/* Under shm->meta. The node of a session of the caller on this name that has unpublished data;
 * SHM_NIL if there is none. */
uint32_t cas_own_session(struct op *op, uint32_t dir, const char *name, size_t len);

/* Under shm->meta. The node of a session of the caller on the name of `named` that has no
 * unpublished data and is built on the version of `named`; SHM_NIL if there is none. */
uint32_t cas_own_clean(struct op *op, uint32_t named);

/* Not under a lock. The caller has removed, replaced or (`moved`) renamed the file of this name:
 * the file that other processes have open is no longer the one that the name has now. */
void cas_replaced(struct op *op, uint64_t dir_id, const char *name, size_t len, bool moved);

/* Under shm->meta. Another node of the same version, with the same bytes: PRIVATE, or (after this
 * one has been detached from its name) the one that the name has from now on. Its index, or
 * -ENOMEM. */
must_use int64_t cas_copy(struct worker *w, uint32_t node, bool private);

/* Under shm->meta. A PRIVATE copy of the node for the calling thread, to write through: of the same
 * version, with the same bytes. Its index, or -ENOMEM. */
must_use int64_t cas_private(struct op *op, uint32_t node);

/* Under shm->meta. The PRIVATE node that was made last for a thread of the caller's process, if it
 * is a copy of what the name maps to now (the same version and bytes) and is not open yet; else
 * SHM_NIL. Threads that open a file at the same time get one node, and so one session, in whatever
 * order they come. */
uint32_t cas_made(struct op *op, uint32_t named);

/* Under shm->meta. `named` is the node that its name maps to. The node that the kernel last got for
 * this name: `named` itself, or a PRIVATE one. */
uint32_t cas_told(struct worker *w, uint32_t named);

/* Under shm->meta. Records that the kernel gets this node for its name. */
void cas_tells(struct worker *w, uint32_t node);

/* Under shm->meta. Metadata were changed through this node: copies them and the new ETag to all
 * nodes of its name that had version `from`. */
void cas_share(struct worker *w, uint32_t node, const char from[SHM_ETAG_MAX]);

/* Under shm->meta. The time of the last change of attributes was moved in this node alone, and not
 * stored: the other nodes of its version have it too, but for those that are being written. */
void cas_share_ctime(struct worker *w, uint32_t node);

/* Under shm->meta. Like cas_copied, for the sessions on the node's name that are built on
 * `from`. */
void cas_sessions_copied(struct worker *w, uint32_t node, const char from[SHM_ETAG_MAX],
                         const char to[SHM_ETAG_MAX]);

#endif
