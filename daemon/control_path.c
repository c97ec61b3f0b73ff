/* Creates the control socket: its directory, its mode, and the removal of a stale socket. */
#include "daemon/control_path.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"

#define BACKLOG 16

/* The directory must not be writable for others: they could replace the socket with something
 * else. */
static int make_dir(const char *dir, struct err *err)
{
    struct stat st;

    if (mkdir(dir, 0700) < 0 && errno != EEXIST)
        return err_set(err, errno, "control.socket: cannot create \"%s\": %s", dir,
                       strerror(errno));
    if (lstat(dir, &st) < 0)
        return err_set(err, errno, "control.socket: \"%s\": %s", dir, strerror(errno));
    if (!S_ISDIR(st.st_mode) || st.st_uid != geteuid() || (st.st_mode & (S_IWGRP | S_IWOTH)))
        return err_set(err, EPERM,
                       "control.socket: \"%s\" is not a directory that only this user can write to",
                       dir);
    return 0;
}

static bool lies_in(const char *path, const char *dir)
{
    size_t n = strlen(dir);

    return strncmp(path, dir, n) == 0 && path[n] == '/' && !strchr(path + n + 1, '/');
}

/* True if a process listens on the socket. */
static bool answers(const struct sockaddr_un *addr)
{
    cleanup_fd int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd < 0)
        return true; /* unknown: better not to remove it */
    if (connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) == 0)
        return true;
    return errno != ECONNREFUSED && errno != ENOENT;
}

static int clear_place(const struct sockaddr_un *addr, struct err *err)
{
    const char *path = addr->sun_path;
    struct stat st;

    if (lstat(path, &st) < 0)
        return 0; /* nothing there; bind reports anything worse */
    if (!S_ISSOCK(st.st_mode))
        return err_set(err, EEXIST, "control.socket: \"%s\" exists and is not a socket", path);
    if (answers(addr))
        return err_set(err, EADDRINUSE, "control.socket: another stateproxyd listens on \"%s\"",
                       path);
    if (unlink(path) < 0 && errno != ENOENT)
        return err_set(err, errno, "control.socket: cannot replace \"%s\": %s", path,
                       strerror(errno));
    return 0;
}

/* The mode comes from the umask, so that the socket is not accessible to others even for a
 * moment. */
static int bind_and_listen(int fd, struct control_path *p, struct err *err)
{
    mode_t mask = umask(0177);
    int r = bind(fd, (const struct sockaddr *)&p->addr, sizeof(p->addr));
    int e = errno;
    struct stat st;

    umask(mask);
    if (r < 0)
        return err_set(err, e, "control.socket: cannot create \"%s\": %s", p->addr.sun_path,
                       strerror(e));
    if (lstat(p->addr.sun_path, &st) == 0) {
        p->dev = st.st_dev;
        p->ino = st.st_ino;
    }
    if (listen(fd, BACKLOG) < 0) {
        e = errno;
        control_path_remove(p);
        return err_set(err, e, "control.socket: %s", strerror(e));
    }
    return 0;
}

int control_path_listen(const char *path, const char *dir, struct control_path *ret,
                        struct err *err)
{
    struct control_path p = {.addr.sun_family = AF_UNIX};
    cleanup_fd int fd = -1;
    int r = 0;

    if (strlen(path) >= sizeof(p.addr.sun_path))
        return err_set(err, ENAMETOOLONG, "control.socket: path too long");
    memcpy(p.addr.sun_path, path, strlen(path));
    if (dir && lies_in(path, dir))
        r = make_dir(dir, err);
    if (r == 0)
        r = clear_place(&p.addr, err);
    if (r < 0)
        return r;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return err_set(err, errno, "control.socket: %s", strerror(errno));
    r = bind_and_listen(fd, &p, err);
    if (r < 0)
        return r;
    *ret = p;
    return take_fd(&fd);
}

void control_path_remove(const struct control_path *path)
{
    struct stat st;

    if (lstat(path->addr.sun_path, &st) == 0 && st.st_dev == path->dev && st.st_ino == path->ino)
        (void)unlink(path->addr.sun_path); /* if this fails, the next start replaces it */
}
