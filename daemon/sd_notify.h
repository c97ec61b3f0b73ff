/* The part of the service manager's protocol that we need: one datagram per message, to the socket
 * in NOTIFY_SOCKET. It is not an error if there is no listener. */
#ifndef DAEMON_SD_NOTIFY_H
#define DAEMON_SD_NOTIFY_H

#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/err.h"

#define SD_NOTIFY_WAIT_MS 2000

struct sd_notify {
    struct sockaddr_un addr;
    socklen_t addr_len;   /* 0: no listener */
    uint64_t watchdog_ns; /* maximum interval between watchdog messages; 0 = no watchdog */
};

/* Reads NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID of `env`. */
void sd_notify_init(struct sd_notify *n, char *const *env);

/* Sends lines such as "READY=1\nSTATUS=...". Never blocks. 0, also without a listener; -EMSGSIZE;
 * -errno of socket(2) or sendto(2). */
must_use int sd_notify_send(const struct sd_notify *n, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* The same, but waits for up to SD_NOTIFY_WAIT_MS until the listener has read what it was sent
 * before. -EAGAIN: it has not. */
must_use int sd_notify_send_waiting(const struct sd_notify *n, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* As sd_notify_send, with a descriptor (SCM_RIGHTS). -EAGAIN: the listener has to read first. */
must_use int sd_notify_send_fd(const struct sd_notify *n, int fd, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Sends the lines of `what` ("READY=1\n", or ""), and the status that the service manager shows.
 * Failures are logged at debug level and ignored. */
void sd_notify_tell(const struct sd_notify *n, const char *what, const char *status);

#endif
