/* The table of credentials: two places, and which one is in force. See the header. */
#include "shm/shm_cred.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include <sodium.h>

#define COPY_TRIES 1000 /* a writer publishes a few times an hour */

static_assert(SHM_CRED_TOKEN_MAX % 8 == 0, "");

static struct shm_cred_table *table(struct shm *shm)
{
    return shm->creds;
}

static uint64_t load(const uint64_t *n)
{
    return __atomic_load_n(n, __ATOMIC_ACQUIRE);
}

/* What was read before is not read later than this. */
static bool still(const uint64_t *n, uint64_t seen)
{
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    return __atomic_load_n(n, __ATOMIC_RELAXED) == seen;
}

size_t shm_cred_size(const struct shm_sizes *sizes)
{
    (void)sizes;
    return sizeof(struct shm_cred_table);
}

static bool is_whole(const struct shm_cred *c)
{
    return c->generation && memchr(c->access_key, '\0', sizeof(c->access_key)) &&
           memchr(c->region, '\0', sizeof(c->region)) && c->token_len < sizeof(c->token) &&
           c->token[c->token_len] == '\0';
}

int shm_cred_check(struct shm *shm, struct err *err)
{
    const struct shm_cred *c = shm_cred_current(shm);

    return !c || is_whole(c) ? 0 : err_set(err, EUCLEAN, "credentials in force are not whole");
}

void shm_cred_protect(struct shm *shm)
{
    uint8_t *at = shm->base + shm->header->table_off[SHM_TABLE_CRED];
    size_t page = shm->header->sizes.page;
    size_t len = (shm->header->table_len[SHM_TABLE_CRED] + page - 1) / page * page;

    (void)mlock(at, len); /* a limit may forbid it */
    (void)madvise(at, len, MADV_DONTDUMP);
}

/* ---- the region ---- */

void shm_cred_set_region(struct shm *shm, const char *region)
{
    struct shm_cred_table *t = table(shm);
    char text[SHM_CRED_REGION_MAX] = "";

    memcpy(text, region, strnlen(region, sizeof(text) - 1));
    memcpy(t->region, text, sizeof(text));
    __atomic_add_fetch(&t->n_region, 1, __ATOMIC_RELEASE);
}

void shm_cred_region(struct shm *shm, char ret[SHM_CRED_REGION_MAX])
{
    const struct shm_cred_table *t = table(shm);

    for (int i = 0; i < COPY_TRIES; i++) {
        uint64_t n = load(&t->n_region);

        memcpy(ret, t->region, SHM_CRED_REGION_MAX);
        ret[SHM_CRED_REGION_MAX - 1] = '\0';
        if (still(&t->n_region, n))
            return;
    }
}

/* ---- workers ---- */

static const struct shm_cred_key *find_key(const struct shm_cred *c, uint32_t day)
{
    for (unsigned i = 0; day && i < SHM_CRED_DAYS; i++) {
        if (c->keys[i].day == day)
            return &c->keys[i];
    }
    return NULL;
}

/* May be half of another one: the caller looks whether it is. */
static int view(const struct shm_cred *c, uint32_t day, struct shm_cred_view *ret)
{
    const struct shm_cred_key *key = find_key(c, day);
    size_t len = c->token_len;

    if (!key)
        return -EAGAIN;
    if (len >= sizeof(ret->token))
        len = 0;
    ret->generation = c->generation;
    ret->expires_ns = c->expires_ns;
    ret->fixed = c->fixed;
    memcpy(ret->access_key, c->access_key, sizeof(ret->access_key));
    ret->access_key[sizeof(ret->access_key) - 1] = '\0';
    memcpy(ret->region, c->region, sizeof(ret->region));
    ret->region[sizeof(ret->region) - 1] = '\0';
    memcpy(ret->token, c->token, len);
    ret->token[len] = '\0';
    memcpy(ret->key, key->key, sizeof(ret->key));
    return 0;
}

