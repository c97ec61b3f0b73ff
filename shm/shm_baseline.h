/* Baselines: which version of a key a process has last read or written through this mount. What a
 * compare-and-set write expects to find.
 *
 * There is one for each process that touched the key, and one of the mount as a whole (the last
 * one of anybody). The table is bounded and drops the least recently used; a dropped baseline must
 * not turn a read key into one that was never read, or its next write would be unconditional. So
 * each drop is noted in a filter (Bloom): shm_baseline_get then says DROPPED, and the write is
 * refused until the key is read again. The filter never forgets; when it is nearly full, keys that
 * were never read are taken for dropped too: more careful, never less.
 *
 * All functions but shm_baseline_key want shm->meta held, and save what they change.
 */
#ifndef SHM_SHM_BASELINE_H
#define SHM_SHM_BASELINE_H

#include "shm/shm_node.h"

#define SHM_LINEAGE_MAX 896 /* bytes of a lineage's text and NUL: workers/objmeta/lineage.h */
#define SHM_ID_LEN 8        /* a write-id, with which it begins: 48 random bits in base64url */
#define SHM_BASELINES_MAX (1u << 20)

/* Names an S3 key: a keyed hash, so that nobody can choose keys that fall together. */
struct shm_baseline_key {
    uint8_t bytes[16];
};

/* Whose baseline: a process (its start time tells a reused pid), or the mount: all zero. A negative
 * tgid is nobody's: entries of that kind are dropped without being noted. */
struct shm_baseline_who {
    int32_t tgid;
    uint32_t unused;
    uint64_t start; /* clock ticks since boot */
};

enum shm_baseline_flag {
    SHM_BASELINE_READ = 1,    /* the version was read, not only written */
    SHM_BASELINE_ABSENT = 2,  /* the key was seen to be gone: the next write must create it */
    SHM_BASELINE_LINEAGE = 4, /* `lineage` is known, even if that is: none */
};

struct shm_baseline_value {
    uint32_t flags;                /* enum shm_baseline_flag */
    char etag[SHM_ETAG_MAX];       /* "" with ABSENT only */
    char lineage[SHM_LINEAGE_MAX]; /* of that version, "" if it has none */
};

/* Writer, readers: any worker, under shm->meta. If the owner of that lock dies: rolled back.
 * States: in the chain of its key and in the list by use; or in the chain of free ones.
 * Invariants: a key has at most one for each `who`; etag is empty exactly with ABSENT. */
struct shm_baseline {
    struct shm_baseline_key key;
    struct shm_baseline_who who;
    uint32_t next;               /* index + 1: of the chain of its hash, or of free ones */
    uint32_t lru_prev, lru_next; /* index + 1, 0 = end; prev is used later */
    struct shm_baseline_value value;
    /* Clock ticks since boot, cut to 32 bits: since when it is this version, or another one. */
    uint32_t version_ticks, first_ticks;
};

/* Followed in memory by the hash heads, the entries and the filter. Memory that was never used
 * stays untouched (`fresh`). */
struct shm_baseline_table {
    uint32_t free_entry, fresh_entry; /* chain of free ones (index + 1); first never used */
    uint32_t lru_first, lru_last;     /* most and least recently used, index + 1 */
    uint32_t live;
    uint32_t unused;
    uint64_t dropped; /* entries noted in the filter */
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
    SHM_BASELINE_DROPPED, /* perhaps once known; must be read again */
};

/* What `who` expects of the key; KNOWN fills *ret, and counts as a use. */
must_use enum shm_baseline_state shm_baseline_get(struct shm *shm,
                                                  const struct shm_baseline_key *key,
                                                  const struct shm_baseline_who *who,
                                                  struct shm_baseline_value *ret);

/* What `who` expected at a time (in `ticks`). DROPPED also where it has learned of another version
 * since; *ret is what it expects now then, or (no longer known at all) left alone. */
must_use enum shm_baseline_state shm_baseline_get_at(struct shm *shm,
                                                     const struct shm_baseline_key *key,
                                                     const struct shm_baseline_who *who,
                                                     uint32_t ticks,
                                                     struct shm_baseline_value *ret);

/* From now on `who` expects this. The least recently used baseline goes for it if need be, and is
 * noted as dropped. Does nothing in a table without entries (sizes.baselines == 0). */
void shm_baseline_set(struct shm *shm, const struct shm_baseline_key *key,
                      const struct shm_baseline_who *who, const struct shm_baseline_value *value,
                      uint32_t now_ticks);

/* Whoever expects version `from` of the key expects `to` from now on, which is a copy of it: it
 * goes for the same reading. Not more than SHM_BASELINE_MOVES of them; the others will find a
 * conflict. */
#define SHM_BASELINE_MOVES 64
void shm_baseline_copied(struct shm *shm, const struct shm_baseline_key *key,
                         const char from[SHM_ETAG_MAX], const char to[SHM_ETAG_MAX]);

/* `who` expects nothing of the key any more, as if it had never touched it. (What the filter holds
 * of it stays.) */
void shm_baseline_forget(struct shm *shm, const struct shm_baseline_key *key,
                         const struct shm_baseline_who *who);

#endif
