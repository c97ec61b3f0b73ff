/* A request that is not answered at once: its endpoint embeds this as first member of what it
 * keeps, and makes it the state of the connection. */
#ifndef WORKERS_CONNECTOR_CON_JOB_H
#define WORKERS_CONNECTOR_CON_JOB_H

#include <stddef.h>

#include "workers/http/http_service.h"

struct con_job;

/* As in struct http_service; NULL: nothing to do. */
struct con_job_ops {
    void (*on_body)(struct con_job *job, const char *data, size_t len);
    void (*on_end)(struct con_job *job);
    void (*on_room)(struct con_job *job);
    void (*on_gone)(struct con_job *job);
};

struct con_job {
    const struct con_job_ops *ops;
    struct http_conn *c; /* NULL: its client is gone */
    struct worker *w;
};

static inline void con_job_init(struct con_job *job, const struct con_job_ops *ops,
                                struct http_conn *c)
{
    *job = (struct con_job){.ops = ops, .c = c, .w = http_conn_worker(c)};
    http_conn_set_state(c, job);
}

#endif
