/* Traces of evicted baselines: what is left of a baseline that had no room any more. A trace knows
 * its version only by a hash, which is enough to recognise that version when it is met again
 * (shm_baseline_recall): then the baseline is what it was. They are in a ring, TRACES_EACH for each
 * baseline that there is room for; one that is overwritten is left to the filter of shm_baseline.c.
 *
 * All functions here require shm->meta to be held, and save what they change. Tables without
 * entries (sizes.baselines == 0) have none. */
#ifndef SHM_SHM_TRACE_H
#define SHM_SHM_TRACE_H

#include "shm/shm_baseline.h"

#define SHM_TRACES_EACH 16u

/* Writer, readers, lock, death: as struct shm_baseline. States: FREE (`flags` 0), or in the chain
 * of its key. Invariant: there is none of a baseline that is in the table itself. */
struct shm_trace {
    uint64_t key;     /* half of it */
    uint64_t version; /* hash of the ETag */
    int32_t tgid;     /* of the owner, and a part of its start */
    uint32_t start;
    uint32_t next; /* index + 1: chain */
    uint32_t version_ticks, first_ticks;
    /* enum shm_baseline_flag, SHM_TRACE_LIVE, and in the upper bits a hash of the write-id, 0 if
     * it was not known */
    uint32_t flags;
};

#define SHM_TRACE_FLAGS (SHM_BASELINE_READ | SHM_BASELINE_ABSENT | SHM_BASELINE_LEAVING)
#define SHM_TRACE_LIVE 16u
#define SHM_TRACE_ID_SHIFT 8

/* Bytes of the traces, and of the heads of their chains, for this many baselines. */
size_t shm_trace_size(uint32_t baselines);
size_t shm_trace_heads_size(uint32_t baselines);

/* A trace that has nothing but its owner: what remains of key and process. */
struct shm_trace shm_trace_owner(const struct shm_baseline_key *key,
                                 const struct shm_baseline_who *who);

/* Notes a baseline that is being evicted. True if another trace had to go for it: *ret_lost. */
bool shm_trace_add(struct shm *shm, const struct shm_baseline *b, struct shm_trace *ret_lost);

/* The trace of this baseline, NULL if there is none. */
const struct shm_trace *shm_trace_find(struct shm *shm, const struct shm_baseline_key *key,
                                       const struct shm_baseline_who *who);

/* True if it is a trace of this version: the ETag, and the write-ids as far as both are known.
 * `exact`: both must be. */
bool shm_trace_is_of(const struct shm *shm, const struct shm_trace *t,
                     const struct shm_baseline_value *now, bool exact);

/* Forgets it, if there is one. */
void shm_trace_drop(struct shm *shm, const struct shm_baseline_key *key,
                    const struct shm_baseline_who *who);

/* As shm_baseline_copied: at most `max` of them. */
void shm_trace_copied(struct shm *shm, const struct shm_baseline_key *key,
                      const char from[SHM_ETAG_MAX], const char to[SHM_ETAG_MAX], unsigned max);

/* Checks chains and counts. 0 or -EUCLEAN. */
must_use int shm_trace_check(struct shm *shm, struct err *err);

#endif
