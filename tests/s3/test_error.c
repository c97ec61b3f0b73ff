/* The error table, row by row where rows matter, and what the operator is told. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <curl/curl.h>

#include "s3/s3_error.h"
#include "s3/s3_explain.h"

static const struct row {
    enum s3_op_kind op;
    int curl, status;
    const char *code;
    bool sent;
    int error;
    enum s3_retry_class retry;
    bool unclear;
} rows[] = {
    /* success */
    {S3_OP_GET, CURLE_OK, 200, "", true, 0, S3_RETRY_NO, false},
    {S3_OP_GET, CURLE_OK, 206, "", true, 0, S3_RETRY_NO, false},
    {S3_OP_DELETE, CURLE_OK, 204, "", true, 0, S3_RETRY_NO, false},
    /* 404: only NoSuchKey is "not there" */
    {S3_OP_GET, CURLE_OK, 404, "NoSuchKey", true, ENOENT, S3_RETRY_NO, false},
    {S3_OP_PUT, CURLE_OK, 404, "NoSuchKey", true, ENOENT, S3_RETRY_NO, false},
    {S3_OP_HEAD, CURLE_OK, 404, "", true, EIO, S3_RETRY_ANSWERED, false},
    {S3_OP_GET, CURLE_OK, 404, "", true, EIO, S3_RETRY_ANSWERED, false},
    {S3_OP_GET, CURLE_OK, 404, "NoSuchBucket", true, EIO, S3_RETRY_NO, false},
    {S3_OP_GET, CURLE_OK, 404, "XAdminUserNotFound", true, EACCES, S3_RETRY_NO, false},
    {S3_OP_GET, CURLE_OK, 404, "Surprise", true, EIO, S3_RETRY_ANSWERED, false},
    {S3_OP_GET, CURLE_OK, 404, "NoSuchVersion", true, ESTALE, S3_RETRY_NO, false},
    /* conditions */
    {S3_OP_GET, CURLE_OK, 412, "PreconditionFailed", true, ESTALE, S3_RETRY_NO, false},
    {S3_OP_COPY, CURLE_OK, 412, "PreconditionFailed", true, ESTALE, S3_RETRY_NO, false},
    {S3_OP_PUT, CURLE_OK, 412, "PreconditionFailed", true, EEXIST, S3_RETRY_NO, false},
    {S3_OP_DELETE, CURLE_OK, 412, "", true, EEXIST, S3_RETRY_NO, false},
    {S3_OP_DELETE, CURLE_OK, 412, "PreconditionFailed", true, EEXIST, S3_RETRY_NO, false},
    {S3_OP_DELETE, CURLE_OK, 404, "NoSuchKey", true, ENOENT, S3_RETRY_NO, false},
    {S3_OP_PUT, CURLE_SEND_ERROR, 412, "", true, EEXIST, S3_RETRY_NO, false},
    {S3_OP_PUT, CURLE_OK, 409, "ConditionalRequestConflict", true, EBUSY, S3_RETRY_ANSWERED, false},
    {S3_OP_COPY, CURLE_OK, 409, "OperationAborted", true, EBUSY, S3_RETRY_ANSWERED, false},
    {S3_OP_PUT, CURLE_OK, 409, "ObjectParentIsFile", true, ENOTDIR, S3_RETRY_NO, false},
    {S3_OP_PUT, CURLE_OK, 409, "ExistingObjectIsDirectory", true, EISDIR, S3_RETRY_NO, false},
    {S3_OP_DELETE, CURLE_OK, 400, "ErrDirectoryNotEmpty", true, ENOTEMPTY, S3_RETRY_NO, false},
    {S3_OP_PUT, CURLE_OK, 409, "Surprise", true, EIO, S3_RETRY_NO, false},
    /* names, sizes */
    {S3_OP_PUT, CURLE_OK, 400, "KeyTooLongError", true, ENAMETOOLONG, S3_RETRY_NO, false},
    {S3_OP_PUT, CURLE_OK, 413, "", true, EFBIG, S3_RETRY_NO, false},
    {S3_OP_PUT, CURLE_OK, 507, "XMinioStorageFull", true, ENOSPC, S3_RETRY_NO, false},
    {S3_OP_GET, CURLE_OK, 416, "InvalidRange", true, ERANGE, S3_RETRY_NO, false},
    /* keys */
    {S3_OP_GET, CURLE_OK, 403, "AccessDenied", true, EACCES, S3_RETRY_NO, false},
    {S3_OP_HEAD, CURLE_OK, 403, "", true, EACCES, S3_RETRY_NO, false},
    {S3_OP_GET, CURLE_OK, 403, "RequestTimeTooSkewed", true, EACCES, S3_RETRY_SKEW, false},
    {S3_OP_LIST, CURLE_OK, 400, "AuthorizationHeaderMalformed", true, EACCES, S3_RETRY_NO, false},
    {S3_OP_LIST, CURLE_OK, 301, "PermanentRedirect", true, EIO, S3_RETRY_NO, false},
    /* not now */
    {S3_OP_GET, CURLE_OK, 503, "SlowDown", true, ETIMEDOUT, S3_RETRY_THROTTLED, false},
    {S3_OP_PUT, CURLE_OK, 503, "SlowDown", true, ETIMEDOUT, S3_RETRY_THROTTLED, false},
    {S3_OP_PUT, CURLE_OK, 503, "", true, ETIMEDOUT, S3_RETRY_THROTTLED, true},
    {S3_OP_PUT, CURLE_OK, 500, "InternalError", true, EIO, S3_RETRY_ANSWERED, true},
    {S3_OP_GET, CURLE_OK, 500, "", true, EIO, S3_RETRY_ANSWERED, false},
    {S3_OP_DELETE, CURLE_OK, 502, "", true, ECONNRESET, S3_RETRY_ANSWERED, true},
    {S3_OP_PUT, CURLE_OK, 400, "RequestTimeout", true, ETIMEDOUT, S3_RETRY_ANSWERED, false},
    {S3_OP_PUT, CURLE_OK, 400, "", true, EIO, S3_RETRY_NO, false},
    {S3_OP_PUT, CURLE_OK, 599, "", true, EIO, S3_RETRY_ANSWERED, true},
    /* an error document in a 200 */
    {S3_OP_COPY, CURLE_OK, 200, "InternalError", true, EIO, S3_RETRY_ANSWERED, true},
    {S3_OP_COPY, CURLE_OK, 200, "SlowDown", true, ETIMEDOUT, S3_RETRY_THROTTLED, false},
    {S3_OP_COPY, CURLE_OK, 200, "Surprise", true, EIO, S3_RETRY_ANSWERED, true},
    {S3_OP_COPY, CURLE_OK, 200, "NoSuchKey", true, ENOENT, S3_RETRY_NO, false},
    /* uploads */
    {S3_OP_COMPLETE, CURLE_OK, 412, "PreconditionFailed", true, EEXIST, S3_RETRY_NO, false},
    {S3_OP_COMPLETE, CURLE_OK, 404, "NoSuchKey", true, ENOENT, S3_RETRY_NO, false},
    {S3_OP_COMPLETE, CURLE_OK, 404, "NoSuchUpload", true, ESTALE, S3_RETRY_NO, false},
    {S3_OP_COMPLETE, CURLE_OK, 409, "ConditionalRequestConflict", true, EBUSY, S3_RETRY_NO, false},
    {S3_OP_COMPLETE, CURLE_OK, 200, "InternalError", true, EIO, S3_RETRY_ANSWERED, true},
    {S3_OP_COMPLETE, CURLE_OK, 400, "InvalidPart", true, EINVAL, S3_RETRY_NO, false},
    {S3_OP_COMPLETE, CURLE_GOT_NOTHING, 0, "", true, ECONNRESET, S3_RETRY_CONNECTION, true},
    {S3_OP_PART_COPY, CURLE_OK, 412, "PreconditionFailed", true, ESTALE, S3_RETRY_NO, false},
    {S3_OP_PART, CURLE_OK, 404, "NoSuchUpload", true, ESTALE, S3_RETRY_NO, false},
    {S3_OP_CREATE, CURLE_OK, 500, "", true, EIO, S3_RETRY_ANSWERED, true},
    /* no answer, or half of one */
    {S3_OP_PUT, CURLE_COULDNT_CONNECT, 0, "", false, ECONNREFUSED, S3_RETRY_CONNECTION, false},
    {S3_OP_PUT, CURLE_COULDNT_RESOLVE_HOST, 0, "", false, ECONNREFUSED, S3_RETRY_CONNECTION, false},
    {S3_OP_PUT, CURLE_SEND_ERROR, 0, "", true, ECONNRESET, S3_RETRY_CONNECTION, true},
    {S3_OP_PUT, CURLE_GOT_NOTHING, 0, "", true, ECONNRESET, S3_RETRY_CONNECTION, true},
    {S3_OP_GET, CURLE_RECV_ERROR, 0, "", true, ECONNRESET, S3_RETRY_CONNECTION, false},
    {S3_OP_GET, CURLE_PARTIAL_FILE, 206, "", true, ECONNRESET, S3_RETRY_CONNECTION, false},
    {S3_OP_PUT, CURLE_PARTIAL_FILE, 200, "", true, ECONNRESET, S3_RETRY_CONNECTION, true},
    {S3_OP_PUT, CURLE_OPERATION_TIMEDOUT, 0, "", false, ETIMEDOUT, S3_RETRY_CONNECTION, false},
    {S3_OP_GET, CURLE_PEER_FAILED_VERIFICATION, 0, "", false, EPROTO, S3_RETRY_NO, false},
    {S3_OP_GET, CURLE_SSL_CONNECT_ERROR, 0, "", false, EPROTO, S3_RETRY_ANSWERED, false},
    {S3_OP_GET, CURLE_WEIRD_SERVER_REPLY, 0, "", true, EIO, S3_RETRY_ANSWERED, false},
    {S3_OP_GET, CURLE_OUT_OF_MEMORY, 0, "", false, ENOMEM, S3_RETRY_NO, false},
    /* a refusal whose code was cut off */
    {S3_OP_GET, CURLE_PARTIAL_FILE, 404, "", true, EIO, S3_RETRY_ANSWERED, false},
    {S3_OP_PUT, CURLE_RECV_ERROR, 403, "", true, EACCES, S3_RETRY_ANSWERED, false},
    {S3_OP_PUT, CURLE_RECV_ERROR, 403, "AccessDenied", true, EACCES, S3_RETRY_NO, false},
};

