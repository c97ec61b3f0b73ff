/* The endpoints. What they tell is in metrics_*.c; whether S3 answers is con_health.c's to say. */
#include "workers/metrics/metrics.h"

#include <string.h>

#include "workers/connector/con_error.h"
#include "workers/connector/con_health.h"
#include "workers/connector/con_job.h"
#include "workers/http/http_server.h"
#include "workers/metrics/metrics_families.h"

/* Of one worker: whoever holds more connections open waits, and so do others who would scrape, but
 * no program. */
#define CONNS_MAX 16
#define TEXT_MAX (1u << 20) /* bytes of a scrape; all requests of all kinds make 200 KiB */

#define TEXT_TYPE "Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n"

static void metrics_tell(struct http_conn *c)
{
    struct worker *w = http_conn_worker(c);
    struct exposition x = {0};

    worker_count(w, SHM_STAT_SCRAPES, 1);
    buf_init(&x.text, TEXT_MAX);
    metrics_daemon(&x, w);
    metrics_requests(&x, w);
    metrics_counters(&x, w);
    metrics_tables(&x, w);
    metrics_memory(&x, w);
    if (x.error)
        con_refuse(c, 503, "unavailable", "no memory for the metrics");
    else
        http_conn_answer(c, 200, TEXT_TYPE, x.text.data, x.text.len);
    buf_done(&x.text);
}

static void livez(struct http_conn *c)
{
    static const char alive[] = "{\"status\": \"alive\"}";

    http_conn_answer(c, 200, CON_JSON, alive, sizeof(alive) - 1);
}

static void readyz(struct http_conn *c)
{
    if (__atomic_load_n(&http_conn_worker(c)->shm->header->draining, __ATOMIC_ACQUIRE))
        con_refuse(c, 503, "unavailable", "the daemon is ending");
    else
        con_readyz(c);
}

static const struct {
    const char *path;
    void (*endpoint)(struct http_conn *c);
} endpoints[] = {{"/metrics", metrics_tell}, {"/livez", livez}, {"/readyz", readyz}};

static void metrics_on_request(struct http_conn *c)
{
    const struct http_request *req = http_conn_request(c);
    const struct http_target *t = &req->target;

    for (size_t i = 0; i < sizeof(endpoints) / sizeof(endpoints[0]); i++) {
        const char *path = endpoints[i].path;

        if (strlen(path) != t->path_len || memcmp(t->path, path, t->path_len) != 0)
            continue;
        if (req->method == HTTP_GET || req->method == HTTP_HEAD)
            endpoints[i].endpoint(c);
        else
            con_refuse(c, 405, "method_not_allowed", "only GET and HEAD");
        return;
    }
    con_refuse_route(c);
}

/* (Bodies are read and dropped.) */
static void metrics_on_body(struct http_conn *c, const char *data, size_t len)
{
    (void)c, (void)data, (void)len;
}

static void metrics_on_end(struct http_conn *c)
{
    (void)c; /* answered, or /readyz waits for S3 */
}

static void metrics_on_gone(struct http_conn *c)
{
    struct con_job *job = http_conn_state(c);

    if (job)
        job->ops->on_gone(job);
}

static const struct http_service metrics_service = {.on_request = metrics_on_request,
                                                    .on_body = metrics_on_body,
                                                    .on_end = metrics_on_end,
                                                    .on_room = metrics_on_end,
                                                    .on_gone = metrics_on_gone};

int metrics_start(struct worker *w)
{
    const struct http_server_opts opts = {.listen_fd = w->env->metrics_fd, .conns_max = CONNS_MAX};

    return http_server_start(w, &opts, &metrics_service, &w->metrics);
}
