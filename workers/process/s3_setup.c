/* The S3 client of a worker, and the start-up check of bucket, region and credentials. */
#include "workers/process/s3_setup.h"

#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/container.h"
#include "base/log.h"
#include "s3/s3_cred.h"
#include "s3/s3_endpoint.h"
#include "s3/s3_error.h"
#include "s3/s3_explain.h"
#include "s3/s3_tls.h"
#include "s3/s3_url.h"
#include "shm/shm_cred.h"
#include "shm/shm_stats.h"
#include "workers/op/failure.h"
#include "workers/op/worker_abi.h"
#include "workers/probe/cas_probe.h"
#include "workers/process/cred_source.h"
#include "workers/server/cas_kept.h"
#include "workers/server/server.h"

/* workers count their requests by kind */
static_assert((int)S3_N_OPS <= SHM_STATS_S3_OPS, "");

static struct s3_client_conf client_conf(const struct conf *c, const char *region)
{
    return (struct s3_client_conf){
        .endpoint = c->s3.endpoint,
        .region = region,
        .bucket = c->bucket,
        .dualstack = c->s3.dualstack,
        .fips = c->s3.fips,
        .accelerate = c->s3.accelerate,
        .ca_bundle = c->s3.ca_bundle,
        .client_cert = c->s3.client_cert,
        .client_key = c->s3.client_key,
        .tls_insecure = c->s3.tls_insecure,
        .addressing = c->s3.addressing == CONF_ADDRESSING_PATH      ? S3_ADDRESSING_PATH
                      : c->s3.addressing == CONF_ADDRESSING_VIRTUAL ? S3_ADDRESSING_VIRTUAL
                                                                    : S3_ADDRESSING_AUTO,
        .payload_signing = c->s3.payload_signing == CONF_SIGN_ALWAYS  ? S3_SIGN_ALWAYS
                           : c->s3.payload_signing == CONF_SIGN_NEVER ? S3_SIGN_NEVER
                                                                      : S3_SIGN_AUTO,
        .checksum = c->checksum.request == CONF_CHECKSUM_REQUIRED      ? S3_CRC_NONE
                    : c->checksum.algorithm == CONF_CHECKSUM_CRC32C    ? S3_CRC_32C
                    : c->checksum.algorithm == CONF_CHECKSUM_CRC64NVME ? S3_CRC_64NVME
                                                                       : S3_CRC_NONE,
        .response_checks = c->checksum.response == CONF_CHECKSUM_SUPPORTED,
        .connect_timeout_ns = c->s3.connect_timeout_ns,
        .attempt_timeout_ns = c->s3.attempt_timeout_ns,
        .deadline_ns = c->s3.deadline_ns,
        .max_attempts = c->s3.max_attempts,
        .max_connections = c->s3.connections,
    };
}

int worker_endpoint(const struct conf *conf, struct worker_endpoint *ret, struct err *err)
{
    struct s3_client_conf cc = client_conf(conf, conf->s3.region);
    struct s3_endpoint endpoint = s3_client_endpoint(&cc);
    struct s3_url url;
    int r = s3_endpoint_resolve(&endpoint, &url, err);

    if (r < 0)
        return r;
    snprintf(ret->url, sizeof(ret->url), "%s://%s%s", url.tls ? "https" : "http", url.authority,
             url.base);
    strcpy(ret->region, url.region);
    return 0;
}

/* ---- the region ---- */

/* Called by the client that found it out. The others get it with the next key (cred_source.c). */
static void on_region(void *arg, const char *region)
{
    const struct worker_env *env = arg;
    char known[SHM_CRED_REGION_MAX];

    shm_cred_region(env->shm, known);
    if (strcmp(known, region) == 0)
        return;
    shm_cred_set_region(env->shm, region);
    log_notice("the bucket is in another region bucket=\"%s\" region=%s signed_for=%s: requests "
               "are signed for that one from now on",
               env->conf->bucket, region, known);
}

/* ---- the client of a worker ---- */

static void on_s3_ended(void *arg, unsigned kind, uint64_t ns, const struct s3_result *res)
{
    struct shm_stats *stats = arg;

    /* (A refused condition has several errors, depending on what was asked.) */
    shm_timing_add(&stats->s3_ended[kind], ns,
                   res->error && res->http_status == 412 ? SHM_OUTCOME_CONFLICT
                                                         : shm_outcome_of(res->error));
}

/* With compare-and-set, conditions are sent in the form that was probed, or else in S3's own
 * form. */
int s3_setup(struct loop *loop, const struct worker_env *env, struct shm_stats *stats,
             struct s3_client **ret_client, struct err *err)
{
    const struct conf *conf = env->conf;
    /* the client uses these as long as it lives */
    static struct s3_client_conf cc;
    static struct s3_counters counters;
    static char region[SHM_CRED_REGION_MAX];
    struct s3_cred_source *creds;

