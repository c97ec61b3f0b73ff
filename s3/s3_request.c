/* The life of a request, from the queue over its attempts and waits to `done`. s3_request.h has the
 * states, s3_retry.c decides about retries, s3_attempt.c makes one attempt. */
#include "s3/s3_request.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/container.h"
#include "base/min.h"
#include "s3/s3_attempt.h"
#include "s3/s3_client.h"
#include "s3/s3_enforce.h"
#include "s3/s3_extra.h"
#include "s3/s3_learn.h"
#include "s3/s3_multi.h"
#include "s3/s3_progress.h"
#include "s3/s3_queue.h"
#include "s3/s3_stop.h"
#include "s3/s3_tls.h"

#define RENEW_LIMIT_NS (15 * NS_PER_S) /* for other credentials, within the deadline */
#define RENEW_LOOK_NS (20 * NS_PER_MS)
#define WALK_BEYOND (2u << 20) /* what sockets buffer */
#define WALK_MAX (8u << 20)    /* a refusal comes earlier than this */

static void on_time(struct loop_timer *t);
static void on_resume(struct loop_timer *t);

/* ---- birth and death ---- */

int s3_req_new(struct s3_client *c, const struct s3_op *op, const char *key, s3_done_fn *done,
               void *arg, struct s3_req **ret_req)
{
    int r = key ? s3_url_check_key(key) : 0;
    struct s3_req *req;

    if (r < 0)
        return r;
    req = calloc(1, sizeof(*req));
    if (!req)
        return -ENOMEM;
    req->client = c;
    req->op = op;
    req->done = done;
    req->arg = arg;
    req->retry.max_attempts = c->conf.max_attempts;
    req->timer.on_time = on_time;
    req->resume.on_time = on_resume;
    buf_init(&req->query, S3_QUERY_MAX);
    buf_init(&req->headers.text, S3_HEADER_BYTES_MAX);
    strcpy(req->payload_hash, S3_HASH_EMPTY);
    req->key = key ? strdup(key) : NULL;
    if (key && !req->key) {
        s3_req_free(req);
        return -ENOMEM;
    }
    *ret_req = req;
    return 0;
}

void s3_req_free(struct s3_req *req)
{
    if (!req)
        return;
    if (req->op->cleanup)
        req->op->cleanup(req);
    s3_enforce_free(req);
    buf_done(&req->query);
    buf_done(&req->headers.text);
    free(req->key);
    free(req);
}

/* Removes it from the client: no list, no curl, no timer. */
static void detach(struct s3_req *req)
{
    struct s3_client *c = req->client;

    if (req->easy)
        s3_attempt_release(req);
    loop_timer_cancel(c->loop, &req->timer);
    s3_list_drop(req->state == S3_REQ_QUEUED ? &c->queue : &c->busy, req);
    if (req->state != S3_REQ_GONE)
        c->n_reqs--;
}

static void request_reap(struct s3_req *req)
{
    detach(req);
    s3_req_free(req);
}

void s3_req_reap_gone(struct s3_client *c)
{
    struct s3_req *next;

    for (struct s3_req *req = c->busy.first; req; req = next) {
        next = req->next;
        if (req->state == S3_REQ_GONE)
            request_reap(req);
    }
}

void s3_cancel(struct s3_req *req)
{
    struct s3_client *c = req->client;

    if (c->in_curl && req->easy) {
        /* curl must not be called from inside curl: s3_multi.c reaps */
        loop_timer_cancel(c->loop, &req->timer);
        req->state = S3_REQ_GONE;
        c->n_reqs--;
        return;
    }
    request_reap(req);
}

/* A refused condition is a result like "does not exist", not a failure. */
static bool is_failure(const struct s3_result *res)
{
    return res->error && res->error != -ENOENT && res->http_status != 412;
}

static void request_count(struct s3_req *req)
{
    const struct s3_counters *n = req->client->conf.counters;

    if (!n)
        return;
    if (req->result.attempts > 1)
        *n->retries += req->result.attempts - 1;
    *n->errors += is_failure(&req->result);
    if (n->ended)
        n->ended(n->arg, req->asked, clock_mono_ns() - req->asked_ns, &req->result);
}

