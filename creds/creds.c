/* The chain: which provider is configured, in the order of AWS's clients. How each works is in a
 * file of its own (creds_provider.h). */
#include "creds/creds.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <curl/curl.h>
#include <jansson.h>
#include <libxml/parser.h>
#include <sodium.h>

#include "base/clock.h"
#include "creds/creds_heap.h"
#include "creds/creds_job.h"
#include "creds/creds_provider.h"
#include "s3/s3_sigv4.h"

int creds_init(void)
{
    if (sodium_init() < 0 ||
        curl_global_init_mem(CURL_GLOBAL_DEFAULT, creds_heap_malloc, creds_heap_free,
                             creds_heap_realloc, creds_heap_strdup, creds_heap_calloc) ||
        xmlMemSetup(creds_heap_free, creds_heap_malloc, creds_heap_realloc, creds_heap_strdup))
        return -ENOMEM;
    json_set_alloc_funcs(creds_heap_malloc, creds_heap_free);
    xmlInitParser();
    return 0;
}

static int chain_environment(const struct creds_job *job, struct creds *ret, struct err *err)
{
    if (!creds_given(job->conf->access_key) && !creds_given(job->conf->secret))
        return -ENOKEY;
    snprintf(ret->provider, sizeof(ret->provider), "environment");
    return creds_environment(job, ret, err);
}

static int chain_web_identity(const struct creds_job *job, struct creds *ret, struct err *err)
{
    const struct creds_conf *conf = job->conf;
    struct creds_role role = {.arn = conf->role_arn, .session_name = conf->role_session_name};

    if (!creds_given(conf->web_identity_token_file))
        return -ENOKEY;
    snprintf(ret->provider, sizeof(ret->provider), "web identity");
    if (!creds_given(conf->role_arn))
        return err_set(err, EINVAL, "AWS_WEB_IDENTITY_TOKEN_FILE is set without AWS_ROLE_ARN");
    return creds_web_identity(job, &role, conf->web_identity_token_file, ret, err);
}

static int chain_container(const struct creds_job *job, struct creds *ret, struct err *err)
{
    if (!creds_given(job->conf->container_relative_uri) &&
        !creds_given(job->conf->container_full_uri))
        return -ENOKEY;
    snprintf(ret->provider, sizeof(ret->provider), "container");
    return creds_container(job, ret, err);
}

/* The last, and asked also when nobody speaks of it. */
static int chain_metadata(const struct creds_job *job, struct creds *ret, struct err *err)
{
    if (job->conf->metadata_disabled)
        return -ENOKEY;
    snprintf(ret->provider, sizeof(ret->provider), "instance metadata");
    return creds_metadata(job, ret, err);
}

static int chain_run(const struct creds_job *job, struct creds *ret, struct err *err)
{
    static int (*const chain[])(const struct creds_job *, struct creds *, struct err *) = {
        chain_environment, chain_web_identity, creds_profile, chain_container, chain_metadata};

    for (size_t i = 0; i < sizeof(chain) / sizeof(chain[0]); i++) {
        int r = chain[i](job, ret, err);

        if (r == -ENOKEY)
            continue;
        if (r < 0 && chain[i] == chain_metadata)
            return err_prefix(err, "no credentials are configured (environment, web identity, "
                                   "profile, container), and the instance metadata gives none");
        if (r < 0)
            return err_prefix(err, "credentials from %s",
                              chain[i] == creds_profile ? "the shared files" : ret->provider);
        return 0;
    }
    return err_set(err, ENOKEY,
                   "no credentials: expected AWS_ACCESS_KEY_ID and "
                   "AWS_SECRET_ACCESS_KEY, or a web identity, a profile or a "
                   "container's endpoint (the instance metadata is disabled)");
}

static void keep_provider_only(struct creds *c)
{
    char provider[CREDS_PROVIDER_MAX];

    memcpy(provider, c->provider, sizeof(provider));
    sodium_memzero(c, sizeof(*c));
    memcpy(c->provider, provider, sizeof(provider));
}

int creds_fetch(const struct creds_conf *conf, struct creds *ret, struct err *err)
{
    struct creds_job job = {.conf = conf, .until_ns = clock_mono_ns() + conf->limit_ns};
    int r;

    memset(ret, 0, sizeof(*ret));
    r = chain_run(&job, ret, err);
    if (r < 0)
        keep_provider_only(ret);
    return r;
}

int creds_look(const struct creds_conf *conf, char ret[CREDS_PROVIDER_MAX], struct err *err)
{
    struct creds_job job = {.conf = conf, .look_only = true};
    struct creds *found = sodium_init() < 0 ? NULL : sodium_malloc(sizeof(*found));
    int r;

    if (!found)
        return err_set(err, ENOMEM, "no locked memory for credentials");
    memset(found, 0, sizeof(*found));
    r = chain_run(&job, found, err);
    if (r == 0)
        memcpy(ret, found->provider, CREDS_PROVIDER_MAX);
    sodium_free(found);
    return r;
}

int creds_derive(const struct creds *creds, const char *day, const char *region,
                 unsigned char *ret_key)
{
    struct s3_sigv4_scope scope = {region, "s3", day};

    return s3_sigv4_derive(creds->secret, &scope, ret_key) < 0 ? -ENOMEM : 0;
}
