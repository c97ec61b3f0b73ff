/* From a response or an error of curl to an errno and a retry class. Files above this one see HTTP
 * statuses, S3 codes or curl codes only to display them.
 *
 * The errno tells a program what it may do. It is that of the last attempt, also when the deadline
 * has ended the request:
 *
 *   ECONNREFUSED  nobody there: no name, no connection; nothing was sent
 *   ECONNRESET    the connection broke, or a gateway lost the server
 *   ETIMEDOUT     no answer in time, or throttled until attempts or time were spent
 *   EACCES        not permitted, or no credentials
 *   EEXIST        a conditional change was refused
 *   ESTALE        the object of a pinned read changed
 *   ENOENT        it does not exist. Needs the code NoSuchKey (some servers answer an unknown
 *                 access key with another 404), and a request to which that can be an answer
 *   EIO           unknown (the server failed, or says what S3 does not say) or corrupt
 *
 * Throttled is not EAGAIN, though that would be its meaning: programs, and the kernel's io_uring,
 * repeat on EAGAIN at once, which is what the server asked us not to do. */
#include "s3/s3_error.h"

#include <errno.h>
#include <string.h>

#include <curl/curl.h>

#define R_NO S3_RETRY_NO
#define R_ANSWERED S3_RETRY_ANSWERED
#define R_THROTTLED S3_RETRY_THROTTLED
#define R_CREDENTIALS S3_RETRY_CREDENTIALS

/* Codes with the same meaning under any status, even 200. `refused`: certainly not carried out. */
static const struct code_rule {
    const char *code;
    int error;
    enum s3_retry_class retry;
    bool refused;
} code_rules[] = {
    {"NoSuchKey", ENOENT, R_NO, true},
    {"NoSuchTagSet", ENOENT, R_NO, true},
    {"NoSuchVersion", ESTALE, R_NO, true},
    /* uploads: completed, aborted, or never existed */
    {"NoSuchUpload", ESTALE, R_NO, true},
    {"InvalidPart", EINVAL, R_NO, true},
    {"InvalidPartOrder", EINVAL, R_NO, true},
    /* conflicts */
    {"ConditionalRequestConflict", EBUSY, R_ANSWERED, true},
    {"OperationAborted", EBUSY, R_ANSWERED, true},
    /* names that POSIX-backed servers cannot store */
    {"ObjectParentIsFile", ENOTDIR, R_NO, true},
    {"XMinioParentIsObject", ENOTDIR, R_NO, true},
    {"ExistingObjectIsDirectory", EISDIR, R_NO, true},
    {"XMinioObjectExistsAsDirectory", EISDIR, R_NO, true},
    {"DirectoryObjectContainsData", EINVAL, R_NO, true},
    {"ErrDirectoryNotEmpty", ENOTEMPTY, R_NO, true}, /* versitygw, of DELETE */
    {"KeyTooLongError", ENAMETOOLONG, R_NO, true},
    {"InvalidURI", EINVAL, R_NO, true},
    {"InvalidArgument", EINVAL, R_NO, true},
    {"XMinioInvalidObjectName", EINVAL, R_NO, true},
    {"XMinioInvalidResourceName", EINVAL, R_NO, true},
    /* sizes and free space */
    {"EntityTooLarge", EFBIG, R_NO, true},
    {"EntityTooSmall", EINVAL, R_NO, true},
    {"MetadataTooLarge", E2BIG, R_NO, true},
    {"InvalidRange", ERANGE, R_NO, true},
    {"QuotaExceeded", EDQUOT, R_NO, true},
    {"XMinioStorageFull", ENOSPC, R_NO, true},
    {"InsufficientStorage", ENOSPC, R_NO, true},
    /* credentials and permissions */
    {"AccessDenied", EACCES, R_NO, true},
    {"InvalidObjectState", EACCES, R_NO, true}, /* archived: s3_is_archived */
    {"AllAccessDisabled", EACCES, R_NO, true},
    {"AccountProblem", EACCES, R_NO, true},
    {"NotSignedUp", EACCES, R_NO, true},
    {"InvalidAccessKeyId", EACCES, R_CREDENTIALS, true},
    {"XAdminUserNotFound", EACCES, R_NO, true},
    {"SignatureDoesNotMatch", EACCES, R_NO, true},
    {"InvalidToken", EACCES, R_CREDENTIALS, true},
    {"InvalidTokenId", EACCES, R_CREDENTIALS, true},
    {"ExpiredToken", EACCES, R_CREDENTIALS, true},
    {"TokenRefreshRequired", EACCES, R_CREDENTIALS, true},
    {"AuthorizationHeaderMalformed", EACCES, R_NO, true},
    {"RequestTimeTooSkewed", EACCES, S3_RETRY_SKEW, true},
    {"RequestExpired", EACCES, S3_RETRY_SKEW, true},
    /* location of the bucket */
    {"NoSuchBucket", EIO, R_NO, true},
    {"InvalidBucketName", EIO, R_NO, true},
    {"PermanentRedirect", EIO, R_NO, true},
    {"TemporaryRedirect", EIO, R_ANSWERED, true},
    {"IllegalLocationConstraintException", EIO, R_NO, true},
    /* retry later */
    {"SlowDown", ETIMEDOUT, R_THROTTLED, true},
    {"SlowDownRead", ETIMEDOUT, R_THROTTLED, true},
    {"SlowDownWrite", ETIMEDOUT, R_THROTTLED, true},
    {"Throttling", ETIMEDOUT, R_THROTTLED, true},
    {"ThrottlingException", ETIMEDOUT, R_THROTTLED, true},
    {"RequestLimitExceeded", ETIMEDOUT, R_THROTTLED, true},
    {"TooManyRequests", ETIMEDOUT, R_THROTTLED, true},
    {"ServiceUnavailable", ETIMEDOUT, R_THROTTLED, true},
    {"BandwidthLimitExceeded", ETIMEDOUT, R_THROTTLED, true},
    {"RequestTimeout", ETIMEDOUT, R_ANSWERED, true}, /* our body came too slowly */
    {"IncompleteBody", EIO, R_ANSWERED, true},
    {"BadDigest", EIO, R_ANSWERED, true},
    {"XAmzContentSHA256Mismatch", EIO, R_ANSWERED, true},
    {"XAmzContentChecksumMismatch", EIO, R_ANSWERED, true},
    {"InternalError", EIO, R_ANSWERED, false},
    /* never */
    {"NotImplemented", EOPNOTSUPP, R_NO, true},
    {"MethodNotAllowed", EOPNOTSUPP, R_NO, true},
};

