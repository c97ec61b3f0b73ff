/* Answers: their heads, bodies, and sending them. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "base/clock.h"
#include "base/json_text.h"
#include "workers/http/http_private.h"

static const char *reason_of(int status)
{
    static const struct {
        int status;
        const char *text;
    } reasons[] = {
        {200, "OK"},
        {204, "No Content"},
        {206, "Partial Content"},
        {400, "Bad Request"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {408, "Request Timeout"},
        {409, "Conflict"},
        {413, "Content Too Large"},
        {416, "Range Not Satisfiable"},
        {431, "Request Header Fields Too Large"},
        {500, "Internal Server Error"},
        {501, "Not Implemented"},
        {503, "Service Unavailable"},
        {504, "Gateway Timeout"},
    };

    for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++) {
        if (reasons[i].status == status)
            return reasons[i].text;
    }
    return "Unknown";
}

static void format_date(char *out, size_t cap)
{
    time_t now = (time_t)(clock_wall_ns() / NS_PER_S);
    struct tm tm;

    if (!gmtime_r(&now, &tm) || !strftime(out, cap, "%a, %d %b %Y %H:%M:%S GMT", &tm))
        out[0] = '\0';
}

/* `length`: a field with the length of the body, or "". */
static int put_head(struct http_conn *c, int status, const char *fields, const char *length)
{
    char date[64];

    c->status = status;
    format_date(date, sizeof(date));
    return buf_printf(&c->out, "HTTP/1.1 %d %s\r\nServer: stateproxy\r\nDate: %s\r\n%s%s%s\r\n",
                      status, reason_of(status), date, fields, length,
                      !c->keeps               ? "Connection: close\r\n"
                      : c->request.minor == 0 ? "Connection: keep-alive\r\n"
                                              : "");
}

/* The service is done with the request. */
static void request_over(struct http_conn *c)
{
    c->answered = true;
    c->pieces = c->wants_room = c->held = false;
    c->app = NULL;
}

void http_conn_break(struct http_conn *c)
{
    request_over(c);
    c->broken = true;
    http_conn_kick(c);
}

/* A client that was promised 100 Continue, and gets its answer without it, may send its body or
 * not: the connection cannot be used for another request. */
static void settle_connection(struct http_conn *c)
{
    if (c->expects || c->server->drains || c->overran)
        c->keeps = false;
}

void http_conn_answer(struct http_conn *c, int status, const char *fields, const void *body,
                      size_t len)
{
    bool empty = status == 204 || c->request.method == HTTP_HEAD;
    char length[64] = "";
    int r;

    settle_connection(c);
    if (!empty)
        snprintf(length, sizeof(length), "Content-Length: %zu\r\n", len);
    r = put_head(c, status, fields, length);
    if (r == 0 && !empty)
        r = buf_append(&c->out, body, len);
    request_over(c);
    c->broken = r < 0;
    http_conn_kick(c);
}

void http_answer_refuse(struct http_conn *c, int status, const char *code, const char *message)
{
    char body[512];
    int n = snprintf(body, sizeof(body), "{\"error\": \"%s\", \"message\": \"%s\"}", code, message);

    c->keeps = false;
    http_conn_answer(c, status, "Content-Type: application/json\r\n", body, (size_t)n);
}

int http_answer_continue(struct http_conn *c)
{
    static const char text[] = "HTTP/1.1 100 Continue\r\n\r\n";

    c->expects = false;
    return buf_append(&c->out, text, sizeof(text) - 1);
}

/* ---- in pieces ---- */

void http_conn_begin(struct http_conn *c, int status, const char *fields, uint64_t len)
{
    char length[64] = "";

    settle_connection(c);
    c->chunks = len == HTTP_LENGTH_UNKNOWN && c->request.minor == 1;
    if (len == HTTP_LENGTH_UNKNOWN && !c->chunks)
        c->keeps = false; /* the end of the connection is the end of the body */
    if (c->chunks)
        snprintf(length, sizeof(length), "Transfer-Encoding: chunked\r\n");
    else if (len != HTTP_LENGTH_UNKNOWN)
        snprintf(length, sizeof(length), "Content-Length: %llu\r\n", (unsigned long long)len);
    c->pieces = true;
    c->broken = put_head(c, status, fields, length) < 0;
}

int http_conn_write(struct http_conn *c, const void *data, size_t len)
{
    int r = 0;

    if (!len)
        return 0;
    if (c->chunks)
        r = buf_printf(&c->out, "%zx\r\n", len);
    if (r == 0)
        r = buf_append(&c->out, data, len);
    if (r == 0 && c->chunks)
        r = buf_puts(&c->out, "\r\n");
    http_conn_kick(c);
    return r;
}

bool http_conn_is_full(struct http_conn *c)
{
    c->wants_room |= c->out.len - c->out_at >= HTTP_OUT_FULL;
    return c->wants_room;
}

void http_conn_end(struct http_conn *c)
{
    if (c->chunks && buf_puts(&c->out, "0\r\n\r\n") < 0)
        c->broken = true;
    request_over(c);
    http_conn_kick(c);
}

/* ---- sending ---- */

int http_answer_flush(struct http_conn *c)
{
    while (c->out_at < c->out.len) {
        ssize_t n = send(c->watch.fd, c->out.data + c->out_at, c->out.len - c->out_at,
                         MSG_NOSIGNAL | MSG_DONTWAIT);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno == EAGAIN ? 0 : -errno;
        c->out_at += (size_t)n;
    }
    if (c->out.cap > HTTP_OUT_LOW)
        buf_done(&c->out);
    buf_reset(&c->out);
    c->out_at = 0;
    return 0;
}
