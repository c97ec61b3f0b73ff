/* Sends a request to a running daemon. The answer is bounded in size and time: the daemon is not
 * trusted. */
#include "ctl/client.h"

#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "conf/conf_control.h"

extern char **environ;

static int connect_to(const char *path, int *ret_fd)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    cleanup_fd int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (strlen(path) >= sizeof(addr.sun_path))
        return -ENAMETOOLONG;
    memcpy(addr.sun_path, path, strlen(path) + 1);
    if (fd < 0 || connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
        return -errno;
    *ret_fd = take_fd(&fd);
    return 0;
}

/* True if a daemon listens there. (The sockets of daemons that were killed stay behind.) */
static bool answers(const char *path)
{
    int fd = -1;

    if (connect_to(path, &fd) < 0)
        return false;
    close(fd);
    return true;
}

static bool is_socket_name(const char *name)
{
    size_t n = strlen(name);

    return n > 5 && strcmp(name + n - 5, ".sock") == 0;
}

int client_find(char *out, size_t cap, struct err *err)
{
    char dir[CONF_SOCKET_MAX], path[2 * CONF_SOCKET_MAX + 256];
    const struct dirent *e;
    unsigned found = 0;
    DIR *d;

    if (conf_control_dir(environ, dir, sizeof(dir)) < 0)
        return err_set(err, ENAMETOOLONG, "the path of the control sockets is too long");
    d = opendir(dir);
    while (d && (e = readdir(d))) {
        snprintf(path, sizeof(path), "%s/%s", dir, e->d_name);
        if (!is_socket_name(e->d_name) || !answers(path))
            continue;
        if (found++ == 0)
            snprintf(out, cap, "%s", path);
    }
    if (d)
        closedir(d);
    if (found == 0)
        return err_set(err, ENOENT,
                       "no stateproxyd of this user is running (no socket in %s replies); if its "
                       "control.socket is elsewhere, name it with --socket",
                       dir);
    if (found > 1)
        return err_set(err, EBUSY, "%u daemons are running: choose one with --socket %s/NAME.sock",
                       found, dir);
    return 0;
}

static int take_passed_fd(struct msghdr *msg)
{
    struct cmsghdr *c = CMSG_FIRSTHDR(msg);
    int fd = -1;

    if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS &&
        c->cmsg_len == CMSG_LEN(sizeof(int)))
        memcpy(&fd, CMSG_DATA(c), sizeof(fd));
    return fd;
}

/* One piece of the answer: bytes, 0 at the end, -errno. */
static ssize_t receive(int sock, char *buf, size_t cap, int timeout_ms, int *fd)
{
    char control[CMSG_SPACE(sizeof(int))];
    struct iovec iov = {.iov_base = buf, .iov_len = cap};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control,
                         .msg_controllen = sizeof(control)};
    struct pollfd p = {.fd = sock, .events = POLLIN};
    ssize_t n;
    int passed;

    n = poll(&p, 1, timeout_ms);
    if (n <= 0)
        return n == 0 ? -ETIMEDOUT : -errno;
    n = recvmsg(sock, &msg, MSG_CMSG_CLOEXEC);
    if (n < 0)
        return -errno;
    passed = take_passed_fd(&msg);
    if (passed >= 0 && *fd >= 0)
        close(passed);
    else if (passed >= 0)
        *fd = passed;
    return n;
}

int client_ask(const char *socket, const char *request, int timeout_ms,
               char answer[CLIENT_ANSWER_MAX], int *ret_fd, struct err *err)
{
    cleanup_fd int sock = -1;
    cleanup_fd int fd = -1;
    char line[64];
    size_t len = 0;
    ssize_t n;
    int r = connect_to(socket, &sock);

    if (r < 0)
        return err_set(err, -r, "cannot reach stateproxyd at %s: %s", socket, strerror(-r));
    snprintf(line, sizeof(line), "%s\n", request);
    if (send(sock, line, strlen(line), MSG_NOSIGNAL) < 0)
        return err_set(err, errno, "cannot send to stateproxyd: %s", strerror(errno));
    do {
        n = receive(sock, answer + len, CLIENT_ANSWER_MAX - 1 - len, timeout_ms, &fd);
        if (n > 0)
            len += (size_t)n;
    } while (n > 0 && len < CLIENT_ANSWER_MAX - 1);
    answer[len] = '\0';
    if (n < 0)
        return err_set(err, (int)-n, "stateproxyd does not reply: %s", strerror((int)-n));
    *ret_fd = take_fd(&fd);
    return 0;
}
