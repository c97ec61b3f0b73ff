/* AssumeRole and AssumeRoleWithWebIdentity of the Security Token Service. */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sodium.h>

#include "base/buf.h"
#include "base/clock.h"
#include "creds/creds_http.h"
#include "creds/creds_provider.h"
#include "creds/creds_sts_xml.h"
#include "s3/s3_sigv4.h"
#include "s3/s3_time.h"
#include "s3/s3_url.h"

#define STS_TRIES 3
#define STS_PAUSE_NS NS_PER_S
#define CONNECT_NS (3 * NS_PER_S)
#define TOTAL_NS (10 * NS_PER_S)
#define FORM_MAX (96u << 10)
#define ENDPOINT_MAX 1100
#define HASH_HEX (2 * crypto_hash_sha256_BYTES + 1)
#define FORM_TYPE "application/x-www-form-urlencoded"

static const char *sts_region(const struct creds_conf *conf)
{
    return creds_given(conf->region) ? conf->region : "us-east-1";
}

/* With a slash at its end. */
static int sts_url(const struct creds_conf *conf, char *out, struct err *err)
{
    const char *region = sts_region(conf);
    int n;

    if (creds_given(conf->sts_endpoint))
        n = snprintf(out, ENDPOINT_MAX, "%s%s", conf->sts_endpoint,
                     conf->sts_endpoint[strlen(conf->sts_endpoint) - 1] == '/' ? "" : "/");
    else
        n = snprintf(out, ENDPOINT_MAX, "https://sts.%s.amazonaws.com%s/", region,
                     strncmp(region, "cn-", 3) == 0 ? ".cn" : "");
    if (n >= ENDPOINT_MAX)
        return err_set(err, EINVAL, "the endpoint of STS is too long");
    return 0;
}

/* "stateproxy-HOST", of what a session's name may hold. */
static void default_session(char out[CREDS_SESSION_NAME_MAX])
{
    char host[40] = "";

    if (gethostname(host, sizeof(host) - 1) < 0)
        host[0] = '\0';
    snprintf(out, CREDS_SESSION_NAME_MAX, "stateproxy%s%s", *host ? "-" : "", host);
    for (char *p = out; *p; p++) {
        if (!isalnum((unsigned char)*p) && !strchr("_=,.@-", *p))
            *p = '-';
    }
}

static int form_add(struct buf *form, const char *name, const char *value)
{
    int r = buf_printf(form, "%s%s=", form->len ? "&" : "", name);

    return r == 0 ? s3_url_encode(form, value, strlen(value), false) : r;
}

static int form_role(struct buf *form, const char *action, const struct creds_role *role)
{
    char session[CREDS_SESSION_NAME_MAX];
    const char *name = role->session_name;
    int r = form_add(form, "Action", action);

    if (!creds_given(name)) {
        default_session(session);
        name = session;
    }
    if (r == 0)
        r = form_add(form, "Version", "2011-06-15");
    if (r == 0)
        r = form_add(form, "RoleArn", role->arn);
    if (r == 0)
        r = form_add(form, "RoleSessionName", name);
    if (r == 0 && creds_given(role->duration))
        r = form_add(form, "DurationSeconds", role->duration);
    return r;
}

static int check_role(const struct creds_role *role, struct err *err)
{
    size_t name = role->session_name ? strlen(role->session_name) : 0;
    const char *duration = role->duration ? role->duration : "";

    if (strncmp(role->arn, "arn:", 4) != 0 || strlen(role->arn) >= CREDS_ARN_MAX)
        return err_set(err, EINVAL,
                       "\"%.80s\" is no ARN of a role, expected "
                       "arn:aws:iam::ACCOUNT:role/NAME",
                       role->arn);
    if (name && (name < 2 || name >= CREDS_SESSION_NAME_MAX))
        return err_set(err, EINVAL, "the role session name must have 2 to 64 characters");
    if (strlen(duration) > 5 || strspn(duration, "0123456789") != strlen(duration))
        return err_set(err, EINVAL, "duration_seconds is no number from 900 to 43200");
    return 0;
}

/* ---- the signature of AssumeRole ---- */

struct sts_signed {
    char date[S3_TIME_AMZ_MAX], host[ENDPOINT_MAX], path[ENDPOINT_MAX], hash[HASH_HEX];
    char h_date[S3_TIME_AMZ_MAX + 16], h_auth[S3_SIGV4_AUTH_MAX + 32];
    char h_token[S3_SESSION_TOKEN_MAX + 32];
};

