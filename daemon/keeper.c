/* The keeper's loop, and the fetch at the start. keeper_plan.c decides when something is due;
 * creds/ obtains the credentials.
 *
 * After a death the replacement needs nothing but the segment: it shows when the credentials were
 * fetched, and when they expire. The secret only lives from a fetch until the signing keys of the
 * days around it are derived; a key for a later day needs another fetch. */
#include "daemon/keeper.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include <sodium.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/log_journal.h"
#include "daemon/child_ask.h"
#include "daemon/exit_code.h"
#include "daemon/keeper_plan.h"
#include "shm/shm_cred.h"
#include "workers/process/term.h"

#define FETCH_LIMIT_NS (90 * NS_PER_S)
#define FIRST_LIMIT_NS (60 * NS_PER_S)
#define FIRST_LIMIT_MS ((int)(FIRST_LIMIT_NS / NS_PER_MS) + 5000)
#define LOOK_MS 10000               /* a clock may be set; a wake-up may be lost */
#define PAUSE_NS NS_PER_S           /* between two refreshes that workers request */
#define ANSWER_NO_NS (3 * NS_PER_S) /* how long a negative reply is repeated */
#define DAYS_AHEAD 1                /* tomorrow's key has to be there */

static_assert(SHM_CRED_ACCESS_KEY_MAX >= S3_ACCESS_KEY_MAX, "");
static_assert(SHM_CRED_TOKEN_MAX >= S3_SESSION_TOKEN_MAX, "");
static_assert(SHM_CRED_KEY_LEN == S3_SIGV4_KEY_LEN, "");
static_assert(SHM_CRED_PROVIDER_MAX >= CREDS_PROVIDER_MAX, "");
static_assert(SHM_CRED_ACCOUNT_MAX >= CREDS_ACCOUNT_MAX, "");

struct keeper {
    const struct worker_env *env;
    struct shm *shm;
    struct creds_conf conf;
    struct creds *creds;  /* locked memory; wiped except during a fetch */
    uint32_t wanted_day;  /* day whose key a worker lacked, 0 = none */
    uint64_t tried_ns;    /* monotonic: end of the last refresh; 0 = none yet */
    uint64_t retry_ns;    /* monotonic: no refresh before this; 0 = at once */
    uint64_t answered_ns; /* monotonic: when workers got a negative reply; 0 = they did not */
    uint64_t refused;     /* the generation that S3 refused last; 0 = none */
    unsigned failed;      /* failed refreshes in a row */
    bool first;           /* the fetch at the start: its parent reports errors */
    bool overdue_told;
    bool end_told; /* that those of the environment expire */
};

/* ---- what is configured ---- */

extern char **environ;

void keeper_conf(const struct conf *conf, struct creds_conf *ret)
{
    const char *home = getenv("HOME");

    *ret = (struct creds_conf){
        .access_key = conf->s3.access_key_id,
        .secret = conf->s3.secret_access_key,
        .session_token = conf->s3.session_token,
        .expiration = conf->credentials.expiration,
        .role_arn = conf->credentials.role_arn,
        .web_identity_token_file = conf->credentials.web_identity_token_file,
        .role_session_name = conf->credentials.role_session_name,
        .profile = conf->credentials.profile,
        .config_file = conf->credentials.config_file,
        .credentials_file = conf->credentials.credentials_file,
        .home = home,
        .container_relative_uri = conf->credentials.container_relative_uri,
        .container_full_uri = conf->credentials.container_full_uri,
        .container_token = conf->credentials.container_token,
        .container_token_file = conf->credentials.container_token_file,
        .metadata_disabled = conf->credentials.metadata_disabled,
        .metadata_endpoint = conf->credentials.metadata_endpoint,
        .metadata_ipv6 = conf->credentials.metadata_mode == CONF_METADATA_IPV6,
        .sts_endpoint = conf->credentials.sts_endpoint,
        .sso_endpoint = conf->credentials.sso_endpoint,
        .region = strcmp(conf->s3.region, "auto") == 0 ? "" : conf->s3.region,
        .ca_bundle = conf->s3.ca_bundle,
        .client_cert = conf->s3.client_cert,
        .client_key = conf->s3.client_key,
        .program_env = environ,
        .stop_fd = -1,
        .limit_ns = FETCH_LIMIT_NS,
    };
}

