/* Compare-and-set: the last writes that were refused because the file had another version than they
 * expected, for the operator (`stateproxyctl conflicts`). */
#ifndef SHM_SHM_CONFLICT_H
#define SHM_SHM_CONFLICT_H

#include "shm/shm_session.h"

#define SHM_CONFLICTS 100
#define SHM_CONFLICT_KEY_MAX 1025 /* a key of S3, and NUL */

enum shm_conflict_flag {
    SHM_CONFLICT_EXPECTED_ABSENT = 1, /* the write was to create the key */
    SHM_CONFLICT_FOUND_ABSENT = 2,    /* the key has been deleted meanwhile */
};

struct shm_conflict {
    uint64_t wall_ns;            /* when it was refused, since the epoch */
    int32_t tgid;                /* the writing process, 0 = unknown */
    uint32_t flags;              /* enum shm_conflict_flag */
    char expected[SHM_ETAG_MAX]; /* ETag, "" = absent, or a version that is no longer known */
    char found[SHM_ETAG_MAX];    /* ETag, "" = absent, or not looked up */
    char write_id[SHM_ID_LEN + 4];
    char key[SHM_CONFLICT_KEY_MAX + 7];
};

/* Writer: any worker, under shm->meta. Readers: the same; stateproxyctl without it (may see half an
 * entry). If the owner of the lock dies: rolled back. Entry number n is in slot[n % SHM_CONFLICTS].
 * Without compare-and-set (sizes.baselines 0) there are no slots. */
struct shm_conflict_ring {
    uint64_t count; /* number of entries ever added */
    struct shm_conflict slot[];
};

size_t shm_conflict_size(const struct shm_sizes *sizes);
must_use int shm_conflict_check(struct shm *shm, struct err *err);

/* Requires shm->meta to be held. Adds a copy of *c as the newest entry. */
void shm_conflict_add(struct shm *shm, const struct shm_conflict *c);

#endif
