/* See con_wait.h. The supervisor wakes all workers when the probe has ended. */
#include "workers/connector/con_wait.h"

#include <stdlib.h>

#include "base/container.h"
#include "workers/connector/con_error.h"
#include "workers/connector/con_job.h"
#include "workers/server/server.h"

struct wait {
    struct con_job job;
    struct con_key key;
    con_key_endpoint *endpoint;
    struct worker_hook hook;
    bool ended; /* the request has no body */
};

static void wait_free(struct wait *wait)
{
    worker_hook_remove(wait->job.w, &wait->hook);
    free(wait);
}

/* The request goes on as if it had come now. */
static void wait_over(struct wait *wait)
{
    struct wait was = *wait;
    struct http_conn *c = was.job.c;
    const struct con_job *job;

    wait_free(wait);
    http_conn_set_state(c, NULL);
    http_conn_take(c); /* (the endpoint may hold it again) */
    was.endpoint(c, &was.key);
    job = http_conn_state(c);
    if (was.ended && job && job->ops->on_end)
        job->ops->on_end((struct con_job *)job);
}

static void wait_look(struct worker_hook *hook)
{
    struct wait *wait = container_of(hook, struct wait, hook);
    struct http_conn *c = wait->job.c;

    switch (server_probe(wait->job.w->env)) {
    case SHM_PROBE_RUNS:
        return;
    case SHM_PROBE_OVER:
        wait_over(wait);
        return;
    case SHM_PROBE_FAILED:
        wait_free(wait);
        con_refuse(c, 503, "unavailable",
                   "the probe of the server has failed: the log of stateproxyd has the reason");
        return;
    }
}

static void wait_on_end(struct con_job *job)
{
    ((struct wait *)job)->ended = true;
}

static void wait_on_gone(struct con_job *job)
{
    wait_free((struct wait *)job);
}

static const struct con_job_ops wait_ops = {.on_end = wait_on_end, .on_gone = wait_on_gone};

bool con_wait_is_needed(const struct worker *w, enum http_method method)
{
    return (method == HTTP_PUT || method == HTTP_DELETE) && server_probe(w->env) != SHM_PROBE_OVER;
}

void con_wait(struct http_conn *c, const struct con_key *key, con_key_endpoint *endpoint)
{
    struct wait *wait = calloc(1, sizeof(*wait));

    if (!wait) {
        con_refuse(c, 503, "unavailable", "out of memory");
        return;
    }
    con_job_init(&wait->job, &wait_ops, c);
    wait->key = *key;
    wait->endpoint = endpoint;
    wait->hook.fn = wait_look;
    http_conn_hold(c);
    worker_hook_add(wait->job.w, &wait->hook);
    wait_look(&wait->hook); /* it may have ended in this moment */
}