static void test_table(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const struct row *w = &rows[i];
        struct s3_outcome o = {.op = w->op,
                               .curl = w->curl,
                               .http_status = w->status,
                               .code = w->code,
                               .sent = w->sent};
        struct s3_verdict v = s3_judge(&o);

        if (v.error != -w->error || v.retry != w->retry || v.unclear != w->unclear)
            fail_msg("row %zu (%d %s, curl %d): error %d retry %d unclear %d", i, w->status,
                     w->code, w->curl, v.error, v.retry, v.unclear);
        assert_int_equal(v.fail == S3_FAIL_NONE, v.error == 0);
    }
}

/* "No such key" where there is none to miss: never ENOENT, which a program would believe. */
static void test_impossible_absence(void **state)
{
    static const struct {
        enum s3_op_kind op;
        bool makes;
        int error;
    } cases[] = {
        {S3_OP_GET, false, ENOENT},  {S3_OP_HEAD, false, ENOENT}, {S3_OP_DELETE, false, ENOENT},
        {S3_OP_COPY, false, ENOENT}, {S3_OP_PUT, false, ENOENT},  {S3_OP_PUT, true, EIO},
        {S3_OP_COMPLETE, true, EIO}, {S3_OP_LIST, false, EIO},    {S3_OP_CREATE, false, EIO},
        {S3_OP_PART, true, EIO},     {S3_OP_ABORT, false, EIO},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct s3_outcome o = {.op = cases[i].op,
                               .http_status = 404,
                               .code = "NoSuchKey",
                               .sent = true,
                               .makes = cases[i].makes};

        assert_int_equal(s3_judge(&o).error, -cases[i].error);
    }
}

