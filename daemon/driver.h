/* A CSI driver that has made the mount and hands its descriptor over a Unix socket, so that this
 * process needs no privilege: mount.fd_socket, mount.fd_protocol.
 *
 *               the socket                        files beside it
 *   meta-fuse   the driver listens                -
 *   gcsfuse     the driver listens                error: what failed, for the driver to report
 *   mountpoint  the daemon listens                mount.err: the same; mount.exit: made by the
 *                                                 driver when the daemon is to end for good
 *
 * In all three there is one connection, over it one message (driver_message.h) with one descriptor,
 * and then its end. Afterwards the socket is removed. From then on it is a mount like that of
 * /dev/fd/N (FUSE_MOUNT_HANDED_IN). A driver hands it over once for each mount: only what has kept
 * copies (daemon.fdstore) survives the death of the whole daemon. */
#ifndef DAEMON_DRIVER_H
#define DAEMON_DRIVER_H

#include <stdbool.h>

#include "conf/conf.h"
#include "fuse/fuse_mount.h"

struct driver {
    int listen_fd; /* -1 = none, or it is the driver that listens */
};

/* Before S3 is asked: where the daemon listens, the socket appears, as the driver does not wait
 * long for it. 0, or -errno of http_listen_open with *err. */
must_use int driver_open(const struct conf *conf, struct driver *driver, struct err *err);

/* Waits for the descriptor, with SIGTERM and SIGINT blocked, which end it: for up to
 * mount.fd_timeout, and 30 s for the message. Where the daemon listens, a connection over which
 * nothing comes is not the driver's. Closes what driver_open has opened, and removes the socket
 * when the descriptor is there. 0 and *ret_mount, whose descriptor is the caller's; or -errno with
 * *err:
 *
 *   -ECANCELED  asked to end, by a signal (which is still pending) or by mount.exit
 *   -EXDEV      the message contradicts the configuration
 *   others      nothing came, or nothing of use; *err says what to do */
must_use int driver_take(const struct conf *conf, struct driver *driver,
                         struct fuse_mount *ret_mount, struct err *err);

/* Writes `text` (one line) to the file in which the protocol wants failures, if it has one. If that
 * fails it is logged. */
void driver_report(const struct conf *conf, const char *text);

/* The mount serves: an earlier failure is no longer true. */
void driver_clear_report(const struct conf *conf);

/* After the end of the mount: true if the driver wants this daemon to be started again. */
bool driver_wants_another(const struct conf *conf);

#endif
