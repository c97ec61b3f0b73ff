/* The socket appears at its path by rename(2): a client never finds a path at which nobody
 * listens, and a stale socket of a predecessor is replaced in one step. It is never removed: a
 * client that finds no path would take that for a missing file, and after the end ECONNREFUSED
 * is the answer. */
#include "http/http_listen.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

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

static int is_free(const char *path, struct err *err)
{
    struct stat st;

    if (lstat(path, &st) < 0)
        return errno == ENOENT
                   ? 0
                   : err_set(err, errno, "connector.socket: %s: %s", path, strerror(errno));
    if (!S_ISSOCK(st.st_mode))
        return err_set(err, EEXIST, "connector.socket: \"%s\" is there and is not a socket", path);
    if (is_served(path))
        return err_set(err, EADDRINUSE, "connector.socket: another process serves \"%s\"", path);
    return 0;
}

static int bind_new(int fd, const char *path, mode_t mode, struct err *err)
{
    struct sockaddr_un addr = {0};

    if (address_of(path, NEW_SUFFIX, &addr) < 0)
        return err_set(err, EINVAL, "connector.socket: \"%s\" is too long for a socket", path);
    if (unlink(addr.sun_path) < 0 && errno != ENOENT)
        return err_set(err, errno, "connector.socket: cannot remove \"%s\": %s", addr.sun_path,
                       strerror(errno));
    if (bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 || chmod(addr.sun_path, mode) < 0 ||
        listen(fd, HTTP_LISTEN_BACKLOG) < 0)
        return err_set(err, errno, "connector.socket: cannot listen at \"%s\": %s", addr.sun_path,
                       strerror(errno));
    return 0;
}

int http_listen_open(const char *path, mode_t mode, int *ret_fd, struct err *err)
{
    int r = is_free(path, err), fd;

    if (r < 0)
        return r;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return err_set(err, errno, "connector.socket: socket: %s", strerror(errno));
    r = bind_new(fd, path, mode, err);
    if (r < 0) {
        close(fd);
        return r;
    }
    *ret_fd = fd;
    return 0;
}

int http_listen_publish(const char *path, struct err *err)
{
    struct sockaddr_un addr = {0};

    if (address_of(path, NEW_SUFFIX, &addr) < 0)
        return err_set(err, EINVAL, "connector.socket: \"%s\" is too long for a socket", path);
    if (rename(addr.sun_path, path) < 0)
        return err_set(err, errno, "connector.socket: cannot move \"%s\" into place: %s", path,
                       strerror(errno));
    return 0;
}
