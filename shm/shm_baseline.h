/* Baselines: the version of a key that a process last read or wrote through this mount. A
 * compare-and-set write expects to find it.
 *
 * There is one for each process that used the key, and one for the mount as a whole (the last of
 * any process). The table is bounded and evicts the least recently used entry. An evicted baseline
 * must not make a key that was read look like one that was never read, or its next write would be
 * unconditional. So each leaves a trace (shm_trace.h): if the key still has the version that it
 * names, it becomes a baseline again (shm_baseline_recall); otherwise shm_baseline_get returns
 * DROPPED, and the write is refused until the key is read again. Traces that have no room any more
 * are in a Bloom filter, and DROPPED for good. The filter never forgets. When it is nearly full,
 * keys that were never read may count as dropped too: that is stricter, never weaker.
 *
 * All functions but shm_baseline_key require shm->meta to be held, and save what they change. */
#ifndef SHM_SHM_BASELINE_H
#define SHM_SHM_BASELINE_H

#include "shm/shm_node.h"

#define SHM_LINEAGE_MAX 896 /* bytes of the text of a lineage and NUL: workers/objmeta/lineage.h */
#define SHM_ID_LEN 8        /* its first part, a write-id: 48 random bits in base64url */
#define SHM_BASELINES_MAX (1u << 20)
#define SHM_BASELINE_FILTER 256u /* bytes of the filter for each entry */

/* Identifies an S3 key: a keyed hash, so that nobody can choose keys that collide. */
struct shm_baseline_key {
    uint8_t bytes[16];
};

/* The owner of a baseline: a process (the start time detects a reused pid), or the mount: all zero.
 * A negative tgid is no process: such entries are evicted without a note in the filter. */
struct shm_baseline_who {
    int32_t tgid;
    uint32_t unused;
    uint64_t start; /* clock ticks since boot */
};

static inline bool shm_baseline_same_who(const struct shm_baseline_who *a,
                                         const struct shm_baseline_who *b)
{
    return a->tgid == b->tgid && a->start == b->start;
}

enum shm_baseline_flag {
    SHM_BASELINE_READ = 1,    /* the version was read, not only written */
    SHM_BASELINE_ABSENT = 2,  /* the key was found to be absent: the next write must create it */
    SHM_BASELINE_LINEAGE = 4, /* `lineage` is known, even if it is empty */
    SHM_BASELINE_LEAVING = 8, /* the owner was deleting the version; it may or may not be gone */
};

struct shm_baseline_value {
    uint32_t flags;                /* enum shm_baseline_flag */
    char etag[SHM_ETAG_MAX];       /* "" only with ABSENT */
    char lineage[SHM_LINEAGE_MAX]; /* of that version, "" if it has none */
};

/* Writer, readers: any worker, under shm->meta. If the owner of that lock dies: rolled back.
 * States: in the chain of its key and in the usage list; or in the free chain. Invariants: a key
 * has at most one for each `who`; etag is empty exactly with ABSENT. */
struct shm_baseline {
    struct shm_baseline_key key;
    struct shm_baseline_who who;
    uint32_t next;               /* index + 1: chain of its hash, or free chain */
    uint32_t lru_prev, lru_next; /* index + 1, 0 = end; prev was used more recently */
    struct shm_baseline_value value;
    /* Time at which `who` last got another version, in clock ticks since boot, cut to 32 bits. */
    uint32_t version_ticks, first_ticks;
};

/* `child` has replaced version `from` of the key, which `who`, its parent or an ancestor, knows, by
 * `to` (shm_step.h). Writer, readers, lock, death: as struct shm_baseline. Free: all zero. */
struct shm_step {
    struct shm_baseline_key key;
    struct shm_baseline_who who, child;
    char from[SHM_ETAG_MAX]; /* "": the key was expected to be absent */
    char to[SHM_ETAG_MAX];
    char id[SHM_ID_LEN]; /* write-id of that one: all empty objects have the same ETag */
};

#define SHM_STEPS 64

