/* The rules of compare-and-set on files (variant s3-buffered-cas), apart from the publish itself
 * (publish.c sends it, cas_put.c judges the answers).
 *
 * Isolation: the name table always holds what is published, and a session hides nothing. Readers
 * share the name's node; whoever opens a file for writing gets a PRIVATE node beside it, which its
 * session hangs on, and which nobody but the processes that have the session open is ever given:
 * they find it by who they are (cas_own_session).
 *
 * Expectations are fixed when a session begins:
 *
 *   opened with O_TRUNC                 own baseline; else the parent's, if that was set before
 *                                       this process began; else the mount's; none: unconditional
 *   O_CREAT|O_EXCL, symlink, mknod      the key must be absent, decided at the open
 *   created                             that the key is absent, as the LOOKUP has said. With
 *                                       O_TRUNC: own baseline, if there is one; unconditional, if
 *                                       nobody has one
 *   O_APPEND                            the version that is loaded
 *   else                                the version that is loaded; refused if the process has read
 *                                       another one
 *   what a rename brings to a name      as with O_TRUNC, or as created; none: the version that the
 *                                       LOOKUP before found there, or that the key is absent;
 *                                       RENAME_NOREPLACE: that the key is absent
 *   a baseline was dropped              refused, until the key is read again
 */
#ifndef WORKERS_CAS_CAS_H
#define WORKERS_CAS_CAS_H

#include <string.h>

#include "shm/shm_session.h"
#include "workers/objmeta/lineage.h"
#include "workers/op/key.h"
#include "workers/op/op.h"

/* All empty objects have one ETag: what tells them apart is the write-id. */
static inline bool cas_is_empty(const char *etag)
{
    return strcmp(etag, S3_ETAG_EMPTY) == 0;
}

/* Under shm->meta. A symbolic link is read by whoever looks its name up: what a process knew of the
 * name before does not count. False for SHM_NIL. */
static inline bool cas_is_link(const struct worker *w, uint32_t node)
{
    return node != SHM_NIL && (shm_node_at(w->shm, node)->flags & SHM_NODE_LINK);
}

/* Looks into /proc for who asks, once an op. Not under a lock. */
void cas_identify(struct op *op);

/* The same, and whose child it is, and so on: for what writes and removes. */
void cas_identify_family(struct op *op);

/* The same for a READ: only those through a handle that is open for writing too are noted (an open
 * for reading alone has been). */
void cas_identify_reader(struct op *op, uint64_t fh);

/* Under shm->meta. An answer of S3 told this version of the key, and its lineage (NULL: none). No
 * reading: nobody's baseline moves. */
void cas_saw(struct worker *w, const char *key, const char *etag, const char *lineage);

/* Under shm->meta. The caller has read this version of the node's key: its baseline, and the
 * mount's. Does nothing where there is nothing to expect (an unpublished file). */
void cas_read(struct op *op, uint32_t node, const char *etag);

/* Under shm->meta, when a session begins on the op's node: fixes what it expects (expect,
 * lineage, flags). */
void cas_begin(struct op *op, uint32_t session, struct session_start how);

/* Under shm->meta, when the content of a session is to get another name, which is its node's
 * already: fixes what it expects there instead. `target`: the node that the name had, SHM_NIL for
 * none; `noreplace`: the key must be absent; `lineage`: of the version that moves (NULL: none). */
void cas_begin_rename(struct op *op, uint32_t session, uint32_t target, bool noreplace,
                      const char *lineage);

/* Under shm->meta. The lineage of this version of the key ("" where it is not known). */
void cas_lineage(struct worker *w, const char *key, const char *etag, char ret[SHM_LINEAGE_MAX]);

/* Under shm->meta. After a publish over version `replaced` ("": over nothing, or whatever was
 * there): who has the session open now expects `etag`, and who follows (struct
 * shm_session.follower). */
void cas_published(struct worker *w, uint32_t session, const char *key, const char *replaced,
                   const char *etag);

/* Under shm->meta. After a conflict: a baseline of a write goes, one of a read stays; `absent`: the
 * key is gone, which is what is expected from now on. */
void cas_conflict(struct worker *w, uint32_t session, const char *key, bool absent);

/* Under shm->meta. After a write was refused as it is not known any more what its process may
 * expect. A child of a process that has only ever written the key is told once, and follows the
 * mount then: it has nothing that it could read again. */
void cas_refused(struct worker *w, uint32_t session);

/* Under shm->meta. The node's key, version `from`, was copied onto itself and has ETag `to` now:
 * who expects the one expects the other. */
void cas_copied(struct worker *w, uint32_t node, const char from[SHM_ETAG_MAX],
                const char to[SHM_ETAG_MAX]);

/* Under shm->meta. The key, of which this version was there, was removed by the caller: it knows
 * that nothing is there, and so do those of its ancestors that knew this version, or only ever
 * wrote the key. */
void cas_removed(struct op *op, const char *key, const char *etag);

/* Under shm->meta. The ETag that the caller last read or wrote; "" if there is none. */
void cas_own_etag(struct op *op, const char *key, char ret[SHM_ETAG_MAX]);

#define CAS_NO_ID "-" /* in place of a write-id: the version is known to have none */

/* Under shm->meta. The write-id of this version, "" where it has none or that is not known. All
 * empty files have one ETag, so of them it is that of the one which the caller has read or made, if
 * it has (or CAS_NO_ID); of others that of what was seen last. */
void cas_id(struct op *op, const char *key, const char *etag, char ret[LINEAGE_ID_CAP]);

/* Under shm->meta. True if the caller has this session open. */
bool cas_is_party(const struct op *op, uint32_t session);

/* ... or an ancestor has that waits for it. */
bool cas_is_family(const struct op *op, uint32_t session);

#endif
