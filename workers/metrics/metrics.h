/* The listener for monitoring: GET /metrics, /livez, /readyz over HTTP. Each worker serves it
 * beside its other work, with the server that the connector has (workers/http): an answer is made
 * within a millisecond, and then sent as its client takes it, so that a slow one holds nobody up.
 */
#ifndef WORKERS_METRICS_METRICS_H
#define WORKERS_METRICS_METRICS_H

#include "workers/op/worker.h"

/* Serves env->metrics_fd from now on. 0 or the error of http_server_start. */
must_use int metrics_start(struct worker *w);

#endif