    if (cred_source_new(env, false, &creds) < 0)
        return err_set(err, ENOMEM, "no locked memory for credentials");
    shm_cred_region(env->shm, region);
    cc = client_conf(conf, region);
    cc.options = env->options;
    cc.on_region = on_region;
    cc.region_arg = (void *)(uintptr_t)env;
    counters = (struct s3_counters){.requests = stats->s3,
                                    .in_bytes = &stats->count[SHM_STAT_S3_IN_BYTES],
                                    .out_bytes = &stats->count[SHM_STAT_S3_OUT_BYTES],
                                    .retries = &stats->count[SHM_STAT_S3_RETRIES],
                                    .errors = &stats->count[SHM_STAT_S3_ERRORS],
                                    .ended = on_s3_ended,
                                    .arg = stats};
    cc.counters = &counters;
    cc.etags_required = true;
    cc.habits = &env->shm->header->habits;
    cc.retry_spent = &env->shm->header->retry_spent;
    cc.form_is_known = conf->variant == CONF_S3_BUFFERED_CAS;
    cc.on_habit = server_tell;
    cc.on_failure = failure_note;
    if (cc.addressing == S3_ADDRESSING_AUTO && (*cc.habits & S3_HABIT_VIRTUAL_HOST))
        cc.addressing = S3_ADDRESSING_VIRTUAL;
    return s3_client_new(loop, &cc, creds, ret_client, err);
}

/* ---- the check at start-up ---- */

/* Of the clients that follow in this process: in the sandbox they could not read them. */
static int share_certificates(struct s3_client_conf *cc, struct err *err)
{
    struct s3_endpoint endpoint = s3_client_endpoint(cc);
    struct s3_url url;
    int r = s3_endpoint_resolve(&endpoint, &url, err);

    return r == 0 && url.tls ? s3_tls_new(cc, &cc->tls, err) : r;
}

int worker_certificates(const struct conf *conf, struct err *err)
{
    struct s3_client_conf cc = client_conf(conf, conf->s3.region);
    int r = share_certificates(&cc, err);

    if (cc.tls)
        s3_tls_free(cc.tls);
    return r;
}

/* A server that starts at the same time as we do gets this many tries; a permanent error is
 * reported immediately. */
#define CHECK_TRIES 6
#define CHECK_KEYS 10 /* enough that there probably is an object among them */
#define CHECK_PAUSE_NS (500 * NS_PER_MS)

struct check {
    struct loop *loop;
    struct loop_timer again;
    struct s3_cred_source *creds;
    struct s3_client *client;
    struct s3_client_conf conf;
    const struct worker_env *env;
    struct server_traits *traits;
    char region[SHM_CRED_REGION_MAX];
    char prefix[S3_KEY_MAX + 2];
    char without[S3_KEY_MAX + 1]; /* a key that the listing returned without an ETag, "" = none */
    unsigned tries;
    int result;
    struct err *err;
};

static void setup_ask(struct check *c);

static void on_again(struct loop_timer *t)
{
    setup_ask(container_of(t, struct check, again));
}

static void end_check(struct check *c, int result)
{
    c->result = result;
    loop_stop(c->loop);
}

/* Notes an object without an ETag, but not a directory's marker: some servers return no ETag for
 * those. */
static int setup_on_entry(void *arg, const struct s3_list_entry *e)
{
    struct check *c = arg;

    if (!*c->without && !e->is_prefix && !*e->etag && e->key_len < sizeof(c->without) &&
        e->key[e->key_len - 1] != '/')
        memcpy(c->without, e->key, e->key_len + 1);
    return 0;
}

/* Perhaps only the listing has no ETags. */
static void on_headed(void *arg, const struct s3_result *res)
{
    struct check *c = arg;

    if (!res->error && !*res->obj.etag)
        end_check(c, err_set(c->err, EINVAL,
                             "%.200s tells no ETags, and without them an old version of a file "
                             "cannot be told from a new one: switch them on in the server "
                             "(JuiceFS gateway: --keep-etag), or use another",
                             s3_endpoint_name(&c->conf)));
    else
        end_check(c, 0); /* the listing succeeded; other errors concern this key only */
}

static void look_for_etags(struct check *c)
{
    int r = s3_head(c->client, c->without, on_headed, c, NULL);

    if (r < 0)
        end_check(c, 0);
}

/* The server wants the bucket in the host name: tries that once, if the configuration does not set
 * the addressing. The refused client is not freed, because this process ends soon. */
static bool try_virtual(struct check *c, const struct s3_result *res)
{
    enum s3_addressing was = c->conf.addressing;
    struct s3_client *client;
    struct err ignored;

    if (was != S3_ADDRESSING_AUTO || !s3_refuses_path(res))
        return false;
    c->conf.addressing = S3_ADDRESSING_VIRTUAL;
    if (s3_client_new(c->loop, &c->conf, c->creds, &client, &ignored) < 0) {
        /* an IP address, or a bucket that is no host name: the error text says so */
        c->conf.addressing = was;
        return false;
    }
    c->client = client;
    (void)s3_habit_learn(client, S3_HABIT_VIRTUAL_HOST);
    setup_ask(c);
    return true;
}

