/* Credentials from the segment. The secret is not there: the keeper derives the signing keys from
 * it, and gets a request for other credentials when S3 refuses these. */
#include "workers/process/cred_source.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "base/fd.h"
#include "shm/shm_cred.h"

static_assert(SHM_CRED_ACCESS_KEY_MAX == S3_ACCESS_KEY_MAX, "");
static_assert(SHM_CRED_TOKEN_MAX == S3_SESSION_TOKEN_MAX, "");
static_assert(SHM_CRED_KEY_LEN == S3_SIGV4_KEY_LEN, "");
static_assert(SHM_CRED_REGION_MAX == S3_REGION_MAX, "");

struct cred_source {
    struct s3_cred_source source;
    const struct worker_env *env;
    struct shm_cred_view *view; /* locked memory */
    uint32_t day;               /* the last day without a key */
    bool asked;                 /* the keeper was asked, and `tries` is the count at that time */
    uint64_t tries;
};

/* 20150830 of "20150830T123600Z" */
static uint32_t day_of(const char *amz_date)
{
    uint32_t day = 0;

    for (int i = 0; i < 8 && amz_date[i] >= '0' && amz_date[i] <= '9'; i++)
        day = day * 10 + (uint32_t)(amz_date[i] - '0');
    return day;
}

/* True if the key is of use: for that region, or for the one where the bucket is, as another worker
 * has found out. */
static bool is_for(const struct cred_source *s, const char *region)
{
    char known[SHM_CRED_REGION_MAX];

    shm_cred_region(s->env->shm, known);
    return strcmp(s->view->region, region) == 0 || strcmp(s->view->region, known) == 0;
}

static int cred_get(struct s3_cred_source *src, const struct s3_sigv4_scope *scope,
                    struct s3_cred *ret)
{
    struct cred_source *s = (struct cred_source *)src;
    uint32_t day = day_of(scope->amz_date);
    int r = shm_cred_get(s->env->shm, day, s->view);

    if (r == 0 && !is_for(s, scope->region))
        r = -EAGAIN;
    if (r == -EAGAIN)
        s->day = day;
    if (r < 0)
        return r;
    memcpy(ret->access_key, s->view->access_key, sizeof(ret->access_key));
    memcpy(ret->session_token, s->view->token, strlen(s->view->token) + 1);
    memcpy(ret->key, s->view->key, sizeof(ret->key));
    memcpy(ret->region, s->view->region, sizeof(ret->region));
    ret->renewable = !s->view->fixed;
    ret->generation = s->view->generation;
    sodium_memzero(s->view, sizeof(*s->view));
    return 0;
}

static bool has_come(const struct cred_source *s, uint64_t generation)
{
    struct shm *shm = s->env->shm;

    return generation ? shm_cred_generation(shm) != generation : shm_cred_has_day(shm, s->day);
}

/* Asks the keeper, and returns the result so far: a refresh that has ended without other
 * credentials means no. */
static enum s3_cred_news cred_renew(struct s3_cred_source *src, uint64_t generation)
{
    struct cred_source *s = (struct cred_source *)src;
    struct shm *shm = s->env->shm;
    bool asked = s->asked;

    s->asked = false;
    if (has_come(s, generation))
        return S3_CRED_NEW;
    if (generation && shm_cred_is_fixed(shm))
        return S3_CRED_NONE;
    if (asked && shm_cred_tries(shm) != s->tries)
        return has_come(s, generation) ? S3_CRED_NEW : S3_CRED_NONE;
    if (!asked) {
        s->tries = shm_cred_tries(shm);
        shm_cred_want(shm, generation, generation ? 0 : s->day);
        fd_event_set(s->env->keeper_fd);
    }
    s->asked = true;
    return S3_CRED_SOON;
}

static void cred_free(struct s3_cred_source *src)
{
    struct cred_source *s = (struct cred_source *)src;

    sodium_free(s->view);
    free(s);
}

int cred_source_new(const struct worker_env *env, bool alone, struct s3_cred_source **ret_src)
{
    static const struct s3_cred_ops asks = {
        .get = cred_get, .renew = cred_renew, .free = cred_free};
    static const struct s3_cred_ops asks_not = {.get = cred_get, .free = cred_free};
    struct cred_source *s = calloc(1, sizeof(*s));

    if (!s)
        return -ENOMEM;
    *s = (struct cred_source){.source = {alone ? &asks_not : &asks}, .env = env};
    if (sodium_init() < 0 || !(s->view = sodium_malloc(sizeof(*s->view)))) {
        free(s);
        return -ENOMEM;
    }
    *ret_src = &s->source;
    return 0;
}
