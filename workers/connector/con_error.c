/* From an error of S3, or of this machine, to the status of an answer. s3_error.c made the errno;
 * here it becomes what the client raises: 404 FileNotFoundError, 403 PermissionError, 409
 * FileExistsError, 503 ConnectionError, 504 TimeoutError. */
#include "workers/connector/con_error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/json_text.h"

#define TEXT_MAX 1536
#define BODY_MAX (16u << 10)

static int put_body(struct buf *body, const char *code, const char *text)
{
    int r = buf_printf(body, "{\"error\": \"%s\"", code);

    if (r == 0 && *text)
        r = buf_puts(body, ", \"message\": ");
    if (r == 0 && *text)
        r = json_text_put(body, text, strlen(text));
    return r == 0 ? buf_puts(body, "}") : r;
}

void con_refuse(struct http_conn *c, int status, const char *code, const char *fmt, ...)
{
    char text[TEXT_MAX];
    struct buf body;
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    buf_init(&body, BODY_MAX);
    if (put_body(&body, code, text) == 0)
        http_conn_answer(c, status, CON_JSON, body.data, body.len);
    else
        http_conn_break(c);
    buf_done(&body);
}

void con_refuse_route(struct http_conn *c)
{
    static const char body[] = "{\"error\": \"not_found\"}";

    http_conn_answer(c, 404, CON_JSON, body, sizeof(body) - 1);
}

struct verdict {
    int status;
    const char *code;
};

static struct verdict by_status(int http_status)
{
    switch (http_status) {
    case 429:
    case 502:
    case 503:
        return (struct verdict){503, "unavailable"};
    case 408:
    case 504:
        return (struct verdict){504, "timeout"};
    default:
        return (struct verdict){500, "internal_error"};
    }
}

static struct verdict by_fail(enum s3_fail fail, int http_status)
{
    switch (fail) {
    case S3_FAIL_RESOLVE:
    case S3_FAIL_CONNECT:
    case S3_FAIL_TLS:
    case S3_FAIL_BROKEN:
        return (struct verdict){503, "unavailable"};
    case S3_FAIL_STALLED:
        return (struct verdict){504, "timeout"};
    default:
        return by_status(http_status);
    }
}

static const struct {
    int error;
    struct verdict verdict;
} by_errno[] = {
    {ENOENT, {404, "key_not_found"}},
    {EACCES, {403, "permission_denied"}},
    {EEXIST, {409, "conflict"}},
    {EFBIG, {413, "too_large"}},
    {EINVAL, {400, "bad_request"}},
    {ENAMETOOLONG, {400, "bad_request"}},
    {ENOTDIR, {400, "bad_request"}},
    {EISDIR, {400, "bad_request"}},
    {EOPNOTSUPP, {501, "not_implemented"}},
    {ENOMEM, {503, "unavailable"}},
    {ENFILE, {503, "unavailable"}},
    {EROFS, {403, "permission_denied"}},
    {EBUSY, {503, "unavailable"}},
    {ENOSPC, {503, "unavailable"}},
};

static struct verdict judge(int error, int http_status, enum s3_fail fail)
{
    for (size_t i = 0; i < sizeof(by_errno) / sizeof(by_errno[0]); i++) {
        if (by_errno[i].error == -error)
            return by_errno[i].verdict;
    }
    if (error == -ETIMEDOUT && (fail == S3_FAIL_NONE || fail == S3_FAIL_ANSWER) &&
        http_status < 500 && http_status != 429)
        return (struct verdict){504, "timeout"};
    return by_fail(fail, http_status);
}

void con_refuse_error(struct http_conn *c, int error, int http_status, enum s3_fail fail,
                      const char *text, const char *name)
{
    struct verdict v = judge(error, http_status, fail);

    if (v.status == 404)
        con_refuse(c, v.status, v.code, "Key not found: %s", name);
    else if (error == -EINVAL)
        con_refuse(
            c, v.status, v.code,
            "%s is not a key that every S3 server keeps as it is: no component may be empty, "
            "\".\" or \"..\"",
            name);
    else if (v.status == 403 && error == -EACCES)
        con_refuse(c, v.status, v.code, "access to %s denied: %s", name, text);
    else
        con_refuse(c, v.status, v.code, "%s", *text ? text : strerror(-error));
}

void con_refuse_s3(struct http_conn *c, const struct s3_result *res, const char *name)
{
    char text[S3_TEXT_MAX + S3_CODE_MAX + 8];

    snprintf(text, sizeof(text), "%s%s%s", res->code, *res->code ? ": " : "", res->text);
    con_refuse_error(c, res->error, res->http_status, res->fail, text, name);
}