/* ---- into the segment ---- */

/* Keys of yesterday, today and the next two days; and of a day that a worker lacked (its server's
 * clock is far from ours) and the day after. */
static int put_keys(const struct keeper *k, struct shm_cred *c, uint64_t now)
{
    uint32_t days[SHM_CRED_DAYS] = {keeper_day(now, -1), keeper_day(now, 0), keeper_day(now, 1),
                                    keeper_day(now, 2)};
    uint64_t other = k->wanted_day ? keeper_day_begins(k->wanted_day) : 0;
    char text[CREDS_DAY_MAX];

    shm_cred_region(k->shm, c->region);
    if (other) {
        days[4] = k->wanted_day;
        days[5] = keeper_day(other, 1);
    }
    for (unsigned i = 0; i < SHM_CRED_DAYS && days[i]; i++) {
        snprintf(text, sizeof(text), "%08u", days[i] % 100000000);
        if (creds_derive(k->creds, text, c->region, c->keys[i].key) < 0)
            return -ENOMEM;
        c->keys[i].day = days[i];
    }
    return 0;
}

/* Compares key ID, token and, by means of a signing key that both have, the secret. */
static bool is_same(const struct shm_cred *a, const struct shm_cred *b)
{
    if (strcmp(a->access_key, b->access_key) != 0 || a->token_len != b->token_len ||
        memcmp(a->token, b->token, a->token_len) != 0)
        return false;
    if (strcmp(a->region, b->region) != 0)
        return true; /* no key of one can be compared with one of the other */
    for (unsigned i = 0; i < SHM_CRED_DAYS; i++) {
        for (unsigned j = 0; j < SHM_CRED_DAYS; j++) {
            if (a->keys[i].day && a->keys[i].day == b->keys[j].day)
                return sodium_memcmp(a->keys[i].key, b->keys[j].key, SHM_CRED_KEY_LEN) == 0;
        }
    }
    return false;
}

/* Static credentials of the environment never change. */
static bool is_fixed(const struct keeper *k)
{
    return k->conf.access_key && *k->conf.access_key;
}

static int put_creds(struct keeper *k, uint64_t now, bool *ret_new)
{
    const struct shm_cred *had = shm_cred_current(k->shm);
    struct shm_cred *c = shm_cred_next(k->shm);
    int r = put_keys(k, c, now);

    if (r < 0)
        return r;
    strcpy(c->access_key, k->creds->access_key);
    strcpy(c->token, k->creds->session_token);
    c->token_len = (uint32_t)strlen(c->token);
    c->expires_ns = k->creds->expires_ns;
    c->fetched_ns = now;
    c->fixed = is_fixed(k);
    *ret_new = !had || !is_same(had, c);
    c->generation = had ? had->generation + *ret_new : 1;
    shm_cred_publish(k->shm);
    return 0;
}

static void put_news(struct keeper *k, uint64_t now, const struct err *err)
{
    struct shm_cred_news *news = shm_cred_news_next(k->shm);

    if (*k->creds->provider || !err)
        strcpy(news->provider, k->creds->provider);
    if (err) {
        news->failed_ns = now;
        news->failures++;
        snprintf(news->error, sizeof(news->error), "%.*s", (int)sizeof(news->error) - 1, err->text);
    } else {
        strcpy(news->account, k->creds->account);
        news->expires_ns = k->creds->expires_ns;
        news->fetched_ns = now;
        news->refreshes++;
        news->error[0] = '\0';
    }
    shm_cred_news_publish(k->shm);
}

/* ---- logging ---- */