/* Followed in memory by the entries, the traces and the heads of their chains, the heads of the
 * entries' chains, and the filter. Memory that was never used
 * stays untouched (`fresh`). */
struct shm_baseline_table {
    uint32_t free_entry, fresh_entry; /* free chain (index + 1); first entry never used */
    uint32_t lru_first, lru_last;     /* most and least recently used, index + 1 */
    uint32_t live;
    uint32_t steps;      /* steps noted; lock-free: may be read relaxed, as a hint */
    uint32_t next_step;  /* the slot of the next one */
    uint32_t next_trace; /* where in the ring the next trace goes */
    uint32_t traces;     /* in use */
    uint32_t unused;
    uint64_t dropped; /* traces noted in the filter */
    struct shm_step step[SHM_STEPS];
} __attribute__((aligned(64)));

size_t shm_baseline_size(const struct shm_sizes *sizes);
void shm_baseline_init(struct shm *shm);
/* Checks chains, list, counts. 0 or -EUCLEAN. Takes shm->meta itself. */
must_use int shm_baseline_check(struct shm *shm, struct err *err);

/* The name of an S3 key of `len` bytes. Takes no lock. */
struct shm_baseline_key shm_baseline_key(const struct shm *shm, const char *key, size_t len);

enum shm_baseline_state {
    SHM_BASELINE_NONE, /* never read or written */
    SHM_BASELINE_KNOWN,
    SHM_BASELINE_DROPPED, /* may have been known; must be read again, or recalled */
};

/* The key has version `now` (etag, flags: ABSENT, or LINEAGE with `lineage`). If `who` had a
 * baseline of this version that was evicted, it is there again, as it was. `exact`: only if the
 * write-ids are known and the same (of an empty file, the ETag says nothing). */
void shm_baseline_recall(struct shm *shm, const struct shm_baseline_key *key,
                         const struct shm_baseline_who *who, const struct shm_baseline_value *now,
                         bool exact);

/* True if `who` had a baseline that was evicted, and there is a trace of it. */
must_use bool shm_baseline_evicted(struct shm *shm, const struct shm_baseline_key *key,
                                   const struct shm_baseline_who *who);

/* What `who` expects of the key; KNOWN fills *ret, and counts as a use. DROPPED: ret->flags are
 * those that it had, as far as is known, and ret->etag is empty. */
must_use enum shm_baseline_state shm_baseline_get(struct shm *shm,
                                                  const struct shm_baseline_key *key,
                                                  const struct shm_baseline_who *who,
                                                  struct shm_baseline_value *ret);

/* What `who` expected at a time (in `ticks`). DROPPED also if it has learned of another version
 * since; then *ret is what it expects now, or as for shm_baseline_get. */
must_use enum shm_baseline_state shm_baseline_get_at(struct shm *shm,
                                                     const struct shm_baseline_key *key,
                                                     const struct shm_baseline_who *who,
                                                     uint32_t ticks,
                                                     struct shm_baseline_value *ret);

/* Sets what `who` expects from now on; its step on the key is forgotten. Evicts the least recently
 * used baseline if necessary, which leaves a trace. Does nothing in a table without entries
 * (sizes.baselines == 0). */
void shm_baseline_set(struct shm *shm, const struct shm_baseline_key *key,
                      const struct shm_baseline_who *who, const struct shm_baseline_value *value,
                      uint32_t now_ticks);

/* Every owner that expects version `from` of the key expects `to` from now on, which is a copy of
 * it; a read of the one counts as a read of the other. At most SHM_BASELINE_MOVES of them; the
 * others will get a conflict. */
#define SHM_BASELINE_MOVES 64
void shm_baseline_copied(struct shm *shm, const struct shm_baseline_key *key,
                         const char from[SHM_ETAG_MAX], const char to[SHM_ETAG_MAX]);

/* `who` expects nothing of the key any more, as if it had never used it. (The filter keeps what it
 * has.) */
void shm_baseline_forget(struct shm *shm, const struct shm_baseline_key *key,
                         const struct shm_baseline_who *who);

#endif
