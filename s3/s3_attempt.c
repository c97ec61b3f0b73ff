/* One attempt of a request: credentials, headers, signature, an easy handle that is set up and
 * handed to curl, and the body that curl reads from us. s3_reply.c handles the response. */
#include "s3/s3_attempt.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "base/clock.h"
#include "base/fd.h"
#include "s3/s3_client.h"
#include "s3/s3_enforce.h"
#include "s3/s3_extra.h"
#include "s3/s3_learn.h"
#include "s3/s3_multi.h"
#include "s3/s3_progress.h"
#include "s3/s3_queue.h"
#include "s3/s3_request.h"
#include "s3/s3_sigv4.h"
#include "s3/s3_sum.h"
#include "s3/s3_time.h"
#include "s3/s3_tls.h"
#include "s3/s3_url.h"
#include "s3/s3_xml.h"

#define BIG_BUFFER (256L << 10)
#define SMALL_BUFFER (16L << 10)
#define EXPECT_WAIT_MS 1000L
#define STEP (64u << 10)
#define STEP_NS (4 * NS_PER_MS)
#define USER_AGENT "stateproxy"

/* ---- callbacks of curl ---- */

/* The connection is established (possibly once more: curl itself resends on a reused connection
 * that turned out dead, and without Expect to a server that does not support it). */
static int on_send(void *arg, char *remote, char *local, int remote_port, int local_port)
{
    struct s3_req *req = arg;

    (void)remote, (void)local, (void)remote_port, (void)local_port;
    if (req->state == S3_REQ_GONE)
        return CURL_PREREQFUNC_ABORT;
    if ((req->once || req->settles) && req->sends > 0 && req->reply.status != 417) {
        (void)s3_req_stop(req, -ECONNRESET, S3_FAIL_BROKEN, S3_RETRY_CONNECTION,
                          "the connection ended without a response");
        return CURL_PREREQFUNC_ABORT;
    }
    req->maybe_acted |= s3_op_changes(req->op->kind) && s3_req_is_out(req);
    if (s3_op_has_body(req->op->kind))
        req->put.all_out = false;
    req->sends++;
    req->move_ns = clock_mono_ns();
    s3_reply_begin(req);
    return CURL_PREREQFUNC_OK;
}

/* Data arrived while we were sending: perhaps an early refusal. */
static bool answer_waits(const struct s3_req *req)
{
    struct pollfd p = {.events = POLLIN};
    curl_socket_t fd = -1;

    if (curl_easy_getinfo(req->easy, CURLINFO_ACTIVESOCKET, &fd) || fd < 0)
        return false;
    p.fd = fd;
    return poll(&p, 1, 0) > 0;
}

/* A server that refuses a body early resets the connection, and if curl sees the reset while it
 * sends, it does not read what came before it (likely with TLS: between two reads of the socket it
 * encrypts a whole buffer). So data that has arrived is read before more is sent, and the retry of
 * an attempt that broke this way approaches that offset in small steps. */
static bool better_listen(struct s3_req *req)
{
    struct s3_put_state *put = &req->put;
    bool step = put->at < put->walk_until && put->at >= put->next_step;

    if (put->at == 0 || put->at == put->body.len || (!step && !answer_waits(req)))
        return false;
    put->next_step = put->at + STEP;
    loop_timer_set(req->client->loop, &req->resume, step ? STEP_NS : 0);
    return true;
}

static void leave_gate(struct s3_req *req)
{
    if (s3_op_has_body(req->op->kind) && req->put.held) {
        req->put.held = false;
        req->put.gate->held--;
    }
}

/* True if the request has to wait before its last byte; the bytes before it may be sent (*want). */
static bool at_gate(struct s3_req *req, size_t *want)
{
    struct s3_put_state *put = &req->put;
    struct s3_gate *gate = put->gate;

    if (!gate || put->body.len < 2 || put->at + *want < put->body.len)
        return false;
    if (!gate->open && *want > 1) {
        --*want;
        return false;
    }
    if (!gate->open && !put->held) {
        put->held = true;
        gate->held++;
        if (gate->on_held)
            gate->on_held(gate);
    }
    if (gate->open)
        leave_gate(req);
    return !gate->open;
}

