/* The start-up check of S3. The child's verdict comes through a pipe: an errno and the operator's
 * sentence. */
#include "daemon/check_s3.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "daemon/child.h"
#include "daemon/exit_code.h"
#include "workers/worker_abi.h"

#define CHECK_LIMIT_MS 9000

/* Does not return. What is written fits a pipe's atomic unit: it comes whole or not at all. */
static void run_check(const struct conf *conf, const struct child_user *user,
                      int fd)
{
    struct err err = {0};
    int r = child_become(user);

    if (r < 0)
        r = err_set(&err, EINVAL, "workers.user: cannot become that user: %s",
                    strerror(-r));
    else
        r = worker_check_s3(conf, &err);
    err.code = -r;
    (void)!fd_write_full(fd, &err, sizeof(err));
    _exit(0);
}

/* Reads the verdict, waiting no longer than the limit. 0 or -errno. */
static int read_verdict(int fd, struct err *ret)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    ssize_t n;

    if (poll(&p, 1, CHECK_LIMIT_MS) <= 0)
        return -ETIMEDOUT;
    n = read(fd, ret, sizeof(*ret));
    ret->text[ERR_TEXT_MAX - 1] = '\0';
    return n == sizeof(*ret) ? 0 : -EIO;
}

int check_s3(const struct conf *conf, const struct child_user *user,
             struct err *err)
{
    struct err verdict = {0};
    int fds[2], r;
    pid_t pid = -1;

    if (pipe2(fds, O_CLOEXEC) < 0) {
        err_set(err, errno, "pipe: %s", strerror(errno));
        return EXIT_CODE_SYSTEM;
    }
    r = child_fork(&pid);
    if (r == 0 && pid == 0)
        run_check(conf, user, fds[1]);
    close(fds[1]);
    if (r == 0)
        r = read_verdict(fds[0], &verdict);
    close(fds[0]);
    if (pid > 0) {
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
    }
    if (r == 0 && verdict.code == 0)
        return 0;
    if (r == 0) {
        *err = verdict;
        return verdict.code == EINVAL ? EXIT_CODE_CONFIG : EXIT_CODE_S3;
    }
    if (r == -ETIMEDOUT) {
        err_set(err, -r,
                "S3 does not answer within %d s: endpoint \"%s\", bucket "
                "\"%s\"",
                CHECK_LIMIT_MS / 1000, conf->s3.endpoint, conf->bucket);
        return EXIT_CODE_S3;
    }
    err_set(err, -r, "the check of S3 failed: %s", strerror(-r));
    return EXIT_CODE_SYSTEM;
}