static void request_finish(struct s3_req *req, const struct s3_verdict *v)
{
    struct s3_result *res = &req->result;

    res->error = v->error;
    res->fail = v->error ? v->fail : S3_FAIL_NONE;
    res->may_have_acted = req->maybe_acted;
    if (!v->error)
        res->text[0] = res->region[0] = res->location[0] = '\0';
    request_count(req);
    if (req->client->conf.on_failure && is_failure(res))
        req->client->conf.on_failure(res);
    detach(req);
    req->done(req->arg, res);
    s3_req_free(req);
}

static void requeue(struct s3_req *req)
{
    struct s3_client *c = req->client;

    s3_list_drop(&c->busy, req);
    req->state = S3_REQ_QUEUED;
    s3_list_push(&c->queue, req);
    s3_progress_arm(req);
    s3_client_kick(c);
}

/* ---- other credentials ---- */

/* Credentials are wanted that are not there yet: asks for them and waits. False if none will come,
 * or it has waited before. */
static bool renew(struct s3_req *req)
{
    struct s3_client *c = req->client;
    uint64_t left = s3_progress_deadline_left(req, clock_mono_ns());

    if (req->retry.renewed || !c->creds->ops->renew || left == 0 ||
        c->creds->ops->renew(c->creds, req->cred_generation) == S3_CRED_NONE)
        return false;
    req->retry.renewed = true;
    req->state = S3_REQ_WAITING;
    req->renew_until_ns = clock_mono_ns() + (left < RENEW_LIMIT_NS ? left : RENEW_LIMIT_NS);
    loop_timer_set(c->loop, &req->timer, 0);
    return true;
}

/* They are there, or still on their way, or will not come. */
static void look_for_credentials(struct s3_req *req)
{
    struct s3_client *c = req->client;
    enum s3_cred_news news = c->creds->ops->renew(c->creds, req->cred_generation);

    if (news == S3_CRED_SOON && clock_mono_ns() < req->renew_until_ns) {
        loop_timer_set(c->loop, &req->timer, RENEW_LOOK_NS);
        return;
    }
    req->renew_until_ns = 0;
    if (news == S3_CRED_NEW)
        requeue(req);
    else if (req->refused.error)
        request_finish(req, &req->refused);
    else
        s3_req_fail(req, -EACCES, S3_FAIL_CREDENTIALS, "no credentials");
}

/* The deadline ends an attempt, or finds the request in the queue. If connections broke before, or
 * none came about, that is what is told: only chance decides what the deadline meets. */
static struct s3_verdict overdue(const struct s3_req *req)
{
    if (req->before.retry == S3_RETRY_CONNECTION)
        return req->before;
    return (struct s3_verdict){.error = -ETIMEDOUT, .fail = S3_FAIL_STALLED};
}

static void on_active_time(struct s3_req *req)
{
    uint64_t now = clock_mono_ns();
    struct s3_verdict v = overdue(req);

    if (req->held_on)
        s3_progress_rested(req);
    if (s3_progress_deadline_left(req, now) == 0)
        (void)s3_req_stop(req, v.error, v.fail, S3_RETRY_NO, "the deadline passed");
    else if (s3_progress_stall_left(req, now) == 0)
        (void)s3_req_stop(req, -ETIMEDOUT, S3_FAIL_STALLED, S3_RETRY_CONNECTION,
                          "no byte moved for too long");
    if (req->stopped)
        s3_req_ended(req, CURLE_ABORTED_BY_CALLBACK);
    else
        s3_progress_arm(req);
}

static void on_time(struct loop_timer *t)
{
    struct s3_req *req = container_of(t, struct s3_req, timer);

    switch (req->state) {
    case S3_REQ_QUEUED:
        if (s3_progress_deadline_left(req, clock_mono_ns()) == 0)
            s3_req_fail(req, overdue(req).error, overdue(req).fail, NULL);
        else
            s3_progress_arm(req);
        break;
    case S3_REQ_WAITING:
        if (req->renew_until_ns)
            look_for_credentials(req);
        else
            requeue(req);
        break;
    case S3_REQ_ACTIVE:
        on_active_time(req);
        break;
    case S3_REQ_GONE:
        break;
    }
}

static void on_resume(struct loop_timer *t)
{
    struct s3_req *req = container_of(t, struct s3_req, resume);

    if (req->easy)
        s3_multi_resume(req->client, req->easy);
}