/* The key that we have is of no use there. */
static void check_on_region(void *arg, const char *region)
{
    struct check *c = arg;

    on_region((void *)(uintptr_t)c->env, region);
    c->traits->moved = true;
}

static void on_checked(void *arg, const struct s3_result *res)
{
    struct check *c = arg;
    char text[ERR_TEXT_MAX];

    if (c->traits->moved)
        end_check(c, err_set(c->err, EREMCHG, "the bucket is in another region"));
    else if (!res->error && *c->without)
        look_for_etags(c);
    else if (!res->error)
        end_check(c, 0);
    else if (try_virtual(c, res))
        return;
    else if (s3_explain(res, &c->conf, text, sizeof(text)))
        end_check(c, err_set(c->err, EINVAL, "%s", text));
    else if (++c->tries == CHECK_TRIES)
        end_check(c, err_set(c->err, EHOSTUNREACH, "%s", text));
    else
        loop_timer_set(c->loop, &c->again, CHECK_PAUSE_NS);
}

static void setup_ask(struct check *c)
{
    struct s3_list list = {.prefix = c->prefix, .max_keys = CHECK_KEYS, .on_entry = setup_on_entry};
    int r = s3_list(c->client, &list, on_checked, c, NULL);

    if (r < 0)
        end_check(c, err_set(c->err, -r, "cannot ask S3: %s", strerror(-r)));
}

bool worker_probes(const struct conf *conf)
{
    return cas_probe_wanted(conf);
}

/* Everything that is needed for requests; from here on this process is confined. `alone`: of
 * cred_source_new. */
static int check_begin(struct check *c, bool alone)
{
    const struct worker_env *env = c->env;
    int r;

    shm_cred_region(env->shm, c->region);
    c->conf = client_conf(env->conf, c->region);
    c->conf.options = env->options;
    c->conf.on_region = check_on_region;
    c->conf.region_arg = c;
    /* A single attempt shows the cause; the client's own retries would only report that the
     * deadline has passed. */
    c->conf.max_attempts = 1;
    c->conf.habits = &c->traits->habits;
    c->conf.server = c->traits->name;
    if (c->conf.addressing == S3_ADDRESSING_AUTO && (c->traits->habits & S3_HABIT_VIRTUAL_HOST))
        c->conf.addressing = S3_ADDRESSING_VIRTUAL;
    r = loop_new(&c->loop);
    if (r < 0)
        return err_set(c->err, -r, "no event loop: %s", strerror(-r));
    r = cred_source_new(env, alone, &c->creds);
    if (r < 0)
        return err_set(c->err, ENOMEM, "no locked memory for credentials");
    r = share_certificates(&c->conf, c->err);
    if (r == 0)
        r = s3_client_new(c->loop, &c->conf, c->creds, &c->client, c->err);
    if (r == 0 && env->sandbox)
        r = sandbox_enter(env->sandbox, SANDBOX_WORKER, c->err);
    return r;
}

/* A server that is known for a habit which only the probe would find. */
static void take_known(struct server_traits *t)
{
    if (strcmp(t->name, "VERSITYGW") == 0)
        t->habits |= S3_HABIT_BLIND_COMPLETE;
}

/* S3 answers. What its conditions are worth is known, documented, or to be found out. */
static int check_conditions(struct check *c)
{
    const struct conf *conf = c->env->conf;
    struct server_traits *t = c->traits;

    take_known(t);
    if (cas_probe_wanted(conf)) {
        if (cas_probe_is_kept(conf, t))
            return 0;
        t->later = !*conf->mount.path;
        return t->later ? 0 : cas_probe(conf, c->loop, &c->conf, c->creds, t, c->err);
    }
    if (conf->variant == CONF_S3_BUFFERED_CAS && cas_probe_is_documented(conf))
        t->put_conditions = t->complete_conditions = t->delete_if_match = true;
    t->copy_conditions =
        conf->variant == CONF_S3_BUFFERED_CAS && cas_probe_copies_are_documented(conf);
    return 0;
}

int worker_check_s3(const struct worker_env *env, struct server_traits *ret_traits, struct err *err)
{
    const struct conf *conf = env->conf;
    struct check c = {.err = err, .again.on_time = on_again, .env = env, .traits = ret_traits};
    int r;

    snprintf(c.prefix, sizeof(c.prefix), "%s%s", conf->prefix, *conf->prefix ? "/" : "");
    cas_kept_load(conf);
    r = check_begin(&c, true);
    if (r < 0)
        return r;
    setup_ask(&c);
    r = loop_run(c.loop);
    if (r < 0)
        return err_set(err, -r, "the event loop failed");
    return c.result == 0 ? check_conditions(&c) : c.result;
}

int worker_probe(const struct worker_env *env, struct err *err)
{
    struct server_traits traits = env->traits;
    struct check c = {.err = err, .env = env, .traits = &traits};
    int r = check_begin(&c, false);

    if (r == 0)
        r = cas_probe(env->conf, c.loop, &c.conf, c.creds, &traits, err);
    if (r == 0)
        server_found(env, &traits);
    return r;
}