/* What a program may take for a reason to try again later. */
static void test_may_heal(void **state)
{
    (void)state;
    assert_true(s3_may_heal(-EIO) && s3_may_heal(-ETIMEDOUT) && s3_may_heal(-ECONNREFUSED) &&
                s3_may_heal(-ECONNRESET));
    assert_false(s3_may_heal(0) || s3_may_heal(-ENOENT) || s3_may_heal(-EACCES) ||
                 s3_may_heal(-EEXIST));
}

/* It will be so again, or was of this version, of this moment. */
static void test_version_refused(void **state)
{
    (void)state;
    assert_true(s3_version_refused(403, "AccessDenied"));
    assert_true(s3_version_refused(403, ""));
    assert_true(s3_version_refused(501, "NotImplemented"));
    assert_true(s3_version_refused(405, "MethodNotAllowed"));
    assert_true(s3_version_refused(400, "InvalidArgument"));
    assert_false(s3_version_refused(404, "NoSuchVersion"));
    assert_false(s3_version_refused(404, "NoSuchKey"));
    assert_false(s3_version_refused(412, "PreconditionFailed"));
    assert_false(s3_version_refused(403, "ExpiredToken"));
    assert_false(s3_version_refused(403, "RequestTimeTooSkewed"));
    assert_false(s3_version_refused(400, "ExpiredToken"));
    assert_false(s3_version_refused(503, "SlowDown"));
}