/* Meaning of a status if none of the codes above applies. */
static const struct status_rule {
    int status;
    int error;
    enum s3_retry_class retry;
    bool refused;
} status_rules[] = {
    {307, EIO, R_ANSWERED, true},
    {401, EACCES, R_NO, true},
    {403, EACCES, R_NO, true},
    {404, EIO, R_ANSWERED, true}, /* a gateway's, or a nonsense */
    {405, EOPNOTSUPP, R_NO, true},
    {407, EACCES, R_NO, true},
    {408, ETIMEDOUT, R_ANSWERED, true},
    {409, EIO, R_NO, true},
    {413, EFBIG, R_NO, true},
    {416, ERANGE, R_NO, true},
    {425, ETIMEDOUT, R_ANSWERED, true},
    {429, ETIMEDOUT, R_THROTTLED, true},
    {500, EIO, R_ANSWERED, false},
    {501, EOPNOTSUPP, R_NO, true},
    {502, ECONNRESET, R_ANSWERED, false},
    {503, ETIMEDOUT, R_THROTTLED, false},
    {504, ETIMEDOUT, R_ANSWERED, false},
    {507, ENOSPC, R_NO, true},
    {509, ETIMEDOUT, R_THROTTLED, true},
};

bool s3_op_changes(enum s3_op_kind op)
{
    return op != S3_OP_GET && op != S3_OP_HEAD && op != S3_OP_LIST && op != S3_OP_TAGS;
}

bool s3_op_has_body(enum s3_op_kind op)
{
    return op == S3_OP_PUT || op == S3_OP_PART || op == S3_OP_COMPLETE;
}

static const struct code_rule *find_code(const char *code)
{
    for (size_t i = 0; i < sizeof(code_rules) / sizeof(code_rules[0]); i++) {
        if (strcmp(code_rules[i].code, code) == 0)
            return &code_rules[i];
    }
    return NULL;
}

static struct status_rule status_rule(int status)
{
    for (size_t i = 0; i < sizeof(status_rules) / sizeof(status_rules[0]); i++) {
        if (status_rules[i].status == status)
            return status_rules[i];
    }
    /* a 2xx here has an error document with an unknown code */
    if (status >= 500 || status < 300)
        return (struct status_rule){status, EIO, R_ANSWERED, false};
    return (struct status_rule){status, EIO, R_NO, true};
}

bool s3_condition_unknown(int http_status, const char *code)
{
    static const char *const says_nothing[] = {
        "", "InvalidArgument", "InvalidRequest", "NotImplemented", "BadRequest", "Invalid"};

    if (http_status == 501 || http_status == 405)
        return true;
    if (http_status != 400)
        return false;
    for (size_t i = 0; i < sizeof(says_nothing) / sizeof(says_nothing[0]); i++) {
        if (strcmp(code, says_nothing[i]) == 0)
            return true;
    }
    return false;
}

bool s3_is_archived(const char *code)
{
    return strcmp(code, "InvalidObjectState") == 0;
}

bool s3_version_refused(int http_status, const char *code)
{
    if (http_status == 403)
        return !*code || strcmp(code, "AccessDenied") == 0;
    return s3_condition_unknown(http_status, code);
}

/* A condition did not hold. */
static int precondition(enum s3_op_kind op)
{
    return op == S3_OP_PUT || op == S3_OP_DELETE || op == S3_OP_COMPLETE ? EEXIST : ESTALE;
}

/* "No such key" to a request that names none, or makes one. (PUT and COMPLETE with If-Match: what
 * was to be replaced is gone.) */
