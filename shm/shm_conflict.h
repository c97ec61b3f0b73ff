/* Compare-and-set: the last writes that were refused because their file was of another version than
 * they expected, for the operator (`stateproxyctl conflicts`). */
#ifndef SHM_SHM_CONFLICT_H
#define SHM_SHM_CONFLICT_H

#include "shm/shm_session.h"

#define SHM_CONFLICTS 100
#define SHM_CONFLICT_KEY_MAX 1025 /* a key of S3, and NUL */

enum shm_conflict_flag {
    SHM_CONFLICT_EXPECTED_ABSENT = 1, /* the write was to make the key */
    SHM_CONFLICT_FOUND_ABSENT = 2,    /* the key has been deleted meanwhile */
};

struct shm_conflict {
    uint64_t wall_ns;            /* when it was refused, since the epoch */
    int32_t tgid;                /* who wrote, 0 = not known */
    uint32_t flags;              /* enum shm_conflict_flag */
    char expected[SHM_ETAG_MAX]; /* ETag, "" = absent, or a version that is not known any more */
    char found[SHM_ETAG_MAX];    /* ETag, "" = absent, or nobody has looked */
    char write_id[SHM_ID_LEN + 4];
    char key[SHM_CONFLICT_KEY_MAX + 7];
};

/* Writer: any worker, under shm->meta. Readers: the same; stateproxyctl without it (may see half an
 * entry). If the owner of the lock dies: rolled back. The entry of number n is slot[n %
 * SHM_CONFLICTS]. Without compare-and-set (sizes.baselines 0) there are no slots. */
struct shm_conflict_ring {
    uint64_t count; /* of all that there have been */
    struct shm_conflict slot[];
};

size_t shm_conflict_size(const struct shm_sizes *sizes);
must_use int shm_conflict_check(struct shm *shm, struct err *err);

/* Wants shm->meta held. A copy of *c is the newest from now on. */
void shm_conflict_add(struct shm *shm, const struct shm_conflict *c);

#endif