static void split_url(const char *url, struct sts_signed *s)
{
    const char *host = strstr(url, "://");
    size_t len;

    host = host ? host + 3 : url;
    len = strcspn(host, "/");
    snprintf(s->host, sizeof(s->host), "%.*s", (int)len, host);
    snprintf(s->path, sizeof(s->path), "%s", host + len);
}

static int sts_sign(const struct creds_job *job, const struct creds *source, const char *url,
                    const struct buf *form, struct sts_signed *s)
{
    unsigned char digest[crypto_hash_sha256_BYTES];
    struct s3_sigv4_header headers[] = {{"content-type", FORM_TYPE},
                                        {"host", s->host},
                                        {"x-amz-date", s->date},
                                        {"x-amz-security-token", source->session_token}};
    struct s3_sigv4_request req = {.method = "POST",
                                   .path = s->path,
                                   .query = "",
                                   .headers = headers,
                                   .n_headers = *source->session_token ? 4 : 3,
                                   .payload_hash = s->hash,
                                   .encode_path = true,
                                   .normalize_path = true};
    struct s3_sigv4_scope scope = {sts_region(job->conf), "sts", s->date};
    struct s3_cred *cred = sodium_malloc(sizeof(*cred));
    char auth[S3_SIGV4_AUTH_MAX];
    int r;

    if (!cred)
        return -ENOMEM;
    s3_time_amz(clock_wall_ns(), s->date);
    split_url(url, s);
    crypto_hash_sha256(digest, (const unsigned char *)form->data, form->len);
    sodium_bin2hex(s->hash, sizeof(s->hash), digest, sizeof(digest));
    memcpy(cred->access_key, source->access_key, sizeof(cred->access_key));
    r = s3_sigv4_derive(source->secret, &scope, cred->key);
    if (r == 0)
        r = s3_sigv4_sign(&req, &scope, cred, auth, sizeof(auth));
    sodium_free(cred);
    if (r < 0)
        return r;
    snprintf(s->h_date, sizeof(s->h_date), "X-Amz-Date: %s", s->date);
    snprintf(s->h_auth, sizeof(s->h_auth), "Authorization: %s", auth);
    snprintf(s->h_token, sizeof(s->h_token), "X-Amz-Security-Token: %s", source->session_token);
    return 0;
}

/* ---- asking ---- */

/* Errors that the service itself calls passing; a token that was issued this moment may not be
 * known everywhere yet. */
static bool sts_may_pass(const char *code)
{
    static const char *const codes[] = {"IDPCommunicationError", "InvalidIdentityToken",
                                        "Throttling", "ThrottlingException",
                                        "RequestLimitExceeded"};

    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
        if (strcmp(code, codes[i]) == 0)
            return true;
    }
    return false;
}

static const char *sts_advice(const char *code)
{
    if (strcmp(code, "AccessDenied") == 0)
        return ": check the trust policy of the role";
    if (strcmp(code, "ExpiredTokenException") == 0 || strcmp(code, "ExpiredToken") == 0)
        return ": the token that was sent has expired, check that it is renewed";
    if (strcmp(code, "InvalidIdentityToken") == 0)
        return ": check the identity provider and its audience in IAM";
    return "";
}

static int sts_judge(const struct creds_answer *answer, const char *role, const char *url,
                     struct creds_sts_reply *reply, struct err *err)
{
    int r = creds_sts_parse(answer->body.data, answer->body.len, reply, err);

    if (r == -ENOMEM)
        return r;
    if (r == 0 && *reply->code)
        return err_set(err, EACCES, "STS at %.80s refused role %.120s: %d %s: %s%s", url, role,
                       answer->status, reply->code, reply->message, sts_advice(reply->code));
    if (answer->status != 200)
        return err_set(err, EACCES, "STS at %.80s answered %d", url, answer->status);
    return r < 0 ? err_prefix(err, "STS at %.80s", url) : 0;
}

static int sts_ask_once(const struct creds_job *job, const struct creds_http *req,
                        const struct creds_role *role, struct creds_sts_reply *reply,
                        struct err *err)
{
    struct creds_answer answer = {0};
    int r = creds_http(job, req, &answer, err);

