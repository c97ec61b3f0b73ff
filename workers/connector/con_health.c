/* See con_health.h. While the server is being probed, writes wait, and /readyz says so. Otherwise
 * it asks S3 itself, with a listing of one key, unless it has done so just before: probes come
 * every few seconds, and each listing is billed. */
#include "workers/connector/con_health.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "workers/connector/con_error.h"
#include "workers/connector/con_job.h"
#include "workers/op/key.h"
#include "workers/server/server.h"

#define LATELY_NS (5 * NS_PER_S)

static const char ready[] = "{\"status\": \"ready\"}";

static uint64_t answered_ns; /* monotonic: when S3 last answered a listing of this worker */

struct readyz {
    struct con_job job;
    struct s3_req *req;
};

static void tell_ready(struct http_conn *c)
{
    http_conn_answer(c, 200, CON_JSON, ready, sizeof(ready) - 1);
}

void con_healthz(struct http_conn *c)
{
    tell_ready(c);
}

static void readyz_end(struct readyz *z, const struct s3_result *res)
{
    struct http_conn *c = z->job.c;

    free(z);
    if (!res->error) {
        answered_ns = clock_mono_ns();
        tell_ready(c);
        return;
    }
    answered_ns = 0;
    con_refuse_s3(c, res, "the bucket");
}

static void readyz_done(void *arg, const struct s3_result *res)
{
    readyz_end(arg, res);
}

static void readyz_on_gone(struct con_job *job)
{
    struct readyz *z = (struct readyz *)job;

    s3_cancel(z->req);
    free(z);
}

static int no_entry(void *arg, const struct s3_list_entry *entry)
{
    (void)arg, (void)entry;
    return 0;
}

static const struct con_job_ops readyz_ops = {.on_gone = readyz_on_gone};

void con_readyz(struct http_conn *c)
{
    struct worker *w = http_conn_worker(c);
    struct s3_list list = {.max_keys = 1, .on_entry = no_entry};
    struct s3_result res = {0};
    char prefix[KEY_CAP];
    struct readyz *z;

    if (server_probe(w->env) != SHM_PROBE_OVER) {
        con_refuse(
            c, 503, "unavailable",
            "the server is being probed: requests that change something wait for the result");
        return;
    }
    if (answered_ns && clock_mono_ns() - answered_ns < LATELY_NS) {
        tell_ready(c);
        return;
    }
    z = calloc(1, sizeof(*z));
    if (!z) {
        con_refuse(c, 503, "unavailable", "out of memory");
        return;
    }
    con_job_init(&z->job, &readyz_ops, c);
    snprintf(prefix, sizeof(prefix), "%s%s", w->conf->prefix, *w->conf->prefix ? "/" : "");
    list.prefix = prefix;
    res.error = s3_list(w->s3, &list, readyz_done, z, &z->req);
    if (res.error < 0)
        readyz_end(z, &res);
}
