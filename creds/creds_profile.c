/* The profile of the shared files: what it says, in the order of AWS's clients, and roles that are
 * assumed with the credentials of another profile, and so on. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <sodium.h>

#include "creds/creds_provider.h"

#define CHAIN_MAX 8 /* profiles that lead to each other */

struct chain {
    const struct creds_job *job;
    const struct creds_shared *shared;
    const char *visited[CHAIN_MAX];
    unsigned n;
    char *how; /* CREDS_PROVIDER_MAX bytes: what was found out */
};

static int resolve(struct chain *c, const char *name, struct creds *ret, struct err *err);

static const char *get(const struct chain *c, const char *name, const char *key)
{
    return creds_shared_get(c->shared, CREDS_PROFILE, name, key);
}

/* Whether it is said how to get credentials; what else a profile has is not for us. */
static bool says_anything(const struct creds_shared *s, const char *name)
{
    static const char *const keys[] = {"aws_access_key_id",
                                       "aws_secret_access_key",
                                       "role_arn",
                                       "source_profile",
                                       "credential_source",
                                       "credential_process",
                                       "web_identity_token_file",
                                       "sso_session",
                                       "sso_account_id",
                                       "sso_start_url"};

    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        if (*creds_shared_get(s, CREDS_PROFILE, name, keys[i]))
            return true;
    }
    return false;
}

/* ---- static keys ---- */

static bool has_static(const struct chain *c, const char *name, bool credentials_file)
{
    return *creds_shared_get_of(c->shared, credentials_file, name, "aws_access_key_id") ||
           *creds_shared_get_of(c->shared, credentials_file, name, "aws_secret_access_key");
}

/* Of one file: a key ID of one and a secret of the other do not belong together. */
static int take_static(struct chain *c, const char *name, bool credentials_file, struct creds *ret,
                       struct err *err)
{
    const struct creds_shared *s = c->shared;
    const char *token = creds_shared_get_of(s, credentials_file, name, "aws_session_token");
    int r = s3_cred_copy(ret->access_key, sizeof(ret->access_key),
                         creds_shared_get_of(s, credentials_file, name, "aws_access_key_id"),
                         "aws_access_key_id", err);

    if (r == 0)
        r = s3_cred_copy(ret->secret, sizeof(ret->secret),
                         creds_shared_get_of(s, credentials_file, name, "aws_secret_access_key"),
                         "aws_secret_access_key", err);
    ret->session_token[0] = '\0';
    ret->expires_ns = 0;
    if (r == 0 && *token)
        r = s3_cred_copy(ret->session_token, sizeof(ret->session_token), token, "aws_session_token",
                         err);
    if (r == 0 && !*c->how)
        snprintf(c->how, CREDS_PROVIDER_MAX, "keys");
    return r;
}

/* ---- roles ---- */

static int from_source(struct chain *c, const char *source, struct creds *ret, struct err *err)
{
    int r;

    if (strcasecmp(source, "Environment") == 0)
        return creds_environment(c->job, ret, err);
    if (strcasecmp(source, "EcsContainer") == 0) {
        if (creds_given(c->job->conf->container_relative_uri) ||
            creds_given(c->job->conf->container_full_uri))
            r = creds_container(c->job, ret, err);
        else
            r = err_set(err, EINVAL,
                        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI and _FULL_URI are not "
                        "set");
        return r < 0 ? err_prefix(err, "credential_source EcsContainer") : 0;
    }
    if (strcasecmp(source, "Ec2InstanceMetadata") == 0) {
        r = c->job->conf->metadata_disabled
                ? err_set(err, EINVAL, "AWS_EC2_METADATA_DISABLED is set")
                : creds_metadata(c->job, ret, err);
        return r < 0 ? err_prefix(err, "credential_source Ec2InstanceMetadata") : 0;
    }
    return err_set(err, EINVAL,
                   "credential_source \"%.40s\", expected Environment, EcsContainer "
                   "or Ec2InstanceMetadata",
                   source);
}

/* The profile itself may be its source, if it has keys. */
static int from_profile(struct chain *c, const char *name, const char *source, struct creds *ret,
                        struct err *err)
{
    int r;

    if (!creds_shared_has(c->shared, CREDS_PROFILE, source))
        return err_set(err, EINVAL, "source_profile \"%.80s\" is in neither file", source);
    if (strcmp(name, source) == 0) {
        if (has_static(c, name, true))
            return take_static(c, name, true, ret, err);
        if (has_static(c, name, false))
            return take_static(c, name, false, ret, err);
        return err_set(err, EINVAL, "source_profile is the profile itself, which has no keys");
    }
    r = resolve(c, source, ret, err);
    return r < 0 ? err_prefix(err, "source_profile \"%.80s\"", source) : 0;
}

