/* The connector API: requests over HTTP on a Unix socket, in place of system calls on the mount.
 * connector.c finds the endpoint of a request, con_*.c answer it. */
#ifndef WORKERS_CONNECTOR_CONNECTOR_H
#define WORKERS_CONNECTOR_CONNECTOR_H

#include "workers/op/worker.h"

/* Serves env->listen_fd from now on. 0 or the error of http_server_start. */
must_use int connector_start(struct worker *w);

#endif
