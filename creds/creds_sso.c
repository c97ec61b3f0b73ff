/* IAM Identity Center (SSO): the token that `aws sso login` has put into its cache, read only,
 * exchanged for credentials of the account and role that the profile names. */
#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <nettle/sha1.h>
#include <sodium.h>

#include "base/buf.h"
#include "base/clock.h"
#include "creds/creds_http.h"
#include "creds/creds_json.h"
#include "creds/creds_provider.h"
#include "s3/s3_time.h"
#include "s3/s3_url.h"

#define CONNECT_NS (3 * NS_PER_S)
#define TOTAL_NS (10 * NS_PER_S)
#define TOKEN_MAX 8192
#define URL_MAX 2048
#define SHA1_HEX (2 * SHA1_DIGEST_SIZE + 1)
#define LOGIN "run `aws sso login` again"

/* What the profile says. */
struct sso_profile {
    const char *session; /* "" = a profile of the older form, which names start URL and region */
    const char *start_url, *region, *account, *role;
};

static int sso_profile(const struct creds_shared *shared, const char *profile,
                       struct sso_profile *ret, struct err *err)
{
    struct sso_profile p = {
        .session = creds_shared_get(shared, CREDS_PROFILE, profile, "sso_session"),
        .account = creds_shared_get(shared, CREDS_PROFILE, profile, "sso_account_id"),
        .role = creds_shared_get(shared, CREDS_PROFILE, profile, "sso_role_name"),
    };
    enum creds_section kind = *p.session ? CREDS_SSO_SESSION : CREDS_PROFILE;
    const char *name = *p.session ? p.session : profile;

    if (*p.session && !creds_shared_has(shared, CREDS_SSO_SESSION, p.session))
        return err_set(err, EINVAL, "there is no section [sso-session %.80s]", p.session);
    p.start_url = creds_shared_get(shared, kind, name, "sso_start_url");
    p.region = creds_shared_get(shared, kind, name, "sso_region");
    if (!*p.start_url || !*p.region || !*p.account || !*p.role)
        return err_set(err, EINVAL,
                       "SSO wants sso_start_url, sso_region, sso_account_id and "
                       "sso_role_name, and one is missing");
    for (const char *c = p.region; *c; c++) {
        if (!isalnum((unsigned char)*c) && *c != '-')
            return err_set(err, EINVAL, "sso_region is no region");
    }
    *ret = p;
    return 0;
}

static int cache_path(const struct creds_conf *conf, const struct sso_profile *p, char *out,
                      struct err *err)
{
    const char *text = *p->session ? p->session : p->start_url;
    unsigned char digest[SHA1_DIGEST_SIZE];
    char hex[SHA1_HEX], name[SHA1_HEX + 32];
    struct sha1_ctx ctx;

    sha1_init(&ctx);
    sha1_update(&ctx, strlen(text), (const uint8_t *)text);
    sha1_digest(&ctx, sizeof(digest), digest);
    sodium_bin2hex(hex, sizeof(hex), digest, sizeof(digest));
    snprintf(name, sizeof(name), "sso/cache/%s.json", hex);
    if (!creds_shared_path(conf, name, out, PATH_MAX))
        return err_set(err, EINVAL, "SSO: HOME is not set, so there is no cached token");
    return 0;
}

static int check_token(const struct json_t *json, const char *path, struct err *err)
{
    char expires[40];
    int64_t ns;
    size_t n;

    snprintf(expires, sizeof(expires), "%s", creds_json_text(json, "expiresAt"));
    n = strlen(expires);
    if (n > 3 && strcmp(expires + n - 3, "UTC") == 0) /* of older programs */
        strcpy(expires + n - 3, "Z");
    if (!*creds_json_text(json, "accessToken") || !s3_time_parse_iso(expires, &ns))
        return err_set(err, EINVAL, "SSO token %.200s: not a token: " LOGIN, path);
    if (ns <= (int64_t)clock_wall_ns())
        return err_set(err, EACCES, "SSO token %.200s has expired at %s: " LOGIN, path, expires);
    return 0;
}

/* The cached token into `ret`, which has TOKEN_MAX bytes of locked memory. */
static int cached_token(const struct creds_conf *conf, const struct sso_profile *p, char *ret,
                        struct err *err)
{
    cleanup_bytes struct creds_bytes text = {0};
    cleanup_json struct json_t *json = NULL;
    char path[PATH_MAX];
    int r = cache_path(conf, p, path, err);