void s3_gate_open(struct s3_client *c, struct s3_gate *gate)
{
    gate->open = true;
    for (struct s3_req *req = c->busy.first; req; req = req->next) {
        if (s3_op_has_body(req->op->kind) && req->put.held && req->put.gate == gate)
            loop_timer_set(c->loop, &req->resume, 0);
    }
}

static size_t on_read(char *to, size_t size, size_t n, void *arg)
{
    struct s3_req *req = arg;
    struct s3_put_state *put = &req->put;
    uint64_t left = put->body.len - put->at;
    size_t want = size * n < left ? size * n : (size_t)left;

    if (put->conditional && want > STEP)
        want = STEP; /* checks the socket more often */
    if (req->state == S3_REQ_GONE)
        return CURL_READFUNC_ABORT;
    if (better_listen(req) || at_gate(req, &want))
        return CURL_READFUNC_PAUSE;
    if (put->body.mem) {
        memcpy(to, (const char *)put->body.mem + put->body.off + put->at, want);
    } else if (want > 0) {
        ssize_t r = fd_pread_full(put->body.fd, to, want, (off_t)(put->body.off + put->at));

        if (r < 0 || (size_t)r < want) {
            (void)s3_req_stop(req, r < 0 ? (int)r : -EIO, S3_FAIL_LOCAL, S3_RETRY_NO,
                              "cannot read the body to send");
            return CURL_READFUNC_ABORT;
        }
    }
    s3_sum_sent(req, put->at, to, want);
    put->at += want;
    put->all_out |= put->at == put->body.len;
    if (req->client->conf.counters)
        *req->client->conf.counters->out_bytes += want;
    s3_progress_moved(req, put->at);
    return want;
}

static int on_seek(void *arg, curl_off_t off, int origin)
{
    struct s3_req *req = arg;

    if (origin != SEEK_SET || off < 0 || (uint64_t)off > req->put.body.len)
        return CURL_SEEKFUNC_FAIL;
    req->put.at = (uint64_t)off;
    return CURL_SEEKFUNC_OK;
}

/* ---- the request ---- */

/* Headers of this attempt: ours, after the fixed ones, then those of the operation. */
static int build_headers(struct s3_req *req, const char *date)
{
    struct s3_client *c = req->client;
    struct s3_headers *h = &req->headers;
    int r;

    s3_headers_cut(h, req->n_fixed, req->fixed_bytes);
    r = s3_headers_add(h, "host", c->url.authority);
    if (r == 0)
        r = s3_headers_add(h, "x-amz-content-sha256", req->payload_hash);
    if (r == 0)
        r = s3_headers_add(h, "x-amz-date", date);
    if (r == 0 && *c->cred->session_token)
        r = s3_headers_add(h, "x-amz-security-token", c->cred->session_token);
    if (r == 0 && req->op->prepare)
        r = req->op->prepare(req);
    if (r == 0)
        r = s3_enforce_headers(req);
    return r == 0 ? s3_extra_headers(req) : r;
}

static int sign(struct s3_req *req, const char *date, const char *path, char *auth, size_t cap)
{
    struct s3_client *c = req->client;
    struct s3_sigv4_header headers[S3_HEADERS_MAX];
    const struct s3_headers *h = &req->headers;
    struct s3_sigv4_request sig = {
        .method = req->op->method,
        .path = path,
        .query = req->query.len ? req->query.data : "",
        .headers = headers,
        .n_headers = h->n,
        .payload_hash = req->payload_hash,
    };
    struct s3_sigv4_scope scope = {c->url.region, "s3", date};

    for (size_t i = 0; i < h->n; i++)
        headers[i] =
            (struct s3_sigv4_header){h->text.data + h->at[i].name, h->text.data + h->at[i].value};
    return s3_sigv4_sign(&sig, &scope, c->cred, auth, cap);
}

static int list_add(struct s3_req *req, const char *line)
{
    struct curl_slist *list = curl_slist_append(req->list, line);

    if (!list)
        return -ENOMEM;
    req->list = list;
    return 0;
}