void s3_hold_on(struct s3_req *req)
{
    req->held_on = true;
}

void s3_go_on(struct s3_req *req)
{
    if (!req->held_on)
        return;
    s3_progress_rested(req);
    req->held_on = false;
    loop_timer_set(req->client->loop, &req->resume, 0);
}

/* ---- attempts ---- */

void s3_req_submit(struct s3_req *req, struct s3_req **ret_req)
{
    struct s3_client *c = req->client;

    if (c->conf.counters)
        c->conf.counters->requests[req->op->kind]++;
    req->n_fixed = req->headers.n;
    req->fixed_bytes = req->headers.text.len;
    s3_enforce_first(req);
    req->mark_ns = req->asked_ns = clock_mono_ns();
    req->asked = req->op->kind;
    req->state = S3_REQ_QUEUED;
    s3_list_push(&c->queue, req);
    c->n_reqs++;
    s3_progress_arm(req);
    s3_client_kick(c);
    if (ret_req)
        *ret_req = req;
}

void s3_req_fail(struct s3_req *req, int error, enum s3_fail fail, const char *text)
{
    struct s3_verdict v = {.error = error, .fail = fail};

    if (text || !*req->result.text)
        snprintf(req->result.text, sizeof(req->result.text), "%s: %s", req->op->name,
                 text ? text : "the deadline passed in the queue");
    request_finish(req, &v);
}

void s3_req_start(struct s3_req *req)
{
    int r = s3_attempt_start(req);

    if (r == 0) {
        s3_progress_arm(req);
        return;
    }
    req->state = S3_REQ_WAITING; /* there was no attempt */
    if (r == -EAGAIN && renew(req))
        return;
    if (r == -EAGAIN)
        s3_req_fail(req, -EACCES, S3_FAIL_CREDENTIALS,
                    "no key for that day and region: set this machine's clock");
    else if (r == -ENOKEY)
        s3_req_fail(req, -EACCES, S3_FAIL_CREDENTIALS, "no credentials");
    else
        s3_req_fail(req, r, S3_FAIL_LOCAL, "cannot build the request");
}

/* The server's clock, from its Date, if ours is why it refused. */
static void learn_clock(struct s3_req *req, struct s3_verdict *v)
{
    struct s3_client *c = req->client;

    if (v->retry != S3_RETRY_SKEW)
        return;
    if (req->reply.date_ns == 0)
        v->retry = S3_RETRY_NO;
    else
        c->skew_ns = req->reply.date_ns - (int64_t)clock_wall_ns();
}

/* "Does not exist" in response to a HEAD has no code, and was believed because of earlier
 * responses: it proves nothing itself, or a bucket that is gone would look empty while somebody
 * asks. */
static bool proves_credentials(const struct s3_req *req, const struct s3_verdict *v)
{
    return v->error == 0 || (v->error == -ENOENT && strcmp(req->op->method, "HEAD") != 0) ||
           req->reply.status == 412 || req->reply.status == 416;
}

static void request_learn(struct s3_req *req, struct s3_verdict *v)
{
    struct s3_client *c = req->client;

    if (proves_credentials(req, v))
        s3_client_trust(c);
    if (v->error == 0) {
        s3_client_succeeded(c);
        s3_extra_learn(req);
        s3_retry_success(&req->retry, &c->bucket);
    }
    if (v->retry == S3_RETRY_THROTTLED)
        s3_client_throttled(c);
    learn_clock(req, v);
}

/* A server of TLS 1.3 that does not want the client says so after the handshake. */
static bool refused_later(const struct s3_req *req, CURLcode curl)
{
    return req->client->tls && curl == CURLE_RECV_ERROR && req->reply.status == 0 &&
           s3_tls_is_alert(req->curl_error);
}

bool s3_req_is_out(const struct s3_req *req)
{
    bool says_so = req->reply.status >= 200 && req->reply.status < 300;

    return req->sends > 0 && (!s3_op_has_body(req->op->kind) || req->put.all_out ||
                              req->put.body.len == 0 || says_so);
}