    if (r == 0)
        r = creds_file(path, "SSO token", CREDS_BODY_MAX, &text, err);
    if (r == -ENOENT)
        return err_set(err, EINVAL, "no SSO token %.200s: " LOGIN, path);
    if (r < 0)
        return r;
    r = creds_json_parse(text.data, text.len, &json, err);
    if (r < 0)
        return err_prefix(err, "SSO token %.200s", path);
    r = check_token(json, path, err);
    return r == 0 ? s3_cred_copy(ret, TOKEN_MAX, creds_json_text(json, "accessToken"), "SSO token",
                                 err)
                  : r;
}

static int sso_url(const struct creds_conf *conf, const struct sso_profile *p, struct buf *url)
{
    int r = creds_given(conf->sso_endpoint)
                ? buf_puts(url, conf->sso_endpoint)
                : buf_printf(url, "https://portal.sso.%s.amazonaws.com", p->region);

    if (r == 0)
        r = buf_puts(url, "/federation/credentials?role_name=");
    if (r == 0)
        r = s3_url_encode(url, p->role, strlen(p->role), false);
    if (r == 0)
        r = buf_puts(url, "&account_id=");
    return r == 0 ? s3_url_encode(url, p->account, strlen(p->account), false) : r;
}

static int sso_take(const struct creds_answer *answer, const struct sso_profile *p,
                    struct creds *ret, struct err *err)
{
    static const struct creds_json_names names = {.access_key = "accessKeyId",
                                                  .secret = "secretAccessKey",
                                                  .token = "sessionToken",
                                                  .expires = "expiration",
                                                  .expires_ms = true,
                                                  .must_expire = true};
    cleanup_json struct json_t *json = NULL;
    int r = creds_json_parse(answer->body.data, answer->body.len, &json, err);

    if (answer->status == 401)
        return err_set(err, EACCES, "SSO does not take the cached token any more: " LOGIN);
    if (answer->status != 200)
        return err_set(err, EACCES, "SSO refused role %.80s of account %.20s: %d %.120s", p->role,
                       p->account, answer->status, r == 0 ? creds_json_text(json, "message") : "");
    if (r == 0)
        r = creds_json_take(creds_json_object(json, "roleCredentials"), &names, ret, err);
    if (r < 0)
        return err_prefix(err, "SSO");
    snprintf(ret->account, sizeof(ret->account), "%.15s", p->account);
    return 0;
}

static int sso_ask(const struct creds_job *job, const struct sso_profile *p, const char *token,
                   struct creds *ret, struct err *err)
{
    struct creds_http req = {.method = "GET",
                             .connect_ns = CONNECT_NS,
                             .total_ns = TOTAL_NS,
                             .tries = 3,
                             .n_headers = 1};
    char *header = sodium_malloc(TOKEN_MAX + 32);
    struct creds_answer answer = {0};
    struct buf url;
    int r;

    if (!header)
        return err_set(err, ENOMEM, "no locked memory for credentials");
    snprintf(header, TOKEN_MAX + 32, "x-amz-sso_bearer_token: %s", token);
    buf_init(&url, URL_MAX);
    r = sso_url(job->conf, p, &url);
    req.url = url.data;
    req.headers[0] = header;
    if (r < 0)
        err_set(err, EINVAL, "the URL of SSO is too long");
    else if ((r = creds_http(job, &req, &answer, err)) < 0)
        err_prefix(err, "SSO");
    else
        r = sso_take(&answer, p, ret, err);
    creds_bytes_done(&answer.body);
    buf_done(&url);
    sodium_free(header);
    return r < 0 ? -err->code : 0;
}

int creds_sso(const struct creds_job *job, const struct creds_shared *shared, const char *profile,
              struct creds *ret, struct err *err)
{
    struct sso_profile p;
    char *token;
    int r = sso_profile(shared, profile, &p, err);

    if (r < 0 || job->look_only)
        return r;
    token = sodium_malloc(TOKEN_MAX);
    if (!token)
        return err_set(err, ENOMEM, "no locked memory for credentials");
    r = cached_token(job->conf, &p, token, err);
    if (r == 0)
        r = sso_ask(job, &p, token, ret, err);
    sodium_free(token);
    return r;
}