static int take_role(struct chain *c, const char *name, struct creds *ret, struct err *err)
{
    const char *profile = get(c, name, "source_profile");
    const char *source = get(c, name, "credential_source");
    struct creds_role role = {.arn = get(c, name, "role_arn"),
                              .session_name = get(c, name, "role_session_name"),
                              .external_id = get(c, name, "external_id"),
                              .duration = get(c, name, "duration_seconds")};
    struct creds *base;
    int r;

    if (*get(c, name, "mfa_serial"))
        return err_set(err, EINVAL, "mfa_serial: a daemon cannot ask for a code");
    if (!*profile == !*source)
        return err_set(err, EINVAL, "role_arn wants either source_profile or credential_source");
    if (!*c->how)
        snprintf(c->how, CREDS_PROVIDER_MAX, "role %.90s", role.arn);
    base = sodium_malloc(sizeof(*base));
    if (!base)
        return err_set(err, ENOMEM, "no locked memory for credentials");
    memset(base, 0, sizeof(*base));
    r = *profile ? from_profile(c, name, profile, base, err) : from_source(c, source, base, err);
    if (r == 0)
        r = creds_assume_role(c->job, &role, base, ret, err);
    sodium_free(base);
    return r;
}

static int take_web_identity(struct chain *c, const char *name, struct creds *ret, struct err *err)
{
    struct creds_role role = {.arn = get(c, name, "role_arn"),
                              .session_name = get(c, name, "role_session_name"),
                              .duration = get(c, name, "duration_seconds")};

    if (!*role.arn)
        return err_set(err, EINVAL, "web_identity_token_file wants role_arn as well");
    if (!*c->how)
        snprintf(c->how, CREDS_PROVIDER_MAX, "web identity");
    return creds_web_identity(c->job, &role, get(c, name, "web_identity_token_file"), ret, err);
}

static int take_program(struct chain *c, const char *name, struct creds *ret, struct err *err)
{
    if (!*c->how)
        snprintf(c->how, CREDS_PROVIDER_MAX, "credential_process");
    return creds_program(c->job, get(c, name, "credential_process"), ret, err);
}

static int take_sso(struct chain *c, const char *name, struct creds *ret, struct err *err)
{
    if (!*c->how)
        snprintf(c->how, CREDS_PROVIDER_MAX, "SSO");
    return creds_sso(c->job, c->shared, name, ret, err);
}

/* ---- the profile ---- */

static int note_visit(struct chain *c, const char *name, struct err *err)
{
    for (unsigned i = 0; i < c->n; i++) {
        if (strcmp(c->visited[i], name) == 0)
            return err_set(err, EINVAL, "source_profile leads in a circle");
    }
    if (c->n == CHAIN_MAX)
        return err_set(err, EINVAL, "more than %d profiles lead to each other", CHAIN_MAX);
    c->visited[c->n++] = name;
    return 0;
}

static int resolve(struct chain *c, const char *name, struct creds *ret, struct err *err)
{
    int r = note_visit(c, name, err);

    if (r < 0)
        return r;
    if (*get(c, name, "web_identity_token_file"))
        return take_web_identity(c, name, ret, err);
    if (*get(c, name, "role_arn"))
        return take_role(c, name, ret, err);
    if (*get(c, name, "sso_session") || *get(c, name, "sso_account_id"))
        return take_sso(c, name, ret, err);
    if (has_static(c, name, true))
        return take_static(c, name, true, ret, err);
    if (*get(c, name, "credential_process"))
        return take_program(c, name, ret, err);
    if (has_static(c, name, false))
        return take_static(c, name, false, ret, err);
    return err_set(err, EINVAL, "it does not say how to get credentials");
}

static int run_chain(const struct creds_job *job, const struct creds_shared *shared,
                     const char *name, struct creds *ret, struct err *err)
{
    char how[CREDS_PROVIDER_MAX] = "";
    struct chain c = {.job = job, .shared = shared, .how = how};
    int r;

    snprintf(ret->provider, sizeof(ret->provider), "profile \"%.40s\"", name);
    r = resolve(&c, name, ret, err);
    snprintf(ret->provider, sizeof(ret->provider), "profile \"%.40s\"%s%.70s", name,
             *how ? ": " : "", how);
    return r < 0 ? err_prefix(err, "profile \"%.80s\"", name) : 0;
}

int creds_profile(const struct creds_job *job, struct creds *ret, struct err *err)
{
    bool named = creds_given(job->conf->profile);
    const char *name = named ? job->conf->profile : "default";
    struct creds_shared *shared;
    int r = creds_shared_read(job->conf, &shared, err);

    if (r < 0)
        return r;
    if (!named && !says_anything(shared, name))
        r = -ENOKEY;
    else if (!creds_shared_has(shared, CREDS_PROFILE, name))
        r = err_set(err, EINVAL,
                    "there is no profile \"%.80s\" in the config file or the "
                    "credentials file",
                    name);
    else
        r = run_chain(job, shared, name, ret, err);
    creds_shared_free(shared);
    return r;
}
