/* A child that answers once: see child_ask.h. */
#include "daemon/child_ask.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "daemon/child.h"

/* Does not return. */
static void answer(child_answer_fn *fn, const void *arg, int fd, size_t len)
{
    _Alignas(max_align_t) char buf[CHILD_ANSWER_MAX] = {0};

    fn(arg, buf);
    (void)!fd_write_full(fd, buf, len); /* otherwise the parent reports -EIO */
    _exit(0);
}

static int read_answer(int fd, int limit_ms, void *ret, size_t len)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};

    if (poll(&p, 1, limit_ms) <= 0)
        return -ETIMEDOUT;
    return read(fd, ret, len) == (ssize_t)len ? 0 : -EIO;
}

int child_ask(child_answer_fn *fn, const void *arg, int limit_ms, void *ret, size_t len)
{
    int fds[2], r;
    pid_t pid = -1;

    assert(len <= CHILD_ANSWER_MAX);
    if (pipe2(fds, O_CLOEXEC) < 0)
        return -errno;
    r = child_fork(&pid);
    if (r == 0 && pid == 0)
        answer(fn, arg, fds[1], len);
    close(fds[1]);
    if (r == 0)
        r = read_answer(fds[0], limit_ms, ret, len);
    close(fds[0]);
    if (pid > 0) {
        kill(pid, SIGKILL);
        (void)waitpid(pid, NULL, 0); /* its status adds nothing to its answer */
    }
    return r;
}