/* curl's list of headers: ours, and removals of those that curl would add by itself. */
static int build_list(struct s3_req *req, const char *auth)
{
    const struct s3_headers *h = &req->headers;
    bool expect =
        req->op->kind == S3_OP_PUT && req->put.conditional && req->put.body.len > S3_BIG_BODY;
    struct buf line;
    int r = 0;

    buf_init(&line, S3_HEADER_BYTES_MAX);
    for (size_t i = 0; i < h->n && r == 0; i++) {
        const char *value = h->text.data + h->at[i].value;

        buf_reset(&line);
        r = buf_printf(&line, *value ? "%s: %s" : "%s;%s", h->text.data + h->at[i].name, value);
        if (r == 0)
            r = list_add(req, line.data);
    }
    buf_reset(&line);
    if (r == 0)
        r = buf_printf(&line, "authorization: %s", auth);
    if (r == 0)
        r = list_add(req, line.data);
    /* above 1 MiB curl itself sends Expect: 100-continue, and then handles 417 */
    if (r == 0 && !expect)
        r = list_add(req, "Expect:");
    if (r == 0)
        r = list_add(req, "Accept:");
    buf_done(&line);
    return r;
}

static bool set_body(struct s3_req *req, CURL *e)
{
    bool body = s3_op_has_body(req->op->kind);
    bool big = body && req->put.body.len >= S3_BIG_BODY;
    curl_off_t len = body ? (curl_off_t)req->put.body.len : 0;

    return !curl_easy_setopt(e, CURLOPT_UPLOAD, 1L) &&
           !curl_easy_setopt(e, CURLOPT_INFILESIZE_LARGE, len) &&
           !curl_easy_setopt(e, CURLOPT_READFUNCTION, on_read) &&
           !curl_easy_setopt(e, CURLOPT_READDATA, req) &&
           !curl_easy_setopt(e, CURLOPT_SEEKFUNCTION, on_seek) &&
           !curl_easy_setopt(e, CURLOPT_SEEKDATA, req) &&
           !curl_easy_setopt(e, CURLOPT_UPLOAD_BUFFERSIZE, big ? BIG_BUFFER : SMALL_BUFFER) &&
           !curl_easy_setopt(e, CURLOPT_EXPECT_100_TIMEOUT_MS, EXPECT_WAIT_MS);
}

static bool set_method(struct s3_req *req, CURL *e)
{
    const char *method = req->op->method;

    if (strcmp(method, "PUT") == 0)
        return set_body(req, e);
    if (strcmp(method, "POST") == 0)
        return set_body(req, e) && !curl_easy_setopt(e, CURLOPT_CUSTOMREQUEST, "POST");
    if (strcmp(method, "DELETE") == 0)
        return !curl_easy_setopt(e, CURLOPT_CUSTOMREQUEST, "DELETE");
    return strcmp(method, "HEAD") != 0 || !curl_easy_setopt(e, CURLOPT_NOBODY, 1L);
}

static bool set_answer(struct s3_req *req, CURL *e)
{
    bool big = req->op->kind == S3_OP_GET && req->get.end - req->get.next >= S3_BIG_BODY;

    return !curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, s3_reply_header) &&
           !curl_easy_setopt(e, CURLOPT_HEADERDATA, req) &&
           !curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, s3_reply_body) &&
           !curl_easy_setopt(e, CURLOPT_WRITEDATA, req) &&
           !curl_easy_setopt(e, CURLOPT_PREREQFUNCTION, on_send) &&
           !curl_easy_setopt(e, CURLOPT_PREREQDATA, req) &&
           !curl_easy_setopt(e, CURLOPT_BUFFERSIZE, big ? BIG_BUFFER : SMALL_BUFFER);
}

static bool set_options(struct s3_req *req, CURL *e, const char *url)
{
    const struct s3_client *c = req->client;
    long connect_ms = (long)(c->conf.connect_timeout_ns / NS_PER_MS);

    return !curl_easy_setopt(e, CURLOPT_URL, url) && !curl_easy_setopt(e, CURLOPT_PATH_AS_IS, 1L) &&
           !curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https") &&
           !curl_easy_setopt(e, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1) &&
           !curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L) &&
           !curl_easy_setopt(e, CURLOPT_TCP_NODELAY, 1L) &&
           !curl_easy_setopt(e, CURLOPT_TCP_KEEPALIVE, 1L) &&
           !curl_easy_setopt(e, CURLOPT_USERAGENT, USER_AGENT) &&
           !curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, connect_ms ? connect_ms : 1L) &&
           !curl_easy_setopt(e, CURLOPT_SHARE, c->share) &&
           !curl_easy_setopt(e, CURLOPT_PRIVATE, (char *)req) &&
           !curl_easy_setopt(e, CURLOPT_ERRORBUFFER, req->curl_error) &&
           !curl_easy_setopt(e, CURLOPT_HTTPHEADER, req->list) && set_method(req, e) &&
           set_answer(req, e) && (!c->tls || s3_tls_set(c->tls, e));
}

