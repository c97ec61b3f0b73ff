/* The supervisor with real processes: what happens when its children die, when it is told to end,
 * when it dies itself. The children are stand-ins (standin.c). Nothing sleeps for a fixed time:
 * conditions are waited for. */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/log.h"
#include "daemon/children.h"
#include "daemon/exit_code.h"
#include "daemon/supervisor.h"
#include "tests/base/scratch_dir.h"
#include "tests/daemon/standin.h"

#define PATIENCE_NS (30 * NS_PER_S)
#define LONG_NS (60 * NS_PER_S)

static char path[100];
static struct standin *b;
static pid_t sup;

/* ---- waiting ---- */

static void nap(void)
{
    struct timespec ts = {.tv_nsec = 1000 * 1000};

    nanosleep(&ts, NULL);
}

#define WAIT_FOR(condition)                                                                        \
    do {                                                                                           \
        uint64_t end_ = clock_mono_ns() + PATIENCE_NS;                                             \
        while (!(condition)) {                                                                     \
            if (clock_mono_ns() > end_)                                                            \
                fail_msg("never came true: %s", #condition);                                       \
            nap();                                                                                 \
        }                                                                                          \
    } while (0)

/* The exit code of the supervisor, or 1000 + the signal that killed it. */
static int wait_exit(void)
{
    int status = 0;

    WAIT_FOR(waitpid(sup, &status, WNOHANG) == sup);
    sup = 0;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

/* Orphans become ours (subreaper), so that their end can be seen. */
static bool all_gone(void)
{
    while (waitpid(-1, NULL, WNOHANG) > 0)
        ;
    return waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD;
}

static bool serving(void)
{
    for (int i = 0; i < STANDIN_WORKERS; i++) {
        if (!atomic_load(&b->worker[i].pid))
            return false;
    }
    return true;
}

static void start(uint64_t drain_timeout_ns)
{
    sup = standin_start(b, path, drain_timeout_ns);
    assert_true(sup > 0);
}

static void start_and_serve(uint64_t drain_timeout_ns)
{
    start(drain_timeout_ns);
    WAIT_FOR(serving() && atomic_load(&b->notifier));
}

static int setup(void **state)
{
    (void)state;
    snprintf(path, sizeof(path), "%s/ctl", scratch_dir);
    b = standin_new();
    return 0;
}

/* Whatever a failed test left: the supervisor's children die with it. */
static int teardown(void **state)
{
    struct stat st;

    (void)state;
    if (sup > 0)
        kill(sup, SIGKILL);
    sup = 0;
    WAIT_FOR(all_gone());
    standin_free(b);
    if (lstat(path, &st) == 0)
        unlink(path);
    return 0;
}

/* ---- asking it ---- */

static int ask(const char *line)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
    WAIT_FOR(connect(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0);
    assert_int_equal(send(fd, line, strlen(line), MSG_NOSIGNAL), strlen(line));
    return fd;
}

static void read_all(int fd, char *out, size_t cap)
{
    size_t len = 0;
    ssize_t n;

    while ((n = read(fd, out + len, cap - 1 - len)) > 0)
        len += (size_t)n;
    assert_int_equal(n, 0);
    out[len] = '\0';
    close(fd);
}

static bool in_phase(const char *phase)
{
    char answer[4096], want[40];

    read_all(ask("status\n"), answer, sizeof(answer));
    snprintf(want, sizeof(want), "\nphase %s\n", phase);
    return strstr(answer, want) != NULL;
}

/* ---- deaths of children ---- */

static void test_a_killed_worker_is_replaced(void **state)
{
    pid_t old;

    (void)state;
    start_and_serve(LONG_NS);
    for (int i = 0; i < 10; i++) {
        old = atomic_load(&b->worker[1].pid);
        kill(old, SIGKILL);
        WAIT_FOR(atomic_load(&b->worker[1].pid) != old);
    }
    assert_int_equal(atomic_load(&b->worker[0].starts), 1);
    assert_int_equal(atomic_load(&b->worker[1].starts), 11);
    assert_int_equal(atomic_load(&b->worker[1].blamed), 0); /* a kill is no crash */
    kill(sup, SIGTERM);
    assert_int_equal(wait_exit(), 0);
}

/* One that somebody tells to end, rather than the supervisor. */
static void test_a_worker_that_ends_untold_is_replaced(void **state)
{
    pid_t old;

    (void)state;
    start_and_serve(LONG_NS);
    old = atomic_load(&b->worker[0].pid);
    kill(old, SIGTERM);
    WAIT_FOR(atomic_load(&b->worker[0].pid) != old);
    assert_int_equal(atomic_load(&b->worker[0].blamed), 0);
}

static void test_the_notifier_is_replaced(void **state)
{
    pid_t old;

    (void)state;
    start_and_serve(LONG_NS);
    old = atomic_load(&b->notifier);
    kill(old, SIGKILL);
    WAIT_FOR(atomic_load(&b->notifier) != old);
}

static uint64_t gap_ms(unsigned n)
{
    struct standin_worker *w = &b->worker[0];

    return (atomic_load(&w->start_ns[n]) - atomic_load(&w->start_ns[n - 1])) / NS_PER_MS;
}

static void test_crashes_back_off(void **state)
{
    (void)state;
    atomic_store(&b->does, STANDIN_CRASHES);
    start(LONG_NS);
    WAIT_FOR(atomic_load(&b->worker[0].starts) >= 5);
    atomic_store(&b->does, STANDIN_SERVES);
    assert_true(gap_ms(1) < 100); /* the first one: at once */
    assert_true(gap_ms(2) >= 100);
    assert_true(gap_ms(3) >= 200);
    assert_true(gap_ms(4) >= 400);
    WAIT_FOR(serving()); /* and it comes back */
    assert_int_equal(atomic_load(&b->worker[0].blamed), atomic_load(&b->worker[0].starts) - 1);
    kill(sup, SIGTERM);
    assert_int_equal(wait_exit(), 0);
}

static void test_workers_that_cannot_start_end_it(void **state)
{
    (void)state;
    atomic_store(&b->does, STANDIN_FAILS);
    start(LONG_NS);
    assert_int_equal(wait_exit(), EXIT_CODE_SYSTEM);
    assert_int_equal(atomic_load(&b->worker[0].blamed), 0);
}

/* Also after a daemon that is gone: nobody serves its mount, so programs must not wait for ever. */
static void test_workers_that_cannot_take_over_end_it(void **state)
{
    (void)state;
    atomic_store(&b->does, STANDIN_FAILS);
    atomic_store(&b->left, true);
    start(LONG_NS);
    assert_int_equal(wait_exit(), EXIT_CODE_SYSTEM);
    assert_int_equal(atomic_load(&b->aborts), 1);
}

/* ---- the end ---- */

static void test_sigterm_drains(void **state)
{
    unsigned looks;

    (void)state;
    atomic_store(&b->look, SUPERVISOR_UNPUBLISHED);
    start_and_serve(LONG_NS);
    kill(sup, SIGTERM);
    WAIT_FOR(atomic_load(&b->drains) == 1);
    looks = atomic_load(&b->looks);
    WAIT_FOR(atomic_load(&b->looks) >= looks + 3);
    assert_true(in_phase("draining"));
    assert_int_equal(atomic_load(&b->unmounts), 0);
    assert_int_equal(kill(atomic_load(&b->worker[0].pid), 0), 0);
    atomic_store(&b->look, SUPERVISOR_IDLE);
    assert_int_equal(wait_exit(), 0);
    assert_int_equal(atomic_load(&b->unmounts), 1);
    assert_int_equal(atomic_load(&b->lasts), 1);
    assert_int_equal(atomic_load(&b->aborts), 0);
    assert_true(all_gone());
    assert_int_equal(access(path, F_OK), -1);
}

static void test_a_worker_killed_while_draining_is_replaced(void **state)
{
    pid_t old;

    (void)state;
    atomic_store(&b->look, SUPERVISOR_BUSY);
    start_and_serve(LONG_NS);
    kill(sup, SIGTERM);
    WAIT_FOR(atomic_load(&b->drains) == 1);
    old = atomic_load(&b->worker[0].pid);
    kill(old, SIGKILL);
    WAIT_FOR(atomic_load(&b->worker[0].pid) != old);
    atomic_store(&b->look, SUPERVISOR_IDLE);
    assert_int_equal(wait_exit(), 0);
}

static void test_open_files_are_served_after_the_unmount(void **state)
{
    (void)state;
    atomic_store(&b->linger, SUPERVISOR_BUSY);
    start_and_serve(LONG_NS);
    kill(sup, SIGTERM);
    WAIT_FOR(in_phase("lingering"));
    assert_int_equal(atomic_load(&b->unmounts), 1);
    assert_int_equal(kill(atomic_load(&b->worker[0].pid), 0), 0);
    atomic_store(&b->linger, SUPERVISOR_IDLE);
    assert_int_equal(wait_exit(), 0);
}

static void test_a_second_sigterm_forces(void **state)
{
    (void)state;
    atomic_store(&b->look, SUPERVISOR_UNPUBLISHED);
    atomic_store(&b->last, SUPERVISOR_UNPUBLISHED);
    start_and_serve(LONG_NS);
    kill(sup, SIGTERM);
    WAIT_FOR(atomic_load(&b->drains) == 1);
    kill(sup, SIGINT);
    assert_int_equal(wait_exit(), EXIT_CODE_UNPUBLISHED);
    assert_int_equal(atomic_load(&b->unmounts), 1);
    assert_true(all_gone());
}

static void test_the_deadline_forces(void **state)
{
    uint64_t start_ns;

    (void)state;
    atomic_store(&b->look, SUPERVISOR_UNPUBLISHED);
    atomic_store(&b->last, SUPERVISOR_UNPUBLISHED);
    start_and_serve(200 * NS_PER_MS);
    start_ns = clock_mono_ns();
    kill(sup, SIGTERM);
    assert_int_equal(wait_exit(), EXIT_CODE_UNPUBLISHED);
    assert_true(clock_mono_ns() - start_ns >= 200 * NS_PER_MS);
}

/* Forced, but nothing was lost: that is no failure. */
static void test_the_deadline_with_readers_only(void **state)
{
    (void)state;
    atomic_store(&b->linger, SUPERVISOR_BUSY);
    start_and_serve(100 * NS_PER_MS);
    kill(sup, SIGTERM);
    assert_int_equal(wait_exit(), 0);
    assert_int_equal(atomic_load(&b->unmounts), 1);
}

static void test_children_that_do_not_end_are_killed(void **state)
{
    (void)state;
    atomic_store(&b->does, STANDIN_STUBBORN);
    atomic_store(&b->linger, SUPERVISOR_BUSY);
    start_and_serve(50 * NS_PER_MS);
    kill(sup, SIGTERM);
    assert_int_equal(wait_exit(), 0);
    assert_int_equal(atomic_load(&b->aborts), 1);
    assert_true(all_gone());
}

static void test_unmounted_by_somebody_else(void **state)
{
    (void)state;
    start_and_serve(LONG_NS);
    atomic_store(&b->mounted, false);
    assert_int_equal(wait_exit(), 0);
    assert_int_equal(atomic_load(&b->unmounts), 0);
    assert_true(all_gone());
}

/* A driver of mounts may want it started again; but not when it was asked to end before. */
static void test_the_exit_code_of_an_unmount(void **state)
{
    (void)state;
    atomic_store(&b->gone, EXIT_CODE_ABORTED);
    start_and_serve(LONG_NS);
    atomic_store(&b->mounted, false);
    assert_int_equal(wait_exit(), EXIT_CODE_ABORTED);
}

static void test_unmounted_while_draining(void **state)
{
    (void)state;
    atomic_store(&b->gone, EXIT_CODE_ABORTED);
    atomic_store(&b->look, SUPERVISOR_BUSY);
    start_and_serve(LONG_NS);
    kill(sup, SIGTERM);
    WAIT_FOR(atomic_load(&b->drains) == 1);
    atomic_store(&b->mounted, false);
    assert_int_equal(wait_exit(), 0);
    assert_int_equal(atomic_load(&b->unmounts), 0);
}

static void test_children_die_with_the_supervisor(void **state)
{
    (void)state;
    start_and_serve(LONG_NS);
    kill(sup, SIGKILL);
    assert_int_equal(wait_exit(), 1000 + SIGKILL);
    WAIT_FOR(all_gone());
}

/* ---- signals and the control socket ---- */

static void test_other_signals(void **state)
{
    (void)state;
    start_and_serve(LONG_NS);
    kill(sup, SIGHUP);
    WAIT_FOR(atomic_load(&b->reloads) == 1);
    kill(sup, SIGUSR1);
    WAIT_FOR(atomic_load(&b->dumps) == 1);
    kill(sup, SIGTERM);
    assert_int_equal(wait_exit(), 0);
}

static void test_status(void **state)
{
    char answer[4096], want[100];

    (void)state;
    start_and_serve(LONG_NS);
    WAIT_FOR(in_phase("running"));
    read_all(ask("status\n"), answer, sizeof(answer));
    assert_memory_equal(answer, "ok\n", 3);
    assert_non_null(strstr(answer, "\nmount /nowhere\n"));
    snprintf(want, sizeof(want), "\npid %d\n", (int)sup);
    assert_non_null(strstr(answer, want));
    snprintf(want, sizeof(want), "\nchild worker 1 pid %d restarts 0 state running\n",
             (int)atomic_load(&b->worker[1].pid));
    assert_non_null(strstr(answer, want));
}

static void test_check(void **state)
{
    char answer[400];

    (void)state;
    start_and_serve(LONG_NS);
    read_all(ask("check\n"), answer, sizeof(answer));
    assert_string_equal(answer, "ok\n");
    atomic_store(&b->check, 1);
    read_all(ask("check\n"), answer, sizeof(answer));
    assert_string_equal(answer, "error table node is wrong\n");
}

static void test_drain_by_the_socket(void **state)
{
    char answer[100];
    int first, second;

    (void)state;
    atomic_store(&b->look, SUPERVISOR_BUSY);
    start_and_serve(LONG_NS);
    first = ask("drain\n");
    WAIT_FOR(atomic_load(&b->drains) == 1);
    second = ask("drain\n"); /* waits too; unlike a second SIGTERM it forces nothing */
    WAIT_FOR(in_phase("draining"));
    atomic_store(&b->look, SUPERVISOR_IDLE);
    read_all(first, answer, sizeof(answer));
    assert_string_equal(answer, "ok\nended 0\n");
    read_all(second, answer, sizeof(answer));
    assert_string_equal(answer, "ok\nended 0\n");
    assert_int_equal(wait_exit(), 0);
}

/* A worker must not hold a client's connection: the client would never see its end. */
static void test_children_do_not_keep_connections(void **state)
{
    char answer[4096];
    pid_t old;
    int fd;

    (void)state;
    start_and_serve(LONG_NS);
    fd = ask("sta");
    WAIT_FOR(in_phase("running"));
    old = atomic_load(&b->worker[0].pid);
    kill(old, SIGKILL); /* its replacement is forked while the client is there */
    WAIT_FOR(atomic_load(&b->worker[0].pid) != old);
    assert_int_equal(send(fd, "tus\n", 4, MSG_NOSIGNAL), 4);
    read_all(fd, answer, sizeof(answer));
    assert_memory_equal(answer, "ok\n", 3);
}

/* ---- the watchdog, with a clock of the test's own ---- */

static unsigned watched_crashes;

static int hang(void *ctx, unsigned slot)
{
    (void)ctx;
    (void)slot;
    while (pause() < 0)
        ;
    return 0;
}

static uint64_t never_turned(void *ctx, unsigned slot)
{
    (void)ctx;
    (void)slot;
    return 0;
}

static void count_crash(void *ctx, unsigned slot)
{
    (void)ctx;
    (void)slot;
    watched_crashes++;
}

static void nothing(void *ctx)
{
    (void)ctx;
}

static const struct children_ops no_ops = {nothing, nothing, nothing, nothing};

static bool still_there(pid_t pid, int *status)
{
    return waitpid(pid, status, WNOHANG) == 0;
}

static void test_a_worker_that_hangs_is_killed(void **state)
{
    const struct role role = {.name = "worker",
                              .count = 1,
                              .entry = hang,
                              .turned_ns = never_turned,
                              .on_crash = count_crash};
    static struct children all;
    struct loop *loop;
    uint64_t now = clock_mono_ns();
    int status = 0;
    pid_t pid;

    (void)state;
    assert_int_equal(loop_new(&loop), 0);
    children_init(&all, loop, &no_ops, NULL);
    assert_int_equal(children_start(&all, &role, 1, NULL), 0);
    pid = all.child[0].pid;
    /* The supervisor was away for an hour: it judges nobody by that. */
    children_watch(&all, now);
    children_watch(&all, now += 3600 * NS_PER_S);
    assert_true(still_there(pid, &status));
    /* It has looked all the time. */
    children_watch(&all, now += NS_PER_S);
    WAIT_FOR(!still_there(pid, &status));
    assert_int_equal(WTERMSIG(status), SIGKILL);
    assert_true(children_reaped(&all, pid, status));
    assert_int_equal(watched_crashes, 1); /* killed by us is a crash of its own */
    children_end(&all);
    children_signal(&all, SIGKILL);
    WAIT_FOR(all_gone());
    loop_free(loop);
}

static int make_dir(void **state)
{
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    return scratch_dir_make(state);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_a_killed_worker_is_replaced),
        T(test_a_worker_that_ends_untold_is_replaced),
        T(test_the_notifier_is_replaced),
        T(test_crashes_back_off),
        T(test_workers_that_cannot_start_end_it),
        T(test_workers_that_cannot_take_over_end_it),
        T(test_sigterm_drains),
        T(test_a_worker_killed_while_draining_is_replaced),
        T(test_open_files_are_served_after_the_unmount),
        T(test_a_second_sigterm_forces),
        T(test_the_deadline_forces),
        T(test_the_deadline_with_readers_only),
        T(test_children_that_do_not_end_are_killed),
        T(test_unmounted_by_somebody_else),
        T(test_the_exit_code_of_an_unmount),
        T(test_unmounted_while_draining),
        T(test_children_die_with_the_supervisor),
        T(test_other_signals),
        T(test_status),
        T(test_check),
        T(test_drain_by_the_socket),
        T(test_children_do_not_keep_connections),
        T(test_a_worker_that_hangs_is_killed),
    };

    log_init(LOG_ERR, "test");
    return cmocka_run_group_tests(tests, make_dir, scratch_dir_remove);
}
