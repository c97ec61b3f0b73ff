/* The client: set-up, the queue of requests that wait for a connection, and what one request
 * teaches the next ones (clock, throttling, accepted credentials). The life of a request is
 * s3_request.c, curl on the loop is s3_multi.c. */
#include "s3/s3_client.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <libxml/parser.h>
#include <sodium.h>

#include "base/clock.h"
#include "base/container.h"
#include "s3/s3_attempt.h"
#include "s3/s3_hash.h"
#include "s3/s3_multi.h"
#include "s3/s3_request.h"
#include "s3/s3_tls.h"

#define HASH_SLICE (1u << 20) /* per turn of the loop: under a millisecond */
#define THROTTLE_PAUSE_NS NS_PER_S
#define TRUST_NS (5 * NS_PER_S)

/* ---- lists ---- */

void s3_list_push(struct s3_req_list *list, struct s3_req *req)
{
    req->prev = list->last;
    req->next = NULL;
    *(list->last ? &list->last->next : &list->first) = req;
    list->last = req;
}

void s3_list_drop(struct s3_req_list *list, struct s3_req *req)
{
    *(req->prev ? &req->prev->next : &list->first) = req->next;
    *(req->next ? &req->next->prev : &list->last) = req->prev;
    req->prev = req->next = NULL;
}

/* ---- set-up ---- */

static uint32_t uniform(uint32_t upper)
{
    return upper ? randombytes_uniform(upper) : 0;
}

static void on_kick(struct loop_timer *t)
{
    struct s3_client *c = container_of(t, struct s3_client, kick);

    s3_queue_run(c);
}

static int client_init(struct s3_client *c, struct err *err)
{
    int r;

    if (sodium_init() < 0)
        return err_set(err, ENOMEM, "libsodium does not start");
    xmlInitParser();
    r = s3_url_init(&c->url, c->conf.endpoint, c->region, c->conf.bucket, c->conf.addressing, err);
    if (r < 0)
        return r;
    if (c->url.tls)
        r = s3_tls_new(&c->conf, &c->tls, err);
    if (r < 0)
        return r;
    c->cred = sodium_malloc(sizeof(*c->cred));
    if (!c->cred)
        return err_set(err, ENOMEM, "no locked memory for credentials");
    return s3_multi_new(c, err);
}

int s3_client_new(struct loop *loop, const struct s3_client_conf *conf,
                  struct s3_cred_source *creds, struct s3_client **ret_client, struct err *err)
{
    struct s3_client *c = calloc(1, sizeof(*c));
    int r;

    if (!c)
        return err_set(err, ENOMEM, "no memory for the S3 client");
    c->loop = loop;
    c->conf = *conf;
    c->creds = creds;
    c->region = conf->region && *conf->region ? conf->region : "us-east-1";
    c->limit = conf->max_connections ? conf->max_connections : 1;
    c->conf.max_connections = c->limit;
    c->kick.on_time = on_kick;
    if (!c->conf.habits)
        c->conf.habits = &c->own_habits;
    s3_retry_bucket_init(&c->bucket, uniform);
    r = client_init(c, err);
    if (r < 0) {
        s3_client_free(c);
        return r;
    }
    *ret_client = c;
    return 0;
}

void s3_client_free(struct s3_client *client)
{
    if (!client)
        return;
    while (client->queue.first)
        s3_cancel(client->queue.first);
    while (client->busy.first)
        s3_cancel(client->busy.first);
    loop_timer_cancel(client->loop, &client->kick);
    s3_multi_free(client);
    sodium_free(client->cred);
    s3_tls_free(client->tls);
    free(client);
}

unsigned s3_in_flight(const struct s3_client *c)
{
    return c->n_reqs;
}

/* ---- the queue ---- */

void s3_client_kick(struct s3_client *c)
{
    if (!c->kick.armed)
        loop_timer_set(c->loop, &c->kick, 0);
}

bool s3_client_signs_payload(const struct s3_client *c)
{
    return c->conf.payload_signing == S3_SIGN_ALWAYS ||
           (c->conf.payload_signing == S3_SIGN_AUTO && !c->url.tls);
}

/* Continues hashing within `budget`. True if the request's hash is complete or it failed (and is
 * freed). */
static bool hash_some(struct s3_req *req, uint64_t *budget)
{
    struct s3_put_state *put = &req->put;
    uint64_t left = put->body.len - put->hashed;
    uint64_t n = left < *budget ? left : *budget;
    int r = s3_hash_body(&put->hash, &put->body, put->hashed, n);

    if (r < 0) {
        s3_req_fail(req, r, S3_FAIL_LOCAL, "cannot read the body to send");
        return true;
    }
    *budget -= n;
    put->hashed += n;
    if (put->hashed < put->body.len)
        return false;
    s3_hash_hex(&put->hash, req->payload_hash);
    req->mark_ns = clock_mono_ns(); /* the server is not to blame for that time */
    return true;
}

/* The first request whose hash is complete; if there is none, the first. */
static struct s3_req *pick(const struct s3_client *c)
{
    struct s3_req *req = c->queue.first;

    while (req && !*req->payload_hash)
        req = req->next;
    return req ? req : c->queue.first;
}

void s3_queue_run(struct s3_client *c)
{
    uint64_t budget = HASH_SLICE;

    while (c->n_active < c->limit && c->queue.first) {
        struct s3_req *req = pick(c);

        if (*req->payload_hash) {
            s3_attempt_start(req);
        } else if (!hash_some(req, &budget)) {
            s3_client_kick(c); /* continue after others had a turn */
            break;
        }
    }
}

/* ---- what responses teach ---- */

void s3_client_throttled(struct s3_client *c)
{
    uint64_t now = clock_mono_ns();

    if (c->throttled_ns && now - c->throttled_ns < THROTTLE_PAUSE_NS)
        return; /* one burst of refusals counts once */
    c->throttled_ns = now;
    c->limit = c->limit > 1 ? c->limit / 2 : 1;
    c->in_a_row = 0;
}

/* The server accepted our credentials. */
void s3_client_trust(struct s3_client *c)
{
    c->good_ns = clock_mono_ns();
    c->good_generation = c->generation;
}

void s3_client_succeeded(struct s3_client *c)
{
    if (c->limit < c->conf.max_connections && ++c->in_a_row >= c->limit) {
        c->limit++;
        c->in_a_row = 0;
    }
}

bool s3_habit_has(const struct s3_client *client, enum s3_habit habit)
{
    return (__atomic_load_n(client->conf.habits, __ATOMIC_RELAXED) & habit) == (uint32_t)habit;
}

bool s3_habit_learn(struct s3_client *client, enum s3_habit habit)
{
    if (s3_habit_has(client, habit) || (client->conf.form_is_known && (habit & S3_HABIT_FORM)))
        return false;
    if (__atomic_fetch_or(client->conf.habits, habit, __ATOMIC_RELAXED) & habit)
        return false;
    if (client->conf.on_habit)
        client->conf.on_habit(habit);
    return true;
}

bool s3_client_trusted_lately(const struct s3_client *c)
{
    return c->good_ns && c->good_generation == c->generation &&
           clock_mono_ns() - c->good_ns < TRUST_NS;
}