    if (r < 0)
        return err_prefix(err, "STS at %.80s", req->url);
    r = sts_judge(&answer, role->arn, req->url, reply, err);
    creds_bytes_done(&answer.body);
    return r;
}

static int sts_ask(const struct creds_job *job, const struct creds_http *req,
                   const struct creds_role *role, struct creds *ret, struct err *err)
{
    struct creds_sts_reply *reply = sodium_malloc(sizeof(*reply));
    int r = reply ? 0 : err_set(err, ENOMEM, "no locked memory for credentials");

    for (int i = 0; reply && i < STS_TRIES; i++) {
        if (i > 0 && creds_pause(job, STS_PAUSE_NS) < 0)
            break;
        memset(reply, 0, sizeof(*reply));
        r = sts_ask_once(job, req, role, reply, err);
        if (r != -EACCES || !sts_may_pass(reply->code))
            break;
    }
    if (r == 0) {
        memcpy(reply->creds.provider, ret->provider, sizeof(ret->provider));
        *ret = reply->creds;
    }
    sodium_free(reply);
    return r;
}

/* What was given is in no way larger than the limits of a form. */
static int sts_local(int r, struct err *err)
{
    return err_set(err, r == -ENOMEM ? ENOMEM : EINVAL, "cannot build the request to STS: %s",
                   strerror(-r));
}

static void form_done(struct buf *form)
{
    if (form->data)
        sodium_memzero(form->data, form->cap);
    buf_done(form);
}

static struct creds_http sts_request(const char *url, const struct buf *form)
{
    return (struct creds_http){.method = "POST",
                               .url = url,
                               .headers = {"Content-Type: " FORM_TYPE, "Expect:"},
                               .n_headers = 2,
                               .body = form->data,
                               .connect_ns = CONNECT_NS,
                               .total_ns = TOTAL_NS,
                               .tries = STS_TRIES};
}

static int assume_signed(const struct creds_job *job, const struct creds_role *role,
                         const struct creds *source, const char *url, const struct buf *form,
                         struct creds *ret, struct err *err)
{
    struct creds_http req = sts_request(url, form);
    struct sts_signed *s = calloc(1, sizeof(*s));
    int r = s ? sts_sign(job, source, url, form, s) : -ENOMEM;

    if (r < 0) {
        free(s);
        return sts_local(r, err);
    }
    req.headers[req.n_headers++] = s->h_date;
    req.headers[req.n_headers++] = s->h_auth;
    if (*source->session_token)
        req.headers[req.n_headers++] = s->h_token;
    r = sts_ask(job, &req, role, ret, err);
    free(s);
    return r;
}

int creds_assume_role(const struct creds_job *job, const struct creds_role *role,
                      const struct creds *source, struct creds *ret, struct err *err)
{
    char url[ENDPOINT_MAX];
    struct buf form;
    int r = check_role(role, err);

    if (r == 0)
        r = sts_url(job->conf, url, err);
    if (r < 0 || job->look_only)
        return r;
    buf_init(&form, FORM_MAX);
    r = form_role(&form, "AssumeRole", role);
    if (r == 0 && creds_given(role->external_id))
        r = form_add(&form, "ExternalId", role->external_id);
    r = r < 0 ? sts_local(r, err) : assume_signed(job, role, source, url, &form, ret, err);
    form_done(&form);
    return r;
}

int creds_web_identity(const struct creds_job *job, const struct creds_role *role,
                       const char *token_file, struct creds *ret, struct err *err)
{
    cleanup_bytes struct creds_bytes token = {0};
    struct creds_http req;
    char url[ENDPOINT_MAX];
    struct buf form;
    int r = check_role(role, err);

    if (r == 0)
        r = sts_url(job->conf, url, err);
    if (r == 0) /* each time: it is replaced while we run */
        r = creds_token_file(token_file, "web identity token file", &token, err);
    if (r < 0 || job->look_only)
        return r;
    buf_init(&form, FORM_MAX);
    r = form_role(&form, "AssumeRoleWithWebIdentity", role);
    if (r == 0)
        r = form_add(&form, "WebIdentityToken", token.data);
    req = sts_request(url, &form);
    r = r < 0 ? sts_local(r, err) : sts_ask(job, &req, role, ret, err);
    form_done(&form);
    return r;
}