static void keeper_time(uint64_t wall_ns, char out[32])
{
    time_t t = (time_t)(wall_ns / NS_PER_S);
    struct tm tm;

    if (!wall_ns)
        snprintf(out, 32, "never");
    else if (!gmtime_r(&t, &tm) || !strftime(out, 32, "%Y-%m-%dT%H:%M:%SZ", &tm))
        snprintf(out, 32, "?");
}

static struct keeper_life life_of(const struct keeper *k)
{
    const struct shm_cred *c = shm_cred_current(k->shm);

    if (!c)
        return (struct keeper_life){0};
    return (struct keeper_life){.fetched_ns = c->fetched_ns, .expires_ns = c->expires_ns};
}

static void tell_good(struct keeper *k, bool is_new)
{
    const struct creds *c = k->creds;
    char expires[32];

    keeper_time(c->expires_ns, expires);
    if (k->failed)
        log_notice("credentials are refreshed again provider=\"%s\" expires=%s failures=%u",
                   c->provider, expires, k->failed);
    else if (is_new && !is_fixed(k))
        log_notice("credentials obtained provider=\"%s\" account=%s expires=%s", c->provider,
                   *c->account ? c->account : "unknown", expires);
    else
        log_debug("credentials fetched provider=\"%s\" expires=%s", c->provider, expires);
}

/* Those of the environment cannot be refreshed, so the operator is told while they still hold. */
static void tell_end(struct keeper *k, uint64_t now)
{
    struct keeper_life life = life_of(k);
    char expires[32];

    if (!is_fixed(k) || k->first || k->end_told || !life.expires_ns ||
        life.expires_ns > now + 2 * KEEPER_ADVISORY_NS)
        return;
    k->end_told = true;
    keeper_time(life.expires_ns, expires);
    log_warn("the credentials of the environment expire at %s, and cannot be renewed: start the "
             "daemon again with others",
             expires);
}

/* Logged at the first failure, and once more when time gets short. */
static void tell_bad(struct keeper *k, uint64_t now, const struct err *err)
{
    struct keeper_life life = life_of(k);
    char expires[32];

    if (k->first)
        return;
    keeper_time(life.expires_ns, expires);
    if (now >= keeper_overdue_ns(&life) && !k->overdue_told) {
        k->overdue_told = true;
        log_err("credentials cannot be refreshed, those in use expire at %s, retrying: %s", expires,
                err->text);
    } else if (k->failed == 1) {
        log_warn("credentials cannot be refreshed, those in use expire at %s, retrying: %s",
                 expires, err->text);
    } else {
        log_debug("credentials cannot be refreshed, retrying: %s", err->text);
    }
}

/* ---- a refresh ---- */

static void refresh_failed(struct keeper *k, uint64_t now, const struct err *err)
{
    struct keeper_life life = life_of(k);

    k->failed++;
    k->retry_ns = clock_mono_ns() + keeper_retry_ns(&life, k->failed, now);
    put_news(k, now, err);
    tell_bad(k, now, err);
}

/* True if S3 refuses the credentials that are in use. */
static bool is_refused(const struct keeper *k)
{
    return k->refused && k->refused == shm_cred_generation(k->shm);
}

/* A source may return credentials that are about to expire (the metadata service does while it
 * cannot get others), or the same ones that S3 has refused: then we pause before the next fetch. */
static void pace(struct keeper *k, uint64_t now)
{
    struct keeper_life life = life_of(k);

    if (keeper_due_ns(&life) <= now || is_refused(k))
        k->retry_ns = clock_mono_ns() + KEEPER_RETRY_MAX_NS;
}

/* 0; -ECANCELED: asked to end; or the error of the refresh. */
static int refresh(struct keeper *k, struct err *err)
{
    bool is_new = false;
    int r = creds_fetch(&k->conf, k->creds, err);
    uint64_t now = clock_wall_ns();

    if (r == 0 && put_creds(k, now, &is_new) < 0)
        r = err_set(err, ENOMEM, "out of memory");
    if (r == -ECANCELED)
        return r;
    if (r < 0) {
        refresh_failed(k, now, err);
    } else {
        put_news(k, now, NULL);
        tell_good(k, is_new);
        tell_end(k, now);
        k->failed = 0;
        k->retry_ns = 0;
        k->overdue_told = false;
        pace(k, now);
    }
    sodium_memzero(k->creds, sizeof(*k->creds));
    k->tried_ns = clock_mono_ns();
    shm_cred_tried(k->shm);
    return r;
}

