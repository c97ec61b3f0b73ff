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

#define HTTP_CONNS_MAX 256 /* at most; connections of one worker */

struct http_server_opts {
    int listen_fd;      /* borrowed; non-blocking */
    unsigned conns_max; /* 1..HTTP_CONNS_MAX: more wait unaccepted */
    bool holds_drain;   /* the daemon ends after these requests have their answers */
};

/* Accepts from now on. `service` is borrowed. 0 and *ret_server, -ENOMEM, or the error of
 * loop_add. */
must_use int http_server_start(struct worker *w, const struct http_server_opts *opts,
                               const struct http_service *service, struct http_server **ret_server);

/* Accepts no more, closes idle connections, and the others after their request: also those that
 * have only just come, whose first request is on its way. */
void http_server_drain(struct http_server *s);

/* Number of requests without a whole answer; for half a second after http_server_drain also
 * connections whose request has not arrived yet. */
unsigned http_server_busy(const struct http_server *s);

#endif
