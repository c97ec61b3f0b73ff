/* Inspects mount points. An open with O_PATH and a walk onto a mount's root reach no FUSE server:
 * the kernel asks one for its root only by getattr or permission checks (fs/namei.c, do_o_path; the
 * last component of a path is not checked). /proc/self/fdinfo shows which mount it is,
 * /proc/self/mountinfo what kind of mount. */
#include "fuse/fuse_mountpoint.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fd.h"

#define PROBE_TIMEOUT_MS 2000

static int open_error(const char *path, int code, struct err *err)
{
    switch (code) {
    case ENOENT:
        return err_set(err, code, "mount point \"%s\" does not exist", path);
    case ENOTDIR:
        return err_set(err, code, "mount point \"%s\" is not a directory", path);
    default:
        return err_set(err, code, "mount point \"%s\": %s", path, strerror(code));
    }
}

static int fd_path(int fd, char *ret, size_t cap)
{
    char link[64];
    ssize_t n;

    (void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    n = readlink(link, ret, cap);
    if (n < 0)
        return -errno;
    if ((size_t)n >= cap)
        return -ENAMETOOLONG;
    ret[n] = '\0';
    return 0;
}

static int fd_mount_id(int fd, uint64_t *ret)
{
    char name[64];
    char text[1024];
    ssize_t n;
    const char *at;

    (void)snprintf(name, sizeof(name), "/proc/self/fdinfo/%d", fd);
    n = fd_read_file(name, text, sizeof(text));
    if (n < 0)
        return (int)n;
    at = strstr(text, "mnt_id:");
    if (!at)
        return -ENOTSUP;
    *ret = strtoull(at + strlen("mnt_id:"), NULL, 10);
    return 0;
}

int fuse_mountpoint_look(const char *path, struct fuse_mountpoint *ret, struct err *err)
{
    cleanup_fd int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    uint64_t mnt_id = 0;
    int r;

    if (fd < 0)
        return open_error(path, errno, err);
    r = fd_path(fd, ret->path, sizeof(ret->path));
    if (r == 0)
        r = fd_mount_id(fd, &mnt_id);
    if (r == 0)
        r = fuse_mountinfo_find("/proc/self/mountinfo", mnt_id, &ret->info);
    if (r == -ENOENT) { /* a mount whose root this process cannot see */
        memset(&ret->info, 0, sizeof(ret->info));
        r = 0;
    }
    if (r < 0)
        return err_set(err, -r, "mount point \"%s\": reading /proc: %s", path, strerror(-r));
    ret->is_mount = strcmp(ret->info.path, ret->path) == 0;
    return 0;
}

/* In the child. Only the owner may enter a mount without allow_other (fs/fuse/dir.c,
 * fuse_allow_current_process); not even root. */
static int mountpoint_ask(const struct fuse_mountpoint *point)
{
    struct statx st;

    if (geteuid() == 0 && point->info.user_id != 0 &&
        (setresgid(point->info.group_id, point->info.group_id, point->info.group_id) < 0 ||
         setresuid(point->info.user_id, point->info.user_id, point->info.user_id) < 0))
        return EPERM;
    if (statx(AT_FDCWD, point->path, AT_STATX_FORCE_SYNC | AT_NO_AUTOMOUNT, STATX_BASIC_STATS,
              &st) == 0)
        return 0;
    return errno;
}

static __attribute__((noreturn)) void probe_child(const struct fuse_mountpoint *point, int out)
{
    unsigned char answer;

    /* It may outlive its parent while it waits, so it must hold no descriptor, above all no FUSE
     * descriptor. */
    if (dup2(out, 3) < 0)
        _exit(1);
    (void)syscall(SYS_close_range, 4, ~0U, 0); /* Linux 5.9 */
    answer = (unsigned char)mountpoint_ask(point);
    (void)!write(3, &answer, 1);
    _exit(0);
}

/* The error number that the child reports, or -1. */
static int read_answer(int in)
{
    uint64_t deadline_ns = clock_mono_ns() + PROBE_TIMEOUT_MS * NS_PER_MS;
    struct pollfd p = {.fd = in, .events = POLLIN};
    unsigned char answer;

    for (;;) {
        uint64_t now = clock_mono_ns();
        int n;

        if (now >= deadline_ns)
            return -1;
        n = poll(&p, 1, (int)((deadline_ns - now) / NS_PER_MS + 1));
        if (n > 0)
            return read(in, &answer, 1) == 1 ? answer : -1;
        if (n < 0 && errno != EINTR)
            return -1;
    }
}

enum fuse_mount_state fuse_mountpoint_probe(const struct fuse_mountpoint *point)
{
    int ends[2];
    int answer;
    pid_t pid;

    if (pipe2(ends, O_CLOEXEC) < 0)
        return FUSE_MOUNT_ALIVE;
    pid = fork();
    if (pid == 0)
        probe_child(point, ends[1]);
    close(ends[1]);
    answer = pid < 0 ? 0 : read_answer(ends[0]);
    close(ends[0]);
    if (pid > 0) {
        kill(pid, SIGKILL);
        /* A child that hangs in the kernel cannot be waited for; init adopts it. */
        (void)waitpid(pid, NULL, answer < 0 ? WNOHANG : 0);
    }
    if (answer < 0)
        return FUSE_MOUNT_SILENT;
    /* ECONNABORTED: its last descriptor was closed while we waited. */
    return answer == ENOTCONN || answer == ECONNABORTED ? FUSE_MOUNT_STALE : FUSE_MOUNT_ALIVE;
}
