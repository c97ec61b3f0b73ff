/* The server side of HTTP/1.1 on the Unix socket that all workers inherit, in the worker's own
 * loop.
 *
 * Why no library: what the connector promises needs the bytes of the connection themselves.
 * libmicrohttpd hides what follows a chunked body, sends no Content-Length with 204, and refuses
 * with documents of its own. What is here does one thing: framing, with limits. */
#ifndef WORKERS_HTTP_HTTP_SERVER_H
#define WORKERS_HTTP_HTTP_SERVER_H

#include "workers/http/http_service.h"

struct http_server;

/* Accepts from now on. `listen_fd` and `service` are borrowed. 0 and *ret_server, -ENOMEM, or the
 * error of loop_add. */
must_use int http_server_start(struct worker *w, int listen_fd, const struct http_service *service,
                               struct http_server **ret_server);

/* Accepts no more, closes idle connections, and the others after their request. */
void http_server_drain(struct http_server *s);

/* Number of requests without a whole answer. */
unsigned http_server_busy(const struct http_server *s);

#endif
