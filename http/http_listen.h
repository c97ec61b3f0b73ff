/* The sockets that clients connect to: on a path, or an address of TCP. `key`: of the
 * configuration, for messages. */
#ifndef HTTP_HTTP_LISTEN_H
#define HTTP_HTTP_LISTEN_H

#include <sys/types.h>

#include "base/err.h"

#define HTTP_LISTEN_BACKLOG 1024

/* A listening socket that is not at its path yet: it is bound beside it, so that a client that
 * finds the path can connect. Non-blocking, close-on-exec. 0 and *ret_fd, or -errno with *err:
 * EINVAL for a path that is too long or whose directory is missing, EADDRINUSE if another
 * process listens at the path, what bind(2) met. */
must_use int http_listen_open(const char *key, const char *path, mode_t mode, int *ret_fd,
                              struct err *err);

/* Moves the socket to its path, over a stale one. 0 or -errno with *err. */
must_use int http_listen_publish(const char *key, const char *path, struct err *err);

/* A socket that listens at an address of address.h. Non-blocking, close-on-exec. 0 and *ret_fd, or
 * -errno with *err: EINVAL for another text, what bind(2) met. */
must_use int http_listen_tcp(const char *key, const char *address, int *ret_fd, struct err *err);

#endif
