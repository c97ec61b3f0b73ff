/* The metrics: what is counted, under which names. Each function appends some families. They read
 * what all workers have counted (shm_stats.h), so it does not matter which worker answers. */
#ifndef WORKERS_METRICS_METRICS_FAMILIES_H
#define WORKERS_METRICS_METRICS_FAMILIES_H

#include "workers/metrics/exposition.h"
#include "workers/op/worker.h"

/* Durations and outcomes of requests: of the kernel, of the connector, to S3. */
void metrics_requests(struct exposition *x, struct worker *w);

/* The counters of enum shm_stat. */
void metrics_counters(struct exposition *x, struct worker *w);

/* What is there now: tables, sessions, uploads, requests in flight. Takes the locks of the tables
 * for moments. */
void metrics_tables(struct exposition *x, struct worker *w);

/* Memory and CPU time of the workers. */
void metrics_memory(struct exposition *x, struct worker *w);

/* Version, what is served, credentials, restarts. */
void metrics_daemon(struct exposition *x, struct worker *w);

#endif