/* Whatever comes, a failure has an errno, a success none, and nothing that was never sent was
 * carried out. */
static void test_all_outcomes(void **state)
{
    static const char *const codes[] = {"", "NoSuchKey", "SlowDown", "What"};

    (void)state;
    for (int op = S3_OP_GET; op < S3_N_OPS; op++) {
        for (int status = 0; status < 700; status += status < 99 ? 100 : 1) {
            for (int curl = 0; curl < CURL_LAST; curl++) {
                struct s3_outcome o = {.op = (enum s3_op_kind)op,
                                       .curl = curl,
                                       .http_status = status,
                                       .code = codes[(status + curl) % 4],
                                       .sent = status > 0};
                struct s3_verdict v = s3_judge(&o);
                bool good = status >= 200 && status < 300 && curl == 0 && !*o.code;

                assert_true(v.error <= 0 && v.error > -4096);
                assert_int_equal(v.error == 0, good);
                assert_false(v.unclear && !o.sent);
                assert_false(good && v.retry != S3_RETRY_NO);
            }
        }
    }
}

static const struct s3_client_conf conf = {
    .endpoint = "http://h:1", .region = "us-east-1", .bucket = "bkt"};

static void explains(struct s3_result res, bool configuration, const char *word)
{
    char out[S3_EXPLAIN_MAX];

    res.error = res.error ? res.error : -EIO;
    assert_int_equal(s3_explain(&res, &conf, out, sizeof(out)), configuration);
    if (!strstr(out, word))
        fail_msg("no \"%s\" in \"%s\"", word, out);
    assert_null(strchr(out, '\n'));
}

static void test_explain(void **state)
{
    struct s3_result answer = {.fail = S3_FAIL_ANSWER, .http_status = 404};
    struct s3_result r = answer;

    (void)state;
    strcpy(r.code, "NoSuchBucket");
    explains(r, true, "no bucket \"bkt\"");
    strcpy(r.code, "XAdminUserNotFound");
    explains(r, true, "access key");
    strcpy(r.code, "SignatureDoesNotMatch");
    explains(r, true, "secret key");
    r = answer;
    explains(r, true, "404");
    r.http_status = 301;
    strcpy(r.region, "eu-west-1");
    explains(r, true, "set the region to eu-west-1");
    r = answer;
    r.http_status = 403;
    strcpy(r.code, "AccessDenied");
    explains(r, true, "policy");
    strcpy(r.code, "RequestTimeTooSkewed");
    explains(r, false, "clock");
    strcpy(r.code, "SlowDown");
    r.http_status = 503;
    explains(r, false, "503 SlowDown");
    explains((struct s3_result){.fail = S3_FAIL_RESOLVE}, false, "cannot be resolved");
    explains((struct s3_result){.fail = S3_FAIL_CONNECT}, false, "http://h:1");
    explains((struct s3_result){.fail = S3_FAIL_TLS, .tls = S3_TLS_UNKNOWN_CA}, true,
             "s3.ca_bundle");
    explains((struct s3_result){.fail = S3_FAIL_TLS, .tls = S3_TLS_HANDSHAKE}, true, "https");
    explains((struct s3_result){.fail = S3_FAIL_STALLED}, false, "in time");
    explains((struct s3_result){.fail = S3_FAIL_PROTOCOL}, true, "endpoint");
    explains((struct s3_result){.fail = S3_FAIL_CREDENTIALS}, true, "no credentials");
    explains((struct s3_result){.fail = S3_FAIL_LOCAL}, false, "failed");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),        cmocka_unit_test(test_impossible_absence),
        cmocka_unit_test(test_may_heal),     cmocka_unit_test(test_version_refused),
        cmocka_unit_test(test_all_outcomes), cmocka_unit_test(test_explain),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