/* ---- the process ---- */

/* No other process may inspect this one, and it leaves no core dump. */
static void keep_secret(void)
{
    struct rlimit none = {0, 0};

    (void)setrlimit(RLIMIT_CORE, &none);
    (void)prctl(PR_SET_DUMPABLE, 0);
}

/* In the agent: it gets its secrets, if any, from the files that it opens. */
static void forget_secrets(void *ctx)
{
    conf_forget_secrets(ctx);
}

/* Credentials of the environment need neither files nor programs. */
static int enter_sandbox(struct keeper *k, struct err *err)
{
    const struct worker_env *env = k->env;
    int r = 0;

    if (!env->sandbox)
        return 0;
    if (env->sandbox->on && !is_fixed(k)) {
        /* A program runs as the user that is configured; otherwise as the one who started us, whose
         * file names it. */
        if (*env->conf->workers.user)
            k->conf.program_user = &env->sandbox->user;
        r = creds_agent_start(&k->conf, forget_secrets, (void *)(uintptr_t)env->conf, err);
    }
    return r == 0 ? sandbox_enter(env->sandbox, SANDBOX_KEEPER, err) : r;
}

static int keeper_begin(struct keeper *k, const struct worker_env *env, struct err *err)
{
    int r;

    *k = (struct keeper){.env = env, .shm = env->shm};
    keep_secret();
    keeper_conf(env->conf, &k->conf);
    if (creds_init() < 0)
        return err_set(err, ENOMEM, "no memory for credentials");
    r = enter_sandbox(k, err);
    if (r < 0)
        return r;
    k->creds = sodium_malloc(sizeof(*k->creds));
    if (!k->creds)
        return err_set(err, ENOMEM, "no memory for credentials");
    memset(k->creds, 0, sizeof(*k->creds));
    return 0;
}

static bool is_wanted(const struct keeper *k)
{
    uint64_t generation;
    uint32_t day;

    return shm_cred_wanted(k->shm, &generation, &day);
}

/* Milliseconds until something is due; 0 = now. */
static int keeper_wait_ms(const struct keeper *k)
{
    uint64_t now = clock_wall_ns(), mono = clock_mono_ns(), due;
    struct keeper_life life = life_of(k);

    due = keeper_due_ns(&life);
    if (is_refused(k) || !life.fetched_ns || !shm_cred_has_day(k->shm, keeper_day(now, DAYS_AHEAD)))
        due = now;
    if (k->retry_ns > mono && now + (k->retry_ns - mono) > due)
        due = now + (k->retry_ns - mono);
    if (is_wanted(k) && due > now + PAUSE_NS)
        due = now + PAUSE_NS;
    if (due <= now)
        return 0;
    return due - now > LOOK_MS * NS_PER_MS ? LOOK_MS : (int)((due - now) / NS_PER_MS) + 1;
}

/* True if a worker lacks the key of this day: then the keys of all days are derived again. */
static bool misses_day(struct keeper *k, uint32_t day)
{
    if (!day || shm_cred_has_day(k->shm, day))
        return false;
    k->wanted_day = day;
    return true;
}

/* True if S3 has refused the credentials that are in use; notes it. */
static bool was_refused(struct keeper *k, uint64_t generation)
{
    if (!generation || generation != shm_cred_generation(k->shm))
        return false;
    if (k->refused != generation)
        k->answered_ns = 0;
    k->refused = generation;
    return true;
}

/* A worker was refused, or lacks the key of a day. -ECANCELED, or 0: what it wanted is there, or it
 * can see that it will not come, or it comes a little later. If the request for what has just
 * failed is repeated at once, it gets the same negative reply. */