static int build_url(struct s3_req *req, struct buf *url, size_t *ret_path)
{
    const struct s3_url *u = &req->client->url;
    int r = buf_printf(url, "%s://%s", u->tls ? "https" : "http", u->authority);

    *ret_path = url->len;
    return r == 0 ? s3_url_path(u, req->key, url) : r;
}

/* Signs and hands over to curl. */
static int attempt_prepare(struct s3_req *req, const char *date, struct buf *url)
{
    struct s3_client *c = req->client;
    char auth[S3_SIGV4_AUTH_MAX];
    size_t path;
    int r = build_url(req, url, &path);

    if (r == 0)
        r = build_headers(req, date);
    if (r == 0)
        r = sign(req, date, url->data + path, auth, sizeof(auth));
    if (r == 0)
        r = build_list(req, auth);
    if (r == 0 && req->query.len)
        r = buf_printf(url, "?%s", req->query.data);
    if (r < 0)
        return r;
    req->easy = s3_multi_handle(c);
    if (!req->easy || !set_options(req, req->easy, url->data))
        return -ENOMEM;
    return s3_multi_start(c, req->easy);
}

/* Resets what the last attempt left. */
static void reset(struct s3_req *req)
{
    struct s3_result *res = &req->result;

    s3_reply_begin(req);
    req->stopped = false;
    req->whole = false;
    req->sends = 0;
    req->curl_error[0] = '\0';
    req->attempt_mark_ns = 0;
    req->move_ns = clock_mono_ns();
    res->text[0] = res->request_id[0] = '\0';
    res->not_modified = false;
    res->truncated = false;
    res->next_token = NULL;
    res->n_entries = 0;
}

static int get_credentials(struct s3_req *req, const char *date)
{
    struct s3_client *c = req->client;
    struct s3_sigv4_scope scope = {c->url.region, "s3", date};
    int r = c->creds->ops->get(c->creds, &scope, c->cred);

    if (r == 0 && *c->cred->region && strcmp(c->cred->region, c->url.region) != 0 &&
        !s3_client_move(c, c->cred->region))
        r = -ENOKEY;
    req->moves = c->moves;
    req->cred_generation = r == 0 ? c->cred->generation : 0;
    req->cred_renewable = r == 0 && c->cred->renewable;
    if (r == 0)
        c->generation = c->cred->generation;
    return r;
}

int s3_attempt_start(struct s3_req *req)
{
    struct s3_client *c = req->client;
    char date[S3_TIME_AMZ_MAX];
    struct buf url;
    int r;

    s3_list_drop(&c->queue, req);
    s3_list_push(&c->busy, req);
    req->state = S3_REQ_ACTIVE;
    c->n_active++;
    reset(req);
    if (s3_op_has_body(req->op->kind)) {
        req->put.at = req->put.next_step = 0;
        req->put.all_out = false;
        s3_sum_begin(req);
    }
    s3_time_amz((uint64_t)((int64_t)clock_wall_ns() + c->skew_ns), date);
    r = get_credentials(req, date);
    req->refused = (struct s3_verdict){0};
    if (r == 0) {
        buf_init(&url, S3_HEADER_BYTES_MAX);
        r = attempt_prepare(req, date, &url);
        buf_done(&url);
        sodium_memzero(c->cred, sizeof(*c->cred));
        if (r == -EAGAIN || r == -ENOKEY)
            r = -EIO; /* those speak of credentials */
    } else if (r != -EAGAIN) {
        r = -ENOKEY;
    }
    if (r < 0)
        s3_attempt_release(req);
    return r;
}

void s3_attempt_release(struct s3_req *req)
{
    struct s3_client *c = req->client;

    c->n_active--;
    leave_gate(req);
    loop_timer_cancel(c->loop, &req->resume);
    if (req->easy)
        s3_multi_give_back(c, req->easy);
    req->easy = NULL;
    curl_slist_free_all(req->list);
    req->list = NULL;
    s3_xml_free(req->xml);
    req->xml = NULL;
    if (c->queue.first)
        s3_client_kick(c); /* the queue has room for it now */
}