static struct s3_verdict request_judge(struct s3_req *req, CURLcode curl)
{
    struct s3_outcome o = {
        .op = req->op->kind,
        .curl = refused_later(req, curl) ? CURLE_SSL_CONNECT_ERROR : curl,
        .http_status = req->reply.complete ? req->reply.status : 0,
        .code = req->result.code,
        .sent = s3_req_is_out(req),
        .makes = s3_op_has_body(req->op->kind) && !req->put.replaces,
    };

    if (req->whole)
        return (struct s3_verdict){0};
    if (req->stopped)
        return req->verdict;
    if (o.http_status == 304 && req->result.not_modified)
        return (struct s3_verdict){0};
    return s3_judge(&o);
}

/* "PUT: 503 SlowDown: Please reduce ..." or "PUT: Connection refused"; `text` has the message so
 * far. */
static void write_text(struct s3_req *req, CURLcode curl)
{
    struct s3_result *res = &req->result;
    const char *why = *req->curl_error ? req->curl_error : curl_easy_strerror(curl);
    char message[sizeof(res->text)], tls[sizeof(res->text)];
    int n;

    if (req->stopped)
        return;
    if (res->fail == S3_FAIL_TLS) {
        res->tls = s3_tls_explain(req->easy, curl, why, tls, sizeof(tls));
        why = tls;
    }
    memcpy(message, res->text, sizeof(message));
    if (req->reply.status >= 300 || *res->code)
        n = snprintf(res->text, sizeof(res->text), "%s: %d %s%s%s", req->op->name,
                     req->reply.status, res->code, *message ? ": " : "", message);
    else
        n = snprintf(res->text, sizeof(res->text), "%s: %.*s", req->op->name,
                     (int)strcspn(why, "\r\n"), why);
    err_cut(res->text, sizeof(res->text), n);
    s3_reply_clean(res->text); /* curl quotes headers */
}

/* True if the server itself carries it out, not a gateway that may have lost track of it. */
static bool is_answered(const struct s3_req *req)
{
    int status = req->reply.complete ? req->reply.status : 0;

    return status && status != 502 && status != 504;
}

/* The attempt may be delayed somewhere, and would do harm after the next one. */
static uint64_t settled(const struct s3_req *req, uint64_t delay)
{
    uint64_t half = s3_progress_deadline_left(req, clock_mono_ns()) / 2;
    uint64_t least = min_u64(s3_settle_ns(req->client), half);

    return delay > least ? delay : least;
}

uint64_t s3_settle_ns(const struct s3_client *c)
{
    return c->conf.deadline_ns / 2 < S3_SETTLE_NS ? c->conf.deadline_ns / 2 : S3_SETTLE_NS;
}

void s3_req_ended(struct s3_req *req, CURLcode curl)
{
    struct s3_client *c = req->client;
    struct s3_verdict v;
    uint64_t delay = 0;
    bool turned;

    req->result.attempts++;
    s3_reply_end(req, curl);
    req->result.http_status = req->reply.status;
    turned = s3_client_was_moved(req) || s3_extra_turn(req);
    if (!turned)
        turned = !req->stopped && !req->whole && req->op->turn && req->op->turn(req);
    turned = turned || s3_enforce_turn(req);
    v = request_judge(req, curl);
    req->result.fail = v.fail;
    write_text(req, curl);
    request_learn(req, &v);
    if (s3_op_has_body(req->op->kind) && v.fail == S3_FAIL_BROKEN &&
        req->put.at < req->put.body.len && req->put.at < WALK_MAX)
        req->put.walk_until = req->put.at + WALK_BEYOND;
    req->maybe_acted |= v.unclear;
    s3_attempt_release(req);
    req->state = S3_REQ_WAITING;
    if (turned) {
        requeue(req);
        return;
    }
    if (v.error == 0)
        s3_enforce_learn(req);
    if (v.error == 0 || (req->once && req->maybe_acted)) {
        request_finish(req, &v);
        return;
    }
    req->refused = req->before = v;
    if (v.retry == S3_RETRY_CREDENTIALS && renew(req))
        return;
    if (!s3_retry_again(&req->retry, &c->bucket, v.retry,
                        s3_progress_deadline_left(req, clock_mono_ns()), req->reply.retry_after_ns,
                        &delay)) {
        request_finish(req, &v);
        return;
    }
    if (req->settles && v.unclear && !is_answered(req))
        delay = settled(req, delay);
    loop_timer_set(c->loop, &req->timer, delay);
}
