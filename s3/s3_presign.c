/* Signature Version 4 in the query of a URL: the same canonical request as in a header
 * (s3_sigv4.c), with all that the header would say as parameters. */
#include "s3/s3_presign.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <sodium.h>

#include "s3/s3_client.h"
#include "s3/s3_time.h"

#define SIGNATURE "Signature="

static int add_param(struct buf *query, const char *name, const char *value)
{
    int r = buf_printf(query, "%s%s=", query->len ? "&" : "", name);

    return r == 0 ? s3_url_encode(query, value, strlen(value), false) : r;
}

static int build_query(const struct s3_client *c, const struct s3_sigv4_scope *scope, unsigned ttl,
                       struct buf *query)
{
    char credential[S3_ACCESS_KEY_MAX + S3_REGION_MAX + 64], seconds[16];
    int r;

    snprintf(credential, sizeof(credential), "%s/%.8s/%s/%s/aws4_request", c->cred->access_key,
             scope->amz_date, scope->region, scope->service);
    snprintf(seconds, sizeof(seconds), "%u", ttl);
    r = add_param(query, "X-Amz-Algorithm", "AWS4-HMAC-SHA256");
    if (r == 0)
        r = add_param(query, "X-Amz-Credential", credential);
    if (r == 0)
        r = add_param(query, "X-Amz-Date", scope->amz_date);
    if (r == 0)
        r = add_param(query, "X-Amz-Expires", seconds);
    if (r == 0 && *c->cred->session_token)
        r = add_param(query, "X-Amz-Security-Token", c->cred->session_token);
    if (r == 0)
        r = add_param(query, "X-Amz-SignedHeaders", "host");
    if (r == 0 && c->conf.options && c->conf.options->requester_pays)
        r = add_param(query, "x-amz-request-payer", "requester");
    return r;
}

/* The URL and its query, signed. */
static int sign_url(const struct s3_client *c, const struct s3_sigv4_scope *scope, const char *path,
                    struct buf *query)
{
    const struct s3_sigv4_header host = {"host", c->url.authority};
    const struct s3_sigv4_request req = {.method = "GET",
                                         .path = path,
                                         .query = query->data,
                                         .headers = &host,
                                         .n_headers = 1,
                                         .payload_hash = "UNSIGNED-PAYLOAD"};
    char auth[S3_SIGV4_AUTH_MAX];
    const char *signature;
    int r = s3_sigv4_sign(&req, scope, c->cred, auth, sizeof(auth));

    if (r < 0)
        return r;
    signature = strstr(auth, SIGNATURE);
    return signature ? add_param(query, "X-Amz-Signature", signature + strlen(SIGNATURE)) : -EINVAL;
}

static int presign(struct s3_client *c, const struct s3_sigv4_scope *scope, const char *key,
                   unsigned ttl, struct buf *out)
{
    struct buf path, query;
    int r;

    buf_init(&path, S3_PRESIGN_URL_MAX);
    buf_init(&query, S3_PRESIGN_URL_MAX);
    r = s3_url_path(&c->url, key, &path);
    if (r == 0)
        r = build_query(c, scope, ttl, &query);
    if (r == 0)
        r = sign_url(c, scope, path.data, &query);
    if (r == 0)
        r = buf_printf(out, "%s://%s%s?%s", c->url.tls ? "https" : "http", c->url.authority,
                       path.data, query.data);
    buf_done(&path);
    buf_done(&query);
    return r;
}

int s3_presign(struct s3_client *c, const char *key, unsigned ttl, struct buf *out)
{
    char date[S3_TIME_AMZ_MAX];
    struct s3_sigv4_scope scope = {c->url.region, "s3", date};
    int r = ttl < 1 || ttl > S3_PRESIGN_TTL_MAX ? -EINVAL : s3_url_check_key(key);

    if (r < 0)
        return r;
    s3_time_amz((uint64_t)((int64_t)clock_wall_ns() + c->skew_ns), date);
    r = c->creds->ops->get(c->creds, &scope, c->cred);
    if (r == 0)
        r = presign(c, &scope, key, ttl, out);
    sodium_memzero(c->cred, sizeof(*c->cred));
    return r;
}
