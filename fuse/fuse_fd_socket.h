/* A FUSE descriptor that comes over a Unix stream socket: whoever has made the mount sends a
 * message with the descriptor beside it (SCM_RIGHTS), and closes the connection. What the message
 * says is the caller's business. Nothing here trusts the sender.
 *
 * `stop_fd`: readable when the process is asked to end, which ends each wait with -ECANCELED; -1 =
 * nobody asks. `deadline_ns`: of the monotonic clock. */
#ifndef FUSE_FUSE_FD_SOCKET_H
#define FUSE_FUSE_FD_SOCKET_H

#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

#define FUSE_FD_MESSAGE_MAX (64u << 10) /* bytes of the message */
#define FUSE_FD_MESSAGE_MS 30000        /* from the connection to its end */
#define FUSE_FD_RETRY_MS 50             /* between two tries to connect */
#define FUSE_FD_DENIED_MS                                                                          \
    1000 /* since the first EACCES: the driver may be about to change
                                         * the owner */

/* Connects to `path`; tries again while nobody listens there. 0 and *ret_fd (close-on-exec,
 * non-blocking; the caller closes it), or -errno with *err:
 *
 *   -ETIMEDOUT  nobody has listened there by the deadline; *err says what was there
 *   -EACCES     the socket belongs to another user, and has for FUSE_FD_DENIED_MS
 *   -ECANCELED  asked to end
 *   what connect(2) met otherwise */
must_use int fuse_fd_connect(const char *path, uint64_t deadline_ns, int stop_fd, int *ret_fd,
                             struct err *err);

/* Waits for one connection to `listen_fd`, which is non-blocking. As fuse_fd_connect. */
must_use int fuse_fd_accept(int listen_fd, uint64_t deadline_ns, int stop_fd, int *ret_fd,
                            struct err *err);

/* Reads from `conn_fd` up to its end. `message` is a buffer with maximum FUSE_FD_MESSAGE_MAX, and
 * gets what is said. 0 and *ret_fd (close-on-exec; the caller closes it), or -errno with *err, and
 * then every descriptor that came is closed:
 *
 *   -ETIMEDOUT  the end has not come within FUSE_FD_MESSAGE_MS
 *   -EMSGSIZE   more than FUSE_FD_MESSAGE_MAX bytes
 *   -ENOMSG     no descriptor came with it
 *   -E2BIG      more than one did, or the limit of descriptors has been reached
 *   -ECANCELED, -ENOMEM, what recvmsg(2) met */
must_use int fuse_fd_receive(int conn_fd, int stop_fd, struct buf *message, int *ret_fd,
                             struct err *err);

#endif
