/* The client: set-up, the queue of requests that wait for a connection, and what one request
 * teaches the next ones (clock, throttling, accepted credentials). The life of a request is
 * s3_request.c, curl on the loop is s3_multi.c. */
#include "s3/s3_client.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <libxml/parser.h>
#include <sodium.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/container.h"
#include "base/fd.h"
#include "s3/s3_attempt.h"
#include "s3/s3_hash.h"
#include "s3/s3_multi.h"
#include "s3/s3_request.h"

#define HASH_SLICE (1u << 20) /* per turn of the loop: under a millisecond */
#define CA_MAX (8 << 20)
#define THROTTLE_PAUSE_NS NS_PER_S
#define TRUST_NS (5 * NS_PER_S)

static const char *const system_ca[] = {
    "/etc/ssl/certs/ca-certificates.crt", /* Debian, Alpine, Arch */
    "/etc/pki/tls/certs/ca-bundle.crt",   /* Fedora, RHEL */
    "/etc/ssl/ca-bundle.pem",             /* SUSE */
    "/etc/ssl/cert.pem",
};

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

/* Reads the bundle once: a worker's sandbox may not have access later, and curl would read it for
 * each connection. */
static int read_ca(struct s3_client *c, const char *path, struct err *err)
{
    cleanup_fd int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    ssize_t n;

    if (fd < 0 || fstat(fd, &st) < 0)
        return err_set(err, EINVAL, "CA bundle %s: %s", path, strerror(errno));
    if (!S_ISREG(st.st_mode) || st.st_size < 1 || st.st_size > CA_MAX)
        return err_set(err, EINVAL, "CA bundle %s: not a file of 1 byte to 8 MiB", path);
    c->ca = malloc((size_t)st.st_size + 1);
    if (!c->ca)
        return err_set(err, ENOMEM, "no memory for the CA bundle");
    n = fd_pread_full(fd, c->ca, (size_t)st.st_size, 0);
    if (n < 0)
        return err_set(err, EINVAL, "CA bundle %s: %s", path, strerror((int)-n));
    c->ca[n] = '\0';
    c->ca_len = (size_t)n;
    if (!strstr(c->ca, "-----BEGIN CERTIFICATE-----") &&
        !strstr(c->ca, "-----BEGIN TRUSTED CERTIFICATE-----"))
        return err_set(err, EINVAL, "CA bundle %s: contains no PEM certificate", path);
    return 0;
}

static int load_ca(struct s3_client *c, struct err *err)
{
    const char *path = c->conf.ca_bundle;

    if (!c->url.tls)
        return 0;
    if (path && *path)
        return read_ca(c, path, err);
    for (size_t i = 0; i < sizeof(system_ca) / sizeof(system_ca[0]); i++) {
        if (access(system_ca[i], R_OK) == 0)
            return read_ca(c, system_ca[i], err);
    }
    return err_set(err, EINVAL,
                   "no CA bundle on this system: install ca-certificates or "
                   "name a bundle");
}

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
    r = load_ca(c, err);
    if (r < 0)
        return r;
    c->cred = sodium_malloc(sizeof(*c->cred));
    if (!c->cred || s3_sigv4_keys_new(&c->keys) < 0)
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
    s3_sigv4_keys_free(client->keys);
    sodium_free(client->cred);
    free(client->ca);
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
