/* The waiting and the receiving. fuse_mount.c looks at what has come. */
#include "fuse/fuse_fd_socket.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"

#define PIECE_BYTES 4096
#define ROOM_FDS 2 /* descriptors that one piece has room for: of more the kernel says so */

/* Milliseconds for poll(2), rounded up. */
static int ms_until(uint64_t until_ns)
{
    uint64_t now = clock_mono_ns();
    uint64_t ms = until_ns > now ? (until_ns - now) / NS_PER_MS + 1 : 0;

    return ms < INT_MAX ? (int)ms : INT_MAX;
}

/* Waits for `events` of `fd` (-1: only for the time). 1: they are there, which is looked at once
 * even if it is time already; 0: it is time; -errno with *err. */
static int await(int fd, short events, uint64_t until_ns, int stop_fd, struct err *err)
{
    struct pollfd p[] = {{.fd = stop_fd, .events = POLLIN}, {.fd = fd, .events = events}};
    int ms, n;

    do {
        ms = ms_until(until_ns);
        n = poll(p, 2, ms);

        if (n < 0 && errno != EINTR)
            return err_set(err, errno, "poll: %s", strerror(errno));
        if (n > 0 && p[0].revents)
            return err_set(err, ECANCELED, "asked to end");
        if (n > 0)
            return 1;
    } while (n < 0 || ms > 0);
    return 0;
}

/* ---- connecting ---- */

/* 0 and *ret_fd, or -errno. */
static int try_connect(const struct sockaddr_un *addr, int *ret_fd)
{
    cleanup_fd int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd < 0 || connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) < 0)
        return -errno;
    *ret_fd = take_fd(&fd);
    return 0;
}

static bool is_denied(int r)
{
    return r == -EACCES || r == -EPERM;
}

/* (EAGAIN: its queue is full.) */
static bool may_come(int r)
{
    return r == -ENOENT || r == -ECONNREFUSED || r == -EAGAIN || is_denied(r);
}

static const char *what_is_there(int r)
{
    return r == -ENOENT         ? "there is no such socket"
           : r == -ECONNREFUSED ? "nobody listens there any more"
           : r == -EAGAIN       ? "nobody takes the connection"
                                : strerror(-r);
}

static int not_connected(int r, const char *path, struct err *err)
{
    if (is_denied(r))
        return err_set(err, EACCES, "%s: permission denied to user %u", path, (unsigned)geteuid());
    return err_set(err, may_come(r) ? ETIMEDOUT : -r, "%s: %s", path, what_is_there(r));
}

int fuse_fd_connect(const char *path, uint64_t deadline_ns, int stop_fd, int *ret_fd,
                    struct err *err)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    uint64_t now = clock_mono_ns(), denied_since = 0; /* 0 = it was not, the last time */
    int n = snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);

    if (n < 0 || (size_t)n >= sizeof(addr.sun_path))
        return err_set(err, ENAMETOOLONG, "%s: too long for a socket", path);
    for (;;) {
        int r = try_connect(&addr, ret_fd);

        if (r == 0)
            return 0;
        if (!is_denied(r))
            denied_since = 0;
        else if (!denied_since)
            denied_since = now;
        if (!may_come(r) || now >= deadline_ns ||
            (denied_since && now - denied_since >= FUSE_FD_DENIED_MS * NS_PER_MS))
            return not_connected(r, path, err);
        r = await(-1, 0, now + FUSE_FD_RETRY_MS * NS_PER_MS, stop_fd, err);
        if (r < 0)
            return r;
        now = clock_mono_ns();
    }
}

int fuse_fd_accept(int listen_fd, uint64_t deadline_ns, int stop_fd, int *ret_fd, struct err *err)
{
    for (;;) {
        int r = await(listen_fd, POLLIN, deadline_ns, stop_fd, err), fd;

        if (r < 0)
            return r;
        if (r == 0)
            return err_set(err, ETIMEDOUT, "nobody has connected");
        fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd >= 0) {
            *ret_fd = fd;
            return 0;
        }
        if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
            return err_set(err, errno, "accept: %s", strerror(errno));
    }
}

/* ---- receiving ---- */

/* What has come so far. `fd` is the first descriptor, or -1. */
struct received {
    struct buf *message;
    int fd;
    bool more; /* there was another one, which is closed */
};

static void take_rights(const struct cmsghdr *c, struct received *in)
{
    size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

    for (size_t i = 0; i < n; i++) {
        int fd;

        memcpy(&fd, CMSG_DATA(c) + i * sizeof(fd), sizeof(fd));
        if (in->fd < 0) {
            in->fd = fd;
        } else {
            in->more = true;
            close(fd);
        }
    }
}

static void take_control(struct msghdr *m, struct received *in)
{
    const struct cmsghdr *c = CMSG_FIRSTHDR(m); /* there is no other kind: none was asked for */

    if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS)
        take_rights(c, in);
    /* (Those without room have been closed by the kernel.) */
    in->more |= (m->msg_flags & MSG_CTRUNC) != 0;
}

/* 1: there may be more; 0: the end; -errno with *err. */
static int receive_piece(int conn_fd, struct received *in, struct err *err)
{
    char piece[PIECE_BYTES];
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(ROOM_FDS * sizeof(int))];
    } control;
    struct iovec iov = {.iov_base = piece, .iov_len = sizeof(piece)};
    struct msghdr m = {.msg_iov = &iov,
                       .msg_iovlen = 1,
                       .msg_control = &control,
                       .msg_controllen = sizeof(control)};
    ssize_t n = recvmsg(conn_fd, &m, MSG_CMSG_CLOEXEC);
    int r;

    if (n < 0)
        return errno == EAGAIN || errno == EINTR
                   ? 1
                   : err_set(err, errno, "recvmsg: %s", strerror(errno));
    take_control(&m, in);
    r = buf_append(in->message, piece, (size_t)n);
    if (r == -EMSGSIZE)
        return err_set(err, EMSGSIZE, "the message has more than %u bytes", FUSE_FD_MESSAGE_MAX);
    if (r < 0)
        return err_set(err, -r, "out of memory");
    return n > 0;
}

static int receive_all(int conn_fd, int stop_fd, struct received *in, struct err *err)
{
    uint64_t deadline_ns = clock_mono_ns() + FUSE_FD_MESSAGE_MS * NS_PER_MS;
    int r = 1;

    while (r > 0) {
        r = await(conn_fd, POLLIN, deadline_ns, stop_fd, err);
        if (r == 0)
            return err_set(err, ETIMEDOUT,
                           "the message has not ended within %u s (%zu bytes and %s descriptor "
                           "came)",
                           FUSE_FD_MESSAGE_MS / 1000, in->message->len, in->fd < 0 ? "no" : "a");
        if (r > 0)
            r = receive_piece(conn_fd, in, err);
    }
    if (r < 0)
        return r;
    if (in->more)
        return err_set(err, E2BIG,
                       "more than one descriptor came, or it could not be taken (ulimit -n)");
    if (in->fd < 0)
        return err_set(err, ENOMSG, "no descriptor came with the message of %zu bytes",
                       in->message->len);
    return 0;
}

int fuse_fd_receive(int conn_fd, int stop_fd, struct buf *message, int *ret_fd, struct err *err)
{
    struct received in = {.message = message, .fd = -1};
    int r = receive_all(conn_fd, stop_fd, &in, err);

    if (r == 0)
        *ret_fd = in.fd;
    else if (in.fd >= 0)
        close(in.fd);
    return r;
}
