/* What signs requests: credentials with the keys derived from them for a few days. The secret is
 * not here, and cannot be had from the keys.
 *
 * struct shm_cred_table:
 * Writer:   the keeper (daemon/keeper.c), one process at a time; `wanted`, `wanted_day`: workers;
 *           `region`: the supervisor before the first fork, then workers.
 * Readers:  workers; stateproxyctl reads `news` alone.
 * Lock:     none. There are two places for each of the two structs, and a number that says which
 *           one is in force: a new one is written to the other place, then the number goes up. A
 *           reader whose number has changed while it copied copies again.
 *           Two workers that find out the region at the same time write the same bytes. If they did
 *           not, S3 would refuse the mixture, and name the region again.
 * If the writer dies: what it was writing was not in force. The next one goes on from what is.
 *
 * The table's pages are locked in memory where that is permitted, and left out of core dumps.
 */
#ifndef SHM_SHM_CRED_H
#define SHM_SHM_CRED_H

#include "shm/shm_segment.h"

#define SHM_CRED_ACCESS_KEY_MAX 129 /* with NUL */
#define SHM_CRED_TOKEN_MAX 8192     /* with NUL */
#define SHM_CRED_KEY_LEN 32
#define SHM_CRED_DAYS 6
#define SHM_CRED_PROVIDER_MAX 128
#define SHM_CRED_ACCOUNT_MAX 16
#define SHM_CRED_ERROR_MAX 400
#define SHM_CRED_REGION_MAX 64 /* with NUL */

struct shm_cred_key {
    uint32_t day; /* 20150830; 0 = none */
    uint8_t key[SHM_CRED_KEY_LEN];
};

struct shm_cred {
    uint64_t generation; /* another one whenever key id, secret or token changed; never 0 */
    uint64_t expires_ns; /* wall clock; 0 = never */
    uint64_t fetched_ns; /* wall clock */
    uint32_t token_len;
    bool fixed; /* there will never be others */
    char access_key[SHM_CRED_ACCESS_KEY_MAX];
    char token[SHM_CRED_TOKEN_MAX];   /* "" = none */
    char region[SHM_CRED_REGION_MAX]; /* that the keys are for */
    struct shm_cred_key keys[SHM_CRED_DAYS];
};

/* For the operator. Times are of the wall clock, 0 = never. */
struct shm_cred_news {
    char provider[SHM_CRED_PROVIDER_MAX];
    char account[SHM_CRED_ACCOUNT_MAX];
    uint64_t expires_ns, fetched_ns, failed_ns;
    uint64_t refreshes, failures;
    char error[SHM_CRED_ERROR_MAX]; /* why the last refresh failed, "" = it did not */
};

struct shm_cred_table {
    uint64_t n_creds, n_news; /* atomic: that many were written; n % 2 is the place in force */
    uint64_t tries;           /* atomic: refreshes that ended, in either way */
    uint64_t wanted;          /* atomic, workers: the generation that S3 refused */
    uint32_t wanted_day;      /* atomic, workers: a day without a key; 0 = none */
    uint64_t n_region;        /* atomic: changes of `region` */
    char region[SHM_CRED_REGION_MAX]; /* the bucket's, as far as known: keys are wanted for it */
    struct shm_cred creds[2];
    struct shm_cred_news news[2];
};

/* A view of what is in force, with one key: for workers. In locked memory of the caller. */
struct shm_cred_view {
    uint64_t generation, expires_ns;
    bool fixed;
    char access_key[SHM_CRED_ACCESS_KEY_MAX];
    char token[SHM_CRED_TOKEN_MAX];
    char region[SHM_CRED_REGION_MAX];
    uint8_t key[SHM_CRED_KEY_LEN];
};

size_t shm_cred_size(const struct shm_sizes *sizes);
int shm_cred_check(struct shm *shm, struct err *err);

/* Locks the table's pages and leaves them out of core dumps, in this process and its children, as
 * far as the system permits. */
void shm_cred_protect(struct shm *shm);

/* ---- the region that requests are signed for ---- */

/* At most SHM_CRED_REGION_MAX - 1 bytes count. */
void shm_cred_set_region(struct shm *shm, const char *region);
void shm_cred_region(struct shm *shm, char ret[SHM_CRED_REGION_MAX]);

/* ---- workers ---- */

/* 0 and *ret; -ENOKEY: there are no credentials, -EAGAIN: none of its keys is for that day. */
must_use int shm_cred_get(struct shm *shm, uint32_t day, struct shm_cred_view *ret);

/* The generation in force, 0 = none. */
uint64_t shm_cred_generation(struct shm *shm);
/* True if there is a key for that day, and the keys are for the bucket's region. */
bool shm_cred_has_day(struct shm *shm, uint32_t day);
/* True where there will never be others, but for the days of the keys. */
bool shm_cred_is_fixed(struct shm *shm);

/* How many refreshes have ended. */
uint64_t shm_cred_tries(struct shm *shm);

/* Notes what is wanted: others than this generation (0 = nothing), a key for this day (0 = none).
 * The keeper is to be woken then. */
void shm_cred_want(struct shm *shm, uint64_t generation, uint32_t day);

/* ---- the keeper ---- */

/* What is in force, NULL = nothing. The writer may keep it until it publishes twice. */
const struct shm_cred *shm_cred_current(struct shm *shm);

/* The place to write the next ones to, all zero. shm_cred_publish puts it in force. */
struct shm_cred *shm_cred_next(struct shm *shm);
void shm_cred_publish(struct shm *shm);

/* The same for the news, which begin as they are. */
struct shm_cred_news *shm_cred_news_next(struct shm *shm);
void shm_cred_news_publish(struct shm *shm);

/* What is wanted; it stays so until it is done, so that the successor of a keeper that dies finds
 * it. False: nothing. */
bool shm_cred_wanted(struct shm *shm, uint64_t *ret_generation, uint32_t *ret_day);
/* Takes that away, if nothing else is wanted meanwhile. */
void shm_cred_wanted_done(struct shm *shm, uint64_t generation, uint32_t day);

/* A refresh has ended. */
void shm_cred_tried(struct shm *shm);

/* ---- stateproxyctl ---- */

/* A copy, with all texts ended. Also from a read-only view. False: nothing was told yet. */
bool shm_cred_read_news(struct shm *shm, struct shm_cred_news *ret);

#endif
