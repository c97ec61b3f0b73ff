/* The socket appears at its path by rename(2): a client never finds a path at which nobody
 * listens, and a stale socket of a predecessor is replaced in one step. It is never removed: a
 * client that finds no path would take that for a missing file, and after the end ECONNREFUSED
 * is the answer. */
#include "http/http_listen.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/address.h"

#define NEW_SUFFIX ".new"

static int address_of(const char *path, const char *suffix, struct sockaddr_un *ret)
{
    int n = snprintf(ret->sun_path, sizeof(ret->sun_path), "%s%s", path, suffix);

    ret->sun_family = AF_UNIX;
    return n > 0 && (size_t)n < sizeof(ret->sun_path) ? 0 : -EINVAL;
}

/* True if somebody accepts connections there. (A stale socket refuses them.) */
static bool is_served(const char *path)
{
    struct sockaddr_un addr = {0};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    bool served;

    if (fd < 0)
        return false;
    served = address_of(path, "", &addr) == 0 &&
             (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0 || errno == EAGAIN);
    close(fd);
    return served;
}

static int is_free(const char *key, const char *path, struct err *err)
{
    struct stat st;

    if (lstat(path, &st) < 0)
        return errno == ENOENT ? 0 : err_set(err, errno, "%s: %s: %s", key, path, strerror(errno));
    if (!S_ISSOCK(st.st_mode))
        return err_set(err, EEXIST, "%s: \"%s\" is there and is not a socket", key, path);
    if (is_served(path))
        return err_set(err, EADDRINUSE, "%s: another process serves \"%s\"", key, path);
    return 0;
}

static int bind_new(const char *key, int fd, const char *path, mode_t mode, struct err *err)
{
    struct sockaddr_un addr = {0};

    if (address_of(path, NEW_SUFFIX, &addr) < 0)
        return err_set(err, EINVAL, "%s: \"%s\" is too long for a socket", key, path);
    if (unlink(addr.sun_path) < 0 && errno != ENOENT)
        return err_set(err, errno, "%s: cannot remove \"%s\": %s", key, addr.sun_path,
                       strerror(errno));
    if (bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 || chmod(addr.sun_path, mode) < 0 ||
        listen(fd, HTTP_LISTEN_BACKLOG) < 0)
        return err_set(err, errno, "%s: cannot listen at \"%s\": %s", key, addr.sun_path,
                       strerror(errno));
    return 0;
}

int http_listen_open(const char *key, const char *path, mode_t mode, int *ret_fd, struct err *err)
{
    int r = is_free(key, path, err), fd;

    if (r < 0)
        return r;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return err_set(err, errno, "%s: socket: %s", key, strerror(errno));
    r = bind_new(key, fd, path, mode, err);
    if (r < 0) {
        close(fd);
        return r;
    }
    *ret_fd = fd;
    return 0;
}

int http_listen_publish(const char *key, const char *path, struct err *err)
{
    struct sockaddr_un addr = {0};

    if (address_of(path, NEW_SUFFIX, &addr) < 0)
        return err_set(err, EINVAL, "%s: \"%s\" is too long for a socket", key, path);
    if (rename(addr.sun_path, path) < 0)
        return err_set(err, errno, "%s: cannot move \"%s\" into place: %s", key, path,
                       strerror(errno));
    return 0;
}

/* ---- TCP ---- */

static int bind_tcp(int fd, const struct sockaddr_storage *addr, socklen_t len)
{
    static const int on = 1, off = 0;

    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0)
        return -errno;
    if (address_is_any(addr) && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off)) < 0)
        return -errno;
    if (bind(fd, (const struct sockaddr *)addr, len) < 0 || listen(fd, HTTP_LISTEN_BACKLOG) < 0)
        return -errno;
    return 0;
}

static int open_tcp(const struct sockaddr_storage *addr, socklen_t len, int *ret_fd)
{
    int fd = socket(addr->ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), r;

    if (fd < 0)
        return -errno;
    r = bind_tcp(fd, addr, len);
    if (r < 0) {
        close(fd);
        return r;
    }
    *ret_fd = fd;
    return 0;
}

/* Where the machine has no IPv6. */
static int open_any_v4(const struct sockaddr_storage *v6, int *ret_fd)
{
    struct sockaddr_storage addr = {0};
    struct sockaddr_in in = {.sin_family = AF_INET};
    struct sockaddr_in6 from;

    memcpy(&from, v6, sizeof(from));
    in.sin_port = from.sin6_port;
    memcpy(&addr, &in, sizeof(in));
    return open_tcp(&addr, sizeof(in), ret_fd);
}

int http_listen_tcp(const char *key, const char *address, int *ret_fd, struct err *err)
{
    struct sockaddr_storage addr;
    socklen_t len;
    int r = address_parse(address, &addr, &len);

    if (r < 0)
        return err_set(err, EINVAL, "%s: \"%s\" is not an address", key, address);
    r = open_tcp(&addr, len, ret_fd);
    if ((r == -EAFNOSUPPORT || r == -EADDRNOTAVAIL) && address_is_any(&addr))
        r = open_any_v4(&addr, ret_fd);
    return r < 0 ? err_set(err, -r, "%s: cannot listen at %s: %s", key, address, strerror(-r)) : 0;
}
