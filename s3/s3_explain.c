/* Sentences for failures at the start. The table of errnos is s3_error.c. */
#include "s3/s3_explain.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "s3/s3_tls.h"

const char *s3_endpoint_name(const struct s3_client_conf *conf)
{
    return conf->endpoint && *conf->endpoint ? conf->endpoint : "AWS S3 (no endpoint is set)";
}

static bool is(const struct s3_result *res, const char *code)
{
    return strcmp(res->code, code) == 0;
}

static bool wrong_region(const struct s3_result *res)
{
    return res->http_status == 301 || res->http_status == 307 ||
           is(res, "AuthorizationHeaderMalformed") || is(res, "PermanentRedirect") ||
           is(res, "IllegalLocationConstraintException");
}

/* The server rejected the credentials. */
static const char *key_trouble(const struct s3_result *res)
{
    if (is(res, "InvalidAccessKeyId") || is(res, "XAdminUserNotFound") || is(res, "NotSignedUp"))
        return "the server does not know the access key: check the access key";
    if (is(res, "SignatureDoesNotMatch"))
        return "the secret key does not belong to the access key: check the "
               "secret key";
    if (is(res, "ExpiredToken") || is(res, "TokenRefreshRequired"))
        return "the session token has expired: give fresh credentials";
    if (is(res, "InvalidToken") || is(res, "InvalidTokenId"))
        return "the session token does not belong to these keys: check all "
               "three";
    if (res->fail == S3_FAIL_CREDENTIALS)
        return "there are no credentials";
    return NULL;
}

bool s3_refuses_path(const struct s3_result *res)
{
    /* code that OSS, COS, OBS and TOS return */
    return is(res, "SecondLevelDomainForbidden") || is(res, "PathStyleDomainForbidden") ||
           is(res, "VirtualHostDomainRequired") || is(res, "InvalidPathAccess");
}

/* Writes a sentence, followed by what the server returned: "(LIST: 403 AccessDenied: ...)". */
static void write_out(char *out, size_t cap, const struct s3_result *res, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

static void write_out(char *out, size_t cap, const struct s3_result *res, const char *fmt, ...)
{
    va_list ap;
    int n;

    va_start(ap, fmt);
    n = vsnprintf(out, cap, fmt, ap);
    va_end(ap);
    if (n >= 0 && (size_t)n < cap && *res->text)
        n += snprintf(out + n, cap - (size_t)n, " (%s)", res->text);
    err_cut(out, cap, n);
}

static void explain_region(const struct s3_result *res, const struct s3_client_conf *conf,
                           char *out, size_t cap)
{
    if (*res->location)
        write_out(out, cap, res,
                  "the server sends bucket \"%.63s\" to another host: set the endpoint to that of "
                  "%s%s%s",
                  conf->bucket, res->location, *res->region ? ", and the region to " : "",
                  res->region);
    else if (*res->region)
        write_out(out, cap, res,
                  "bucket \"%.63s\" is in region %s, not in %.63s: set the region to %s",
                  conf->bucket, res->region, conf->region, res->region);
    else
        write_out(out, cap, res,
                  "bucket \"%.63s\" is not served in region %.63s at %.120s: check the region "
                  "and the endpoint",
                  conf->bucket, conf->region, s3_endpoint_name(conf));
}

/* Explains a code that points to the configuration; false: none of these. */
static bool explain_code(const struct s3_result *res, const struct s3_client_conf *conf, char *out,
                         size_t cap)
{
    const char *at = s3_endpoint_name(conf);

    if (is(res, "InvalidBucketName"))
        write_out(out, cap, res,
                  "%.120s does not accept \"%.63s\" as a bucket name: check the name", at,
                  conf->bucket);
    else if (is(res, "NoSuchBucket"))
        write_out(out, cap, res,
                  "there is no bucket \"%.63s\" at %.120s: check the bucket's name, or create it",
                  conf->bucket, at);
    else if (s3_refuses_path(res))
        write_out(out, cap, res,
                  "%.120s requires the bucket in the host name: set s3.addressing: virtual, and an "
                  "endpoint with a name",
                  at);
    else
        return false;
    return true;
}

static bool explain_answer(const struct s3_result *res, const struct s3_client_conf *conf,
                           char *out, size_t cap)
{
    const char *at = s3_endpoint_name(conf);

    if (explain_code(res, conf, out, cap))
        return true;
    if (wrong_region(res)) {
        explain_region(res, conf, out, cap);
        return true;
    }
    if (is(res, "RequestTimeTooSkewed") || is(res, "RequestExpired")) {
        write_out(out, cap, res,
                  "the clocks of this machine and of %.120s differ too much: set the clock", at);
        return false;
    }
    if (res->http_status == 401 || res->http_status == 403) {
        write_out(out, cap, res,
                  "these credentials may not use bucket \"%.63s\" at %.120s (%d %s): "
                  "check keys, policy and the bucket's name",
                  conf->bucket, at, res->http_status, res->code);
        return true;
    }
    write_out(out, cap, res, "%.120s answered %d %s", at, res->http_status, res->code);
    /* a server that is not S3 would answer the same forever */
    return res->http_status >= 400 && res->http_status < 500 && res->http_status != 429 &&
           res->http_status != 408 && !*res->code;
}

bool s3_explain(const struct s3_result *res, const struct s3_client_conf *conf, char *out,
                size_t cap)
{
    const char *at = s3_endpoint_name(conf), *keys = key_trouble(res);

    if (keys) {
        write_out(out, cap, res, "%s at %.120s", keys, at);
        return true;
    }
    switch (res->fail) {
    case S3_FAIL_ANSWER:
        return explain_answer(res, conf, out, cap);
    case S3_FAIL_RESOLVE:
        write_out(out, cap, res,
                  "the host name of %.120s cannot be resolved: check the endpoint and DNS", at);
        return false;
    case S3_FAIL_CONNECT:
        write_out(out, cap, res,
                  "nothing accepts connections at %.120s: check the endpoint and the server", at);
        return false;
    case S3_FAIL_TLS:
        write_out(out, cap, res, "no trusted TLS connection to %.120s: %s", at,
                  s3_tls_advice(res->tls));
        return true;
    case S3_FAIL_STALLED:
        write_out(out, cap, res,
                  "%.120s did not answer in time: check the endpoint and the network", at);
        return false;
    case S3_FAIL_PROTOCOL:
        write_out(out, cap, res, "%.120s answers, but not as an S3 server does: check the endpoint",
                  at);
        return true;
    default:
        write_out(out, cap, res, "the request to %.120s failed", at);
        return false;
    }
}