static bool is_nonsense(const struct s3_outcome *o, const struct code_rule *c)
{
    if (c->error != ENOENT)
        return false;
    return o->op == S3_OP_LIST || o->op == S3_OP_CREATE || o->op == S3_OP_PART ||
           o->op == S3_OP_ABORT || (o->makes && (o->op == S3_OP_PUT || o->op == S3_OP_COMPLETE));
}

static struct s3_verdict judge_answer(const struct s3_outcome *o)
{
    const struct code_rule *c = find_code(o->code);
    struct status_rule s = status_rule(o->http_status);
    struct s3_verdict v = {.fail = S3_FAIL_ANSWER};

    if (o->http_status == 412 || strcmp(o->code, "PreconditionFailed") == 0) {
        v.error = -precondition(o->op);
        return v;
    }
    if (c && is_nonsense(o, c))
        c = NULL;
    v.error = c ? -c->error : -s.error;
    v.retry = c ? c->retry : s.retry;
    if (o->op == S3_OP_COMPLETE && v.error == -EBUSY)
        v.retry = R_NO; /* S3 requires the whole upload to be repeated then */
    v.unclear = s3_op_changes(o->op) && !(c ? c->refused : s.refused);
    return v;
}

static enum s3_fail fail_of_curl(int curl)
{
    switch (curl) {
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
        return S3_FAIL_RESOLVE;
    case CURLE_COULDNT_CONNECT:
    case CURLE_PROXY:
        return S3_FAIL_CONNECT;
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CIPHER:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_SSL_ENGINE_NOTFOUND:
    case CURLE_SSL_ENGINE_INITFAILED:
        return S3_FAIL_TLS;
    case CURLE_OPERATION_TIMEDOUT:
        return S3_FAIL_STALLED;
    case CURLE_WEIRD_SERVER_REPLY:
    case CURLE_UNSUPPORTED_PROTOCOL: /* "HTTP/0.9" and worse */
    case CURLE_TOO_LARGE:
    case CURLE_BAD_CONTENT_ENCODING:
        return S3_FAIL_PROTOCOL;
    case CURLE_OUT_OF_MEMORY:
    case CURLE_FAILED_INIT:
    case CURLE_READ_ERROR:
    case CURLE_ABORTED_BY_CALLBACK:
        return S3_FAIL_LOCAL;
    default:
        return S3_FAIL_BROKEN;
    }
}

/* No response, or an incomplete one. */
static const struct break_rule {
    int error;
    enum s3_retry_class retry;
} break_rules[] = {
    [S3_FAIL_NONE] = {EIO, S3_RETRY_NO},
    [S3_FAIL_ANSWER] = {EIO, S3_RETRY_NO},
    [S3_FAIL_RESOLVE] = {ECONNREFUSED, S3_RETRY_CONNECTION},
    [S3_FAIL_CONNECT] = {ECONNREFUSED, S3_RETRY_CONNECTION},
    [S3_FAIL_TLS] = {EPROTO, S3_RETRY_NO}, /* a certificate will not get better */
    [S3_FAIL_STALLED] = {ETIMEDOUT, S3_RETRY_CONNECTION},
    [S3_FAIL_BROKEN] = {ECONNRESET, S3_RETRY_CONNECTION},
    [S3_FAIL_PROTOCOL] = {EIO, S3_RETRY_ANSWERED},
    [S3_FAIL_CREDENTIALS] = {EACCES, S3_RETRY_NO},
    [S3_FAIL_LOCAL] = {EIO, S3_RETRY_NO},
};

static struct s3_verdict judge_break(const struct s3_outcome *o)
{
    enum s3_fail fail = fail_of_curl(o->curl);
    struct s3_verdict v = {
        .error = -break_rules[fail].error, .fail = fail, .retry = break_rules[fail].retry};

    v.unclear = s3_op_changes(o->op) && o->sent;
    if (o->curl == CURLE_SSL_CONNECT_ERROR)
        v.retry = S3_RETRY_ANSWERED; /* a handshake may break as any connection does */
    if (o->curl == CURLE_OUT_OF_MEMORY)
        v.error = -ENOMEM;
    return v;
}

/* Statuses whose meaning needs no code. */
static bool speaks_alone(int status)
{
    return status == 304 || status == 412 || status == 416;
}

bool s3_may_heal(int error)
{
    return error == -EIO || error == -ETIMEDOUT || error == -ECONNREFUSED || error == -ECONNRESET;
}

struct s3_verdict s3_judge(const struct s3_outcome *o)
{
    bool success = o->http_status >= 200 && o->http_status < 300;
    struct s3_verdict v = {0};

    /* An early refusal counts, however the connection ended; a success must be complete. */
    if (o->http_status >= 300 || (success && *o->code)) {
        v = judge_answer(o);
        if (o->curl != CURLE_OK && !*o->code && v.retry == S3_RETRY_NO &&
            !speaks_alone(o->http_status))
            v.retry = S3_RETRY_ANSWERED; /* its code was lost */
    } else if (o->curl != CURLE_OK || !success) {
        v = judge_break(o);
    }
    return v;
}
