/* The notifier: what it writes, and that nothing is lost when it is killed as it writes. The kernel
 * is a socket pair. */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fd.h"
#include "base/log.h"
#include "fuse/fuse_abi.h"
#include "shm/shm_notify.h"
#include "workers/op/worker_abi.h"

static struct fuse_mount mount;
static struct worker_env env;
static int kernel; /* the other end of the channel */

static int setup(void **state)
{
    const struct shm_sizes sizes = {.workers = 1,
                                    .nodes = 64,
                                    .long_names = 8,
                                    .handles = 16,
                                    .sessions = 2,
                                    .records = 16,
                                    .blocks = 8,
                                    .payload = SHM_PAYLOAD_MIN};
    struct err err = {0};
    int pair[2];

    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    mount.fd = pair[0];
    kernel = pair[1];
    env = (struct worker_env){.mount = &mount, .notify_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
    if (shm_create(&sizes, &env.shm, &err) < 0)
        fail_msg("shm_create: %s", err.text);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    shm_close(env.shm);
    close(env.notify_fd);
    close(kernel);
    close(mount.fd);
    return 0;
}

/* A child as child_fork() makes it, which may die of SIGPIPE. */
static pid_t start(void)
{
    sigset_t set;
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid > 0)
        return pid;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigprocmask(SIG_BLOCK, &set, NULL);
    _exit(notifier_main(&env));
}

static int status_of(pid_t pid)
{
    int status;

    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static void end(pid_t pid)
{
    int status;

    assert_int_equal(kill(pid, SIGTERM), 0);
    status = status_of(pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), WORKER_EXIT_DONE);
}

static void queue_entry(const char *name)
{
    shm_lock(env.shm, env.shm->meta);
    shm_notify_entry(env.shm, SHM_ROOT, name, strlen(name));
    shm_unlock(env.shm, env.shm->meta);
    fd_event_set(env.notify_fd);
}

static void expect_entry(const char *name)
{
    struct {
        struct fuse_out_header head;
        struct fuse_notify_inval_entry_out arg;
        char name[64];
    } msg;
    ssize_t n = recv(kernel, &msg, sizeof(msg), 0);

    assert_int_equal(n, offsetof(__typeof__(msg), name) + strlen(name) + 1);
    assert_int_equal(msg.head.unique, 0);
    assert_int_equal(msg.head.error, FUSE_NOTIFY_INVAL_ENTRY);
    assert_int_equal(msg.arg.parent, FUSE_ROOT_ID);
    assert_string_equal(msg.name, name);
}

static void expect_nothing(void)
{
    char c;

    assert_int_equal(recv(kernel, &c, 1, MSG_DONTWAIT), -1);
    assert_int_equal(errno, EAGAIN);
}

static void test_writes_what_is_queued(void **state)
{
    pid_t pid;

    (void)state;
    queue_entry("before it started");
    pid = start();
    expect_entry("before it started");
    queue_entry("later");
    expect_entry("later");
    end(pid);
    expect_nothing();
    assert_int_equal(env.shm->notify->written, 2);
}

static void test_killed_as_it_writes(void **state)
{
    int pair[2], fd = mount.fd, status;
    pid_t pid;

    (void)state;
    queue_entry("one");
    queue_entry("two");
    assert_int_equal(pipe(pair), 0);
    close(pair[0]); /* whoever writes there dies */
    mount.fd = pair[1];
    status = status_of(start());
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGPIPE);
    close(pair[1]);
    mount.fd = fd;
    pid = start();
    expect_entry("one");
    expect_entry("two");
    end(pid);
    expect_nothing();
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_writes_what_is_queued),
        T(test_killed_as_it_writes),
    };

    log_init(LOG_ERR, "test");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
