/* Sentences for start-up failures. The table of errnos is s3_error.c. */
#include "s3/s3_explain.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"

static const char *endpoint_of(const struct s3_client_conf *conf)
{
    return conf->endpoint && *conf->endpoint ? conf->endpoint
                                             : "AWS S3 (no endpoint is set)";
}

static bool is(const struct s3_result *res, const char *code)
{
    return strcmp(res->code, code) == 0;
}

static bool wrong_region(const struct s3_result *res)
{
    return res->http_status == 301 || res->http_status == 307 ||
           is(res, "AuthorizationHeaderMalformed") ||
           is(res, "PermanentRedirect") ||
           is(res, "IllegalLocationConstraintException");
}

/* The server said no to the keys. */
static const char *key_trouble(const struct s3_result *res)
{
    if (is(res, "InvalidAccessKeyId") || is(res, "XAdminUserNotFound") ||
        is(res, "NotSignedUp"))
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

static bool explain_answer(const struct s3_result *res,
                           const struct s3_client_conf *conf, char *out,
                           size_t cap)
{
    const char *at = endpoint_of(conf);

    if (is(res, "InvalidBucketName")) {
        snprintf(out, cap,
                 "%.120s takes \"%.63s\" for no bucket name: check the "
                 "bucket's name",
                 at, conf->bucket);
        return true;
    }
    if (is(res, "NoSuchBucket")) {
        snprintf(
            out, cap,
            "there is no bucket \"%.63s\" at %.120s: check the bucket's name, "
            "or create it",
            conf->bucket, at);
        return true;
    }
    if (wrong_region(res) && *res->region) {
        snprintf(out, cap,
                 "bucket \"%.63s\" is in region %s, not in %.63s: set the "
                 "region to %s",
                 conf->bucket, res->region, conf->region, res->region);
        return true;
    }
    if (wrong_region(res)) {
        snprintf(out, cap,
                 "bucket \"%.63s\" is not served in region %.63s at %.120s: "
                 "check the "
                 "region and the endpoint",
                 conf->bucket, conf->region, at);
        return true;
    }
    if (is(res, "RequestTimeTooSkewed") || is(res, "RequestExpired")) {
        snprintf(out, cap,
                 "this machine's clock and that of %.120s differ too much: set "
                 "the clock",
                 at);
        return false;
    }
    if (res->http_status == 401 || res->http_status == 403) {
        snprintf(
            out, cap,
            "these credentials may not use bucket \"%.63s\" at %.120s (%d %s): "
            "check keys, policy and the bucket's name",
            conf->bucket, at, res->http_status, res->code);
        return true;
    }
    snprintf(out, cap, "%.120s answered %d %s: %.120s", at, res->http_status,
             res->code, res->text);
    /* what is no S3 server answers the same for ever */
    return res->http_status >= 400 && res->http_status < 500 &&
           res->http_status != 429 && res->http_status != 408 && !*res->code;
}

bool s3_explain(const struct s3_result *res, const struct s3_client_conf *conf,
                char *out, size_t cap)
{
    const char *at = endpoint_of(conf), *keys = key_trouble(res);

    if (keys) {
        snprintf(out, cap, "%s (%.120s)", keys, at);
        return true;
    }
    switch (res->fail) {
    case S3_FAIL_ANSWER:
        return explain_answer(res, conf, out, cap);
    case S3_FAIL_RESOLVE:
        snprintf(out, cap,
                 "the host of %.120s is unknown: check the endpoint and name "
                 "resolution",
                 at);
        return false;
    case S3_FAIL_CONNECT:
        snprintf(out, cap,
                 "nobody answers at %.120s: check the endpoint and that the "
                 "server runs "
                 "(%.120s)",
                 at, res->text);
        return false;
    case S3_FAIL_TLS:
        snprintf(out, cap,
                 "no trusted TLS connection to %.120s: check the CA bundle and "
                 "that the "
                 "endpoint speaks https (%.120s)",
                 at, res->text);
        return true;
    case S3_FAIL_STALLED:
        snprintf(
            out, cap,
            "%.120s did not answer in time: check the endpoint and the network "
            "(%.120s)",
            at, res->text);
        return false;
    case S3_FAIL_PROTOCOL:
        snprintf(
            out, cap,
            "%.120s answers, but not as an S3 server does: check the endpoint "
            "(%.120s)",
            at, res->text);
        return true;
    default:
        snprintf(out, cap, "the request to %.120s failed: %.120s", at,
                 res->text);
        return false;
    }
}