int shm_cred_get(struct shm *shm, uint32_t day, struct shm_cred_view *ret)
{
    const struct shm_cred_table *t = table(shm);

    for (int i = 0; i < COPY_TRIES; i++) {
        uint64_t n = load(&t->n_creds);
        int r = n ? view(&t->creds[n % 2], day, ret) : -ENOKEY;

        if (still(&t->n_creds, n))
            return r;
    }
    return -ENOKEY;
}

uint64_t shm_cred_generation(struct shm *shm)
{
    const struct shm_cred *c = shm_cred_current(shm);

    return c ? __atomic_load_n(&c->generation, __ATOMIC_RELAXED) : 0;
}

bool shm_cred_has_day(struct shm *shm, uint32_t day)
{
    const struct shm_cred *c = shm_cred_current(shm);
    char region[SHM_CRED_REGION_MAX];

    shm_cred_region(shm, region);
    return c && find_key(c, day) && strncmp(c->region, region, sizeof(region)) == 0;
}

bool shm_cred_is_fixed(struct shm *shm)
{
    const struct shm_cred *c = shm_cred_current(shm);

    return c && c->fixed;
}

uint64_t shm_cred_tries(struct shm *shm)
{
    return load(&table(shm)->tries);
}

void shm_cred_want(struct shm *shm, uint64_t generation, uint32_t day)
{
    if (generation)
        __atomic_store_n(&table(shm)->wanted, generation, __ATOMIC_RELEASE);
    if (day)
        __atomic_store_n(&table(shm)->wanted_day, day, __ATOMIC_RELEASE);
}

/* ---- the keeper ---- */

const struct shm_cred *shm_cred_current(struct shm *shm)
{
    uint64_t n = load(&table(shm)->n_creds);

    return n ? &table(shm)->creds[n % 2] : NULL;
}

struct shm_cred *shm_cred_next(struct shm *shm)
{
    struct shm_cred *c = &table(shm)->creds[(table(shm)->n_creds + 1) % 2];

    sodium_memzero(c, sizeof(*c));
    return c;
}

void shm_cred_publish(struct shm *shm)
{
    __atomic_store_n(&table(shm)->n_creds, table(shm)->n_creds + 1, __ATOMIC_SEQ_CST);
}

struct shm_cred_news *shm_cred_news_next(struct shm *shm)
{
    struct shm_cred_table *t = table(shm);
    struct shm_cred_news *next = &t->news[(t->n_news + 1) % 2];

    *next = t->news[t->n_news % 2];
    return next;
}

void shm_cred_news_publish(struct shm *shm)
{
    __atomic_store_n(&table(shm)->n_news, table(shm)->n_news + 1, __ATOMIC_SEQ_CST);
}

bool shm_cred_wanted(struct shm *shm, uint64_t *ret_generation, uint32_t *ret_day)
{
    *ret_generation = load(&table(shm)->wanted);
    *ret_day = __atomic_load_n(&table(shm)->wanted_day, __ATOMIC_ACQUIRE);
    return *ret_generation || *ret_day;
}

void shm_cred_wanted_done(struct shm *shm, uint64_t generation, uint32_t day)
{
    (void)__atomic_compare_exchange_n(&table(shm)->wanted, &generation, 0, false, __ATOMIC_ACQ_REL,
                                      __ATOMIC_RELAXED);
    (void)__atomic_compare_exchange_n(&table(shm)->wanted_day, &day, 0, false, __ATOMIC_ACQ_REL,
                                      __ATOMIC_RELAXED);
}

void shm_cred_tried(struct shm *shm)
{
    __atomic_add_fetch(&table(shm)->tries, 1, __ATOMIC_RELEASE);
}

/* ---- stateproxyctl ---- */

bool shm_cred_read_news(struct shm *shm, struct shm_cred_news *ret)
{
    const struct shm_cred_table *t = table(shm);

    for (int i = 0; i < COPY_TRIES; i++) {
        uint64_t n = load(&t->n_news);

        if (!n)
            return false;
        memcpy(ret, &t->news[n % 2], sizeof(*ret));
        ret->provider[sizeof(ret->provider) - 1] = '\0';
        ret->account[sizeof(ret->account) - 1] = '\0';
        ret->error[sizeof(ret->error) - 1] = '\0';
        if (still(&t->n_news, n))
            return true;
    }
    return false;
}
