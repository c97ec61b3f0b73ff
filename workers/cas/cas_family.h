/* Compare-and-set: which ancestors of a writer go on from what it writes. For cas.c. */
#ifndef WORKERS_CAS_CAS_FAMILY_H
#define WORKERS_CAS_CAS_FAMILY_H

#include "shm/shm_session.h"
#include "workers/op/op.h"

/* Under shm->meta, when a session begins and it is known what it expects: notes the ancestors of
 * the caller that know this version. */
void cas_note_family(struct op *op, struct shm_session *s, const struct shm_baseline_key *k);

/* Under shm->meta. The session has replaced version `replaced` by *v: those of the ancestors noted
 * that know `replaced` now know *v, or will when they have waited for their child. */
void cas_tell_family(struct worker *w, const struct shm_session *s,
                     const struct shm_baseline_key *k, const char *replaced,
                     struct shm_baseline_value *v);

/* Under shm->meta. True if the caller's ancestor `i` (op->caller.up) will know this version of the
 * key when it has waited for the child that leads to the caller. */
bool cas_child_made(struct op *op, int i, const struct shm_baseline_key *k, const char *etag);

/* ---- of cas.c ---- */

/* Clock ticks since boot, the unit of process start times. */
uint32_t cas_ticks(void);

/* Under shm->meta. True, and *ret, if `who` has read or written the key. */
bool cas_knows(struct worker *w, const struct shm_baseline_key *k,
               const struct shm_baseline_who *who, struct shm_baseline_value *ret);

/* Under shm->meta. `who` knows *v from now on; what it has read stays read. Sets v->flags. */
void cas_move(struct worker *w, const struct shm_baseline_key *k,
              const struct shm_baseline_who *who, struct shm_baseline_value *v);

/* Under shm->meta. The lineage of this version: SHM_BASELINE_LINEAGE, or 0 if it is unknown. */
uint32_t cas_find_lineage(struct worker *w, const struct shm_baseline_key *k, const char *etag,
                          char ret[SHM_LINEAGE_MAX]);

#endif
