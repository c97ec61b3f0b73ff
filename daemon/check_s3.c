/* The start-up check of S3. The child sends its verdict through a pipe: an errno with a sentence
 * for the operator, and the traits of the server. */
#include "daemon/check_s3.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "daemon/child.h"
#include "daemon/exit_code.h"

#define CHECK_LIMIT_MS 9000 /* without a probe */

struct verdict {
    struct err err; /* code 0: no error */
    struct server_traits traits;
};
/* A pipe write of this size is atomic: it arrives whole or not at all. */
static_assert(sizeof(struct verdict) <= PIPE_BUF, "");

static int limit_ms(const struct conf *conf)
{
    return CHECK_LIMIT_MS + (worker_probes(conf) ? WORKER_PROBE_MS : 0);
}

/* Does not return. */
static void run_check(const struct worker_env *env, const struct child_user *user, int fd)
{
    struct verdict v = {0};
    int r = child_become(user);

    conf_forget_secrets((struct conf *)env->conf);
    if (r < 0)
        r = err_set(&v.err, EINVAL, "workers.user: cannot become that user: %s", strerror(-r));
    else
        r = worker_check_s3(env, &v.traits, &v.err);
    v.err.code = -r;
    (void)!fd_write_full(fd, &v, sizeof(v));
    _exit(0);
}

/* Reads the verdict, waiting no longer than the limit. 0 or -errno. */
static int read_verdict(int fd, int limit, struct verdict *ret)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    ssize_t n;

    if (poll(&p, 1, limit) <= 0)
        return -ETIMEDOUT;
    n = read(fd, ret, sizeof(*ret));
    ret->err.text[ERR_TEXT_MAX - 1] = '\0';
    return n == sizeof(*ret) ? 0 : -EIO;
}

int check_s3(const struct worker_env *env, const struct child_user *user,
             struct server_traits *ret_traits, struct err *err)
{
    const struct conf *conf = env->conf;
    struct verdict verdict = {0};
    int fds[2], r;
    pid_t pid = -1;

    if (pipe2(fds, O_CLOEXEC) < 0) {
        err_set(err, errno, "pipe: %s", strerror(errno));
        return EXIT_CODE_SYSTEM;
    }
    r = child_fork(&pid);
    if (r == 0 && pid == 0)
        run_check(env, user, fds[1]);
    close(fds[1]);
    if (r == 0)
        r = read_verdict(fds[0], limit_ms(conf), &verdict);
    close(fds[0]);
    if (pid > 0) {
        kill(pid, SIGKILL);
        (void)waitpid(pid, NULL, 0); /* its status adds nothing to its verdict */
    }
    if (r == 0 && verdict.err.code == 0) {
        *ret_traits = verdict.traits;
        return 0;
    }
    if (r == 0) {
        *err = verdict.err;
        return verdict.err.code == EINVAL ? EXIT_CODE_CONFIG : EXIT_CODE_S3;
    }
    if (r == -ETIMEDOUT) {
        err_set(err, -r,
                "S3 does not answer within %d s: endpoint \"%s\", bucket "
                "\"%s\"",
                limit_ms(conf) / 1000, conf->s3.endpoint, conf->bucket);
        return EXIT_CODE_S3;
    }
    err_set(err, -r, "the start-up check of S3 failed: %s", strerror(-r));
    return EXIT_CODE_SYSTEM;
}
