/* The metadata service of an EC2 instance, version 2: a session token first, then the role, then
 * its credentials. Version 1, which needs no token, is not asked. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <sodium.h>

#include "base/clock.h"
#include "creds/creds_http.h"
#include "creds/creds_json.h"
#include "creds/creds_provider.h"

#define METADATA_BASE "http://169.254.169.254"
#define METADATA_BASE_IPV6 "http://[fd00:ec2::254]"
#define CONNECT_NS NS_PER_S
#define TOTAL_NS (2 * NS_PER_S)
#define URL_MAX 2048
#define TOKEN_MAX 1024
#define ROLE_MAX 128
#define ROLES_PATH "/latest/meta-data/iam/security-credentials/"
#define HOP_LIMIT                                                                                  \
    "is this an EC2 instance? In a container the answer is dropped unless the instance's "         \
    "HttpPutResponseHopLimit is 2"

struct metadata {
    const struct creds_job *job;
    const char *base;
    char *header; /* "X-aws-ec2-metadata-token: ...", locked */
};

static int metadata_ask(const struct metadata *m, const char *method, const char *header,
                        const char *path, struct creds_answer *ret, struct err *err)
{
    char url[URL_MAX];
    struct creds_http req = {.method = method,
                             .url = url,
                             .headers = {header},
                             .n_headers = 1,
                             .direct = true,
                             .connect_ns = CONNECT_NS,
                             .total_ns = TOTAL_NS,
                             .tries = 2};

    if ((size_t)snprintf(url, sizeof(url), "%s%s", m->base, path) >= sizeof(url))
        return err_set(err, EINVAL, "the endpoint of the metadata service is too long");
    return creds_http(m->job, &req, ret, err);
}

static int metadata_token(struct metadata *m, struct err *err)
{
    struct creds_answer answer = {0};
    char token[TOKEN_MAX];
    int r = metadata_ask(m, "PUT", "X-aws-ec2-metadata-token-ttl-seconds: 21600",
                         "/latest/api/token", &answer, err);

    if (r == -EHOSTUNREACH || r == -ETIMEDOUT) {
        char why[200];

        snprintf(why, sizeof(why), "%.199s", err->text);
        return err_set(err, -r, "%.80s: %s: " HOP_LIMIT, m->base, why);
    }
    if (r < 0)
        return r;
    if (answer.status != 200)
        r = err_set(err, EACCES,
                    "%.80s refused a session token (%d): check that the instance's "
                    "metadata service is enabled",
                    m->base, answer.status);
    else
        r = s3_cred_copy(token, sizeof(token), answer.body.data, "metadata token", err);
    creds_bytes_done(&answer.body);
    if (r == 0)
        snprintf(m->header, TOKEN_MAX + 64, "X-aws-ec2-metadata-token: %s", token);
    sodium_memzero(token, sizeof(token));
    return r;
}

/* The first line of the list: an instance has one role at most. */
static int metadata_role(struct metadata *m, char role[ROLE_MAX], struct err *err)
{
    struct creds_answer answer = {0};
    int r = metadata_ask(m, "GET", m->header, ROLES_PATH, &answer, err);

    if (r < 0)
        return err_prefix(err, "%.80s", m->base);
    if (answer.status == 404)
        r = err_set(err, EINVAL, "%.80s: the instance has no role: attach an instance profile",
                    m->base);
    else if (answer.status != 200)
        r = err_set(err, EACCES,
                    "%.80s answered %d: check that the metadata service permits "
                    "version 2",
                    m->base, answer.status);
    if (r == 0) {
        answer.body.data[strcspn(answer.body.data, "\r\n")] = '\0';
        r = s3_cred_copy(role, ROLE_MAX, answer.body.data, "name of the instance's role", err);
    }
    if (r == 0 && strpbrk(role, "/?#%"))
        r = err_set(err, EINVAL, "the name of the instance's role is none");
    creds_bytes_done(&answer.body);
    return r;
}

static int metadata_take(const struct creds_answer *answer, const char *base, const char *role,
                         struct creds *ret, struct err *err)
{
    static const struct creds_json_names names = {.access_key = "AccessKeyId",
                                                  .secret = "SecretAccessKey",
                                                  .token = "Token",
                                                  .expires = "Expiration",
                                                  .account = "AccountId",
                                                  .must_expire = true};
    cleanup_json struct json_t *json = NULL;
    const char *code;
    int r;

    if (answer->status != 200)
        return err_set(err, EACCES, "%.80s answered %d for role %.80s", base, answer->status, role);
    r = creds_json_parse(answer->body.data, answer->body.len, &json, err);
    code = r == 0 ? creds_json_text(json, "Code") : "";
    if (r == 0 && *code && strcmp(code, "Success") != 0) /* an error document, with status 200 */
        return err_set(err, EACCES, "%.80s has no credentials for role %.80s: %.40s %.160s", base,
                       role, code, creds_json_text(json, "Message"));
    if (r == 0)
        r = creds_json_take(json, &names, ret, err);
    return r < 0 ? err_prefix(err, "%.80s", base) : 0;
}

static int metadata_fetch(struct metadata *m, struct creds *ret, struct err *err)
{
    struct creds_answer answer = {0};
    char role[ROLE_MAX], path[ROLE_MAX + 64];
    int r = metadata_token(m, err);

    if (r == 0)
        r = metadata_role(m, role, err);
    if (r < 0)
        return r;
    snprintf(path, sizeof(path), ROLES_PATH "%s", role);
    r = metadata_ask(m, "GET", m->header, path, &answer, err);
    if (r < 0)
        return err_prefix(err, "%.80s", m->base);
    r = metadata_take(&answer, m->base, role, ret, err);
    creds_bytes_done(&answer.body);
    return r;
}

int creds_metadata(const struct creds_job *job, struct creds *ret, struct err *err)
{
    const char *given = job->conf->metadata_endpoint;
    struct metadata m = {.job = job,
                         .base = job->conf->metadata_ipv6 ? METADATA_BASE_IPV6 : METADATA_BASE};
    char base[URL_MAX];
    size_t len;
    int r;

    if (creds_given(given)) {
        snprintf(base, sizeof(base), "%s", given);
        len = strlen(base);
        if (len && base[len - 1] == '/')
            base[len - 1] = '\0';
        m.base = base;
    }
    if (job->look_only)
        return 0;
    m.header = sodium_malloc(TOKEN_MAX + 64);
    if (!m.header)
        return err_set(err, ENOMEM, "no locked memory for credentials");
    r = metadata_fetch(&m, ret, err);
    sodium_free(m.header);
    return r;
}
