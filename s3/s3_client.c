/* The client: set-up, and who of the queue gets a connection. The life of a request is
 * s3_request.c, curl on the loop is s3_multi.c, what responses teach is s3_learn.c. */
#include "s3/s3_client.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <libxml/parser.h>
#include <sodium.h>

#include "base/clock.h"
#include "base/container.h"
#include "s3/s3_hash.h"
#include "s3/s3_multi.h"
#include "s3/s3_queue.h"
#include "s3/s3_request.h"
#include "s3/s3_tls.h"

#define HASH_SLICE (1u << 20) /* per turn of the loop: under a millisecond */

/* ---- set-up ---- */

static uint32_t uniform(uint32_t upper)
{
    return upper ? randombytes_uniform(upper) : 0;
}

static void run_queue(struct s3_client *c);

static void on_kick(struct loop_timer *t)
{
    run_queue(container_of(t, struct s3_client, kick));
}

static void on_room(struct s3_client *c)
{
    if (c->queue.first && c->n_active < c->limit)
        run_queue(c);
}

static const struct s3_multi_ops multi_ops = {
    .ended = s3_req_ended, .returned = s3_req_reap_gone, .room = on_room};

struct s3_endpoint s3_client_endpoint(const struct s3_client_conf *conf)
{
    return (struct s3_endpoint){.url = conf->endpoint,
                                .region = conf->region,
                                .bucket = conf->bucket,
                                .addressing = conf->addressing,
                                .dualstack = conf->dualstack,
                                .fips = conf->fips,
                                .accelerate = conf->accelerate};
}

static int client_init(struct s3_client *c, struct err *err)
{
    int r;

    if (sodium_init() < 0)
        return err_set(err, ENOMEM, "libsodium does not start");
    xmlInitParser();
    c->endpoint = s3_client_endpoint(&c->conf);
    r = s3_endpoint_resolve(&c->endpoint, &c->url, err);
    if (r < 0)
        return r;
    c->tls = c->url.tls ? c->conf.tls : NULL;
    if (c->url.tls && !c->tls)
        r = s3_tls_new(&c->conf, &c->tls, err);
    if (r < 0)
        return r;
    c->cred = sodium_malloc(sizeof(*c->cred));
    if (!c->cred)
        return err_set(err, ENOMEM, "no locked memory for credentials");
    return s3_multi_new(c, &multi_ops, err);
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
    c->limit = conf->max_connections ? conf->max_connections : 1;
    c->conf.max_connections = c->limit;
    c->kick.on_time = on_kick;
    if (!c->conf.habits)
        c->conf.habits = &c->own_habits;
    s3_retry_bucket_init(&c->bucket, c->conf.retry_spent, uniform);
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
    if (client->tls != client->conf.tls)
        s3_tls_free(client->tls);
    free(client);
}

const char *s3_client_region(const struct s3_client *client)
{
    return client->url.region;
}

unsigned s3_in_flight(const struct s3_client *c)
{
    return c->n_reqs;
}

/* ---- the queue ---- */

bool s3_client_signs_payload(const struct s3_client *c)
{
    return c->conf.payload_signing == S3_SIGN_ALWAYS ||
           (c->conf.payload_signing == S3_SIGN_AUTO && !c->url.tls);
}

static bool is_unread(const struct s3_req *req)
{
    return s3_op_has_body(req->op->kind) && req->put.unread;
}

/* Continues reading the body within `budget`. True if it is complete, or has failed (and is
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
    if (put->hash.sha)
        s3_hash_hex(&put->hash, req->payload_hash);
    put->unread = false;
    req->mark_ns = clock_mono_ns(); /* the server is not to blame for that time */
    return true;
}

/* The first request whose body has been read, or need not be; if there is none, the first. */
static struct s3_req *pick(const struct s3_client *c)
{
    struct s3_req *req = c->queue.first;

    while (req && is_unread(req))
        req = req->next;
    return req ? req : c->queue.first;
}

static void run_queue(struct s3_client *c)
{
    uint64_t budget = HASH_SLICE;

    while (c->n_active < c->limit && c->queue.first) {
        struct s3_req *req = pick(c);

        if (!is_unread(req)) {
            s3_req_start(req);
        } else if (!hash_some(req, &budget)) {
            s3_client_kick(c); /* continue after others had a turn */
            break;
        }
    }
}
