/* The rules of compare-and-set on files (variant s3-buffered-cas), except for the publish itself
 * (publish.c sends it, cas_put.c judges the responses).
 *
 * Isolation: the name table always holds what is published; a session never hides it. Readers share
 * the name's node. An open for writing gets a PRIVATE node beside it, to which its session is
 * attached. Only the processes that have the session open ever get that node: they find it by their
 * identity (cas_own_session).
 *
 * What a session expects is fixed when it begins:
 *
 *   opened with O_TRUNC                 own baseline; else the parent's, if that was set before
 *                                       this process began; else the mount's; none: unconditional
 *   O_CREAT|O_EXCL, symlink, mknod      the key must be absent, decided at the open
 *   created                             that the key is absent, as the LOOKUP has found. With
 *                                       O_TRUNC: own baseline, if there is one (unless the process
 *                                       itself may have deleted that version); unconditional, if no
 *                                       process has one
 *   O_APPEND                            the version that is loaded
 *   else                                the version that is loaded; refused if the process has read
 *                                       another one
 *   content renamed to a name           as with O_TRUNC, or as created; none: the version that the
 *                                       LOOKUP before found there, or that the key is absent;
 *                                       RENAME_NOREPLACE: that the key is absent
 *   a baseline was dropped              refused, until the key is read again
 */
#ifndef WORKERS_CAS_CAS_H
#define WORKERS_CAS_CAS_H

#include <string.h>

#include "shm/shm_conflict.h"
#include "shm/shm_session.h"
#include "workers/objmeta/lineage.h"
#include "workers/op/key.h"
#include "workers/op/op.h"

/* All empty objects have the same ETag: only the write-id distinguishes them. */
static inline bool cas_is_empty(const char *etag)
{
    return strcmp(etag, S3_ETAG_EMPTY) == 0;
}

/* Under shm->meta. Looking up the name of a symbolic link reads it: what a process knew of the name
 * before does not count. False for SHM_NIL. */
static inline bool cas_is_link(const struct worker *w, uint32_t node)
{
    return node != SHM_NIL && shm_node_type(shm_node_at(w->shm, node)) == S_IFLNK;
}

/* Identifies the calling process from /proc, once per op. Not under a lock. */
void cas_identify(struct op *op);

/* The same, and its ancestors: for ops that write or remove. What children of theirs have written
 * that have ended since is theirs from now on (shm_step.h). */
void cas_identify_family(struct op *op);

/* The same for a READ: only reads through a handle that is also open for writing are noted (an open
 * for reading alone is noted at the open). */
void cas_identify_reader(struct op *op, uint64_t fh);

/* Under shm->meta. A response of S3 had this version of the key, and its lineage (NULL: none). This
 * does not count as reading: no baseline changes. */
void cas_saw(struct worker *w, const char *key, const char *etag, const char *lineage);

/* Under shm->meta. The caller has read this version of the node's key: it becomes the baseline of
 * the caller and of the mount. Does nothing for an unpublished file, which has no version. */
void cas_read(struct op *op, uint32_t node, const char *etag);

/* Under shm->meta. The same for a GET of the connector, whose response had this version. */
void cas_read_key(struct op *op, const char *key, const char *etag);

/* Under shm->meta. The caller has deleted the key through the connector: neither it nor the mount
 * expects anything of it any more, so that its next write is unconditional. */
void cas_removed_key(struct op *op, const char *key);

/* Under shm->meta, when a session begins on the op's node: fixes what it expects (expect, lineage,
 * flags). */
void cas_begin(struct op *op, uint32_t session, struct session_start how);

/* Under shm->meta, when the content of a session gets another name, which its node already has:
 * fixes what the session expects there instead. `target`: the node that the name had, SHM_NIL for
 * none; `noreplace`: the key must be absent; `lineage`: of the version that moves (NULL: none). */
void cas_begin_rename(struct op *op, uint32_t session, uint32_t target, bool noreplace,
                      const char *lineage);

/* Under shm->meta. The lineage of this version of the key ("" if unknown). */
void cas_lineage(struct worker *w, const char *key, const char *etag, char ret[SHM_LINEAGE_MAX]);

/* Not under a lock, when S3 has what the session publishes, and before cas_published. A follower
 * whose child has ended follows no more: it may have waited for that before this was written. */
void cas_family_lives(struct worker *w, uint32_t session);

/* Under shm->meta. After a publish over version `replaced` ("": there was none, or it was replaced
 * unconditionally): the processes that have the session open now expect `etag`, and so do their
 * followers (struct shm_session_follower), or will. */
void cas_published(struct worker *w, uint32_t session, const char *key, const char *replaced,
                   const char *etag);

/* Under shm->meta. After a conflict: drops baselines of writes, keeps those of reads; `absent`: the
 * key is gone, so absence is expected from now on. */
void cas_conflict(struct worker *w, uint32_t session, const char *key, bool absent);

/* Under shm->meta. After a write was refused because it is no longer known what its process may
 * expect. A child of a process that has only ever written the key gets this error once, and then
 * uses the mount's baseline: there is nothing that it could read again. */
void cas_refused(struct worker *w, uint32_t session);

/* Under shm->meta. The node's key, version `from`, was copied onto itself and has ETag `to` now:
 * expectations of `from` become expectations of `to`. */
void cas_copied(struct worker *w, uint32_t node, const char from[SHM_ETAG_MAX],
                const char to[SHM_ETAG_MAX]);
void cas_copied_key(struct worker *w, const char *key, const char from[SHM_ETAG_MAX],
                    const char to[SHM_ETAG_MAX]);

/* Under shm->meta. The caller removed the key, which had this version. The caller now expects
 * absence, and so do those of its ancestors that knew this version or only ever wrote the key. */
void cas_removed(struct op *op, const char *key, const char *etag);

/* Under shm->meta. The caller was deleting this version of the key, and it is not known whether
 * that has happened. If the caller finds the key absent, that is no conflict for it; nor for those
 * of its ancestors that knew this version. */
void cas_may_be_removed(struct op *op, const char *key, const char *etag);

/* Under shm->meta. The ETag that the caller last read or wrote; "" if there is none. */
void cas_own_etag(struct op *op, const char *key, char ret[SHM_ETAG_MAX]);

/* The same where the key has version `etag` now, as far as is known ("": nothing is). If the caller
 * knew another one, which has been evicted, it is an ETag that no version has. */
void cas_own_etag_of(struct op *op, const char *key, const char *etag, char ret[SHM_ETAG_MAX]);

/* True of that ETag. (Of an empty file the version is known only once its write-id has been seen:
 * what is there may be the caller's all the same.) */
bool cas_is_forgotten(const char *etag);

/* Not under a lock. Sets the time of what was refused, lists it for the operator, and counts it. */
void cas_note_conflict(struct worker *w, struct shm_conflict *c);

/* Logs that a write or a rename is refused because of what the process had read of the key. */
void cas_log_refused(const char *key, const char *found);

#define CAS_NO_ID "-" /* in place of a write-id: the version is known to have none */

/* Under shm->meta. The write-id of this version, "" if it has none or is unknown. Empty files all
 * have the same ETag, so for them it is the write-id of the one that the caller has read or
 * written, if any (or CAS_NO_ID); for other files that of the version seen last. */
void cas_id(struct op *op, const char *key, const char *etag, char ret[LINEAGE_ID_CAP]);

/* Under shm->meta. True if the caller has this session open. */
bool cas_is_party(const struct op *op, uint32_t session);

/* ... or if an ancestor that waits for the caller has. */
bool cas_is_family(const struct op *op, uint32_t session);

#endif