static int serve_wanted(struct keeper *k, struct err *err)
{
    uint64_t generation, now = clock_mono_ns();
    uint32_t day;
    bool refused, missed;

    fd_event_clear(k->env->keeper_fd);
    if (!shm_cred_wanted(k->shm, &generation, &day))
        return 0;
    refused = was_refused(k, generation);
    missed = misses_day(k, day);
    if (!missed && refused && k->answered_ns && now - k->answered_ns < ANSWER_NO_NS) {
        shm_cred_tried(k->shm);
    } else if (refused || missed) {
        if (k->tried_ns && now - k->tried_ns < PAUSE_NS)
            return 0;
        if (refresh(k, err) == -ECANCELED)
            return -ECANCELED;
        k->answered_ns = is_refused(k) ? clock_mono_ns() : 0;
    }
    shm_cred_wanted_done(k->shm, generation, day);
    return 0;
}

/* Does what is due. 0, or -ECANCELED: a signal has arrived. */
static int keeper_work(struct keeper *k, struct err *err)
{
    int r = serve_wanted(k, err);

    if (r == 0 && keeper_wait_ms(k) == 0 && refresh(k, err) == -ECANCELED)
        r = -ECANCELED;
    return r;
}

int keeper_main(const struct worker_env *env)
{
    struct keeper k;
    struct err err = {0};
    struct pollfd p[] = {{.fd = term_watch(), .events = POLLIN},
                         {.fd = env->keeper_fd, .events = POLLIN}};

    if (env->listen_fd >= 0)
        close(env->listen_fd);
    if (env->metrics_fd >= 0)
        close(env->metrics_fd);
    if (env->mount)
        close(env->mount->fd); /* or this process would keep the mount's connection alive */
    if (p[0].fd < 0 || keeper_begin(&k, env, &err) < 0) {
        log_journal_close(); /* it ends at once */
        log_err("keeper cannot start: %s", p[0].fd < 0 ? strerror(-p[0].fd) : err.text);
        return WORKER_EXIT_SETUP;
    }
    k.conf.stop_fd = p[0].fd;
    for (;;) {
        if (keeper_work(&k, &err) < 0 || (poll(p, 2, keeper_wait_ms(&k)) > 0 && p[0].revents)) {
            if (term_told(p[0].fd)) {
                creds_agent_end();
                return WORKER_EXIT_DONE;
            }
        }
        if (creds_agent_is_lost()) {
            log_warn("the keeper's agent has ended, starting both again");
            return WORKER_EXIT_DONE;
        }
    }
}

/* ---- the fetch at the start ---- */

static void run_first(const void *arg, void *answer)
{
    const struct worker_env *env = arg;
    struct keeper k;
    struct err *err = answer;
    int r;

    log_set_role("keeper");
    r = keeper_begin(&k, env, err);
    if (r == 0) {
        k.first = true;
        k.conf.limit_ns = FIRST_LIMIT_NS;
        r = refresh(&k, err);
    }
    creds_agent_end();
    err->code = -r;
}

static_assert(sizeof(struct err) <= CHILD_ANSWER_MAX, "");

static int first_exit_code(int code)
{
    switch (code) {
    case EINVAL:
    case ENOKEY:
    case EACCES:
        return EXIT_CODE_CONFIG;
    case ENOMEM:
        return EXIT_CODE_SYSTEM;
    default:
        return EXIT_CODE_S3;
    }
}

int keeper_first(const struct worker_env *env, struct err *err)
{
    struct err told = {0};
    int r = child_ask(run_first, env, FIRST_LIMIT_MS, &told, sizeof(told));

    told.text[ERR_TEXT_MAX - 1] = '\0';
    if (r == 0 && told.code == 0)
        return 0;
    if (r == 0)
        *err = told;
    else
        err_set(err, -r, "fetching credentials failed: %s", strerror(-r));
    return r == -ETIMEDOUT ? EXIT_CODE_S3 : r < 0 ? EXIT_CODE_SYSTEM : first_exit_code(told.code);
}
