/* Short-lived children: their verdict, their deadline, their number. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/log.h"
#include "daemon/child.h"
#include "daemon/task.h"

static struct loop *loop;
static struct task_set set;

static struct {
    unsigned n;
    int code;
    char text[ERR_TEXT_MAX];
} done;

static void on_done(void *ctx, int code, const char *text)
{
    assert_ptr_equal(ctx, &done);
    done.n++;
    done.code = code;
    strncpy(done.text, text, sizeof(done.text) - 1);
}

static int setup(void **state)
{
    (void)state;
    memset(&done, 0, sizeof(done));
    assert_int_equal(loop_new(&loop), 0);
    task_set_init(&set, loop, NULL, NULL);
    return 0;
}

static int teardown(void **state)
{
    int status;
    pid_t pid;

    (void)state;
    task_kill_all(&set);
    while ((pid = waitpid(-1, &status, 0)) > 0)
        (void)task_reaped(&set, pid, status);
    loop_free(loop);
    return 0;
}

static void on_tick(struct loop_timer *t)
{
    (void)t;
}

/* Turns the loop (deadlines are its timers) until n tasks have ended. */
static void wait_done(unsigned n)
{
    static struct loop_timer tick;
    int status;

    tick.on_time = on_tick;
    while (done.n < n) {
        pid_t pid = waitpid(-1, &status, WNOHANG);

        if (pid > 0) {
            assert_true(task_reaped(&set, pid, status));
            continue;
        }
        assert_int_equal(pid, 0);
        loop_timer_set(loop, &tick, NS_PER_MS);
        assert_int_equal(loop_turn(loop), 0);
    }
}

static int say_seven(void *arg, struct err *err)
{
    err_set(err, EIO, "%s", (const char *)arg);
    return 7;
}

static int sleep_long(void *arg, struct err *err)
{
    (void)arg;
    (void)err;
    pause();
    return 0;
}

static int succeed(void *arg, struct err *err)
{
    (void)arg;
    (void)err;
    return 0;
}

static int crash(void *arg, struct err *err)
{
    (void)arg;
    (void)err;
    signal(SIGSEGV, SIG_DFL); /* a sanitizer's handler would exit instead */
    raise(SIGSEGV);
    return 0;
}

/* What child_fork() promises of signals. */
static int look_at_signals(void *arg, struct err *err)
{
    struct sigaction sa;
    sigset_t mask;

    (void)arg;
    (void)err;
    sigprocmask(SIG_SETMASK, NULL, &mask);
    for (int sig = 1; sig < NSIG; sig++) {
        if (sig != SIGTERM && sigismember(&mask, sig) == 1)
            return 1;
    }
    if (sigismember(&mask, SIGTERM) != 1)
        return 4;
    sigaction(SIGINT, NULL, &sa);
    if (sa.sa_handler != SIG_IGN)
        return 2;
    sigaction(SIGTERM, NULL, &sa);
    return sa.sa_handler == SIG_DFL ? 0 : 3;
}

static void test_code_and_text(void **state)
{
    char text[] = "what is wrong";

    (void)state;
    assert_int_equal(task_start(&set, say_seven, text, NS_PER_S, on_done, &done), 0);
    assert_int_equal(task_running(&set), 1);
    assert_int_equal(done.n, 0);
    wait_done(1);
    assert_int_equal(done.code, 7);
    assert_string_equal(done.text, "what is wrong");
    assert_int_equal(task_running(&set), 0);
}

static void test_killed_at_its_deadline(void **state)
{
    uint64_t start = clock_mono_ns();

    (void)state;
    assert_int_equal(task_start(&set, sleep_long, NULL, 50 * NS_PER_MS, on_done, &done), 0);
    wait_done(1);
    assert_int_equal(done.code, TASK_DIED);
    assert_string_equal(done.text, "");
    assert_true(clock_mono_ns() - start >= 50 * NS_PER_MS);
}

static void test_a_crash_is_told(void **state)
{
    (void)state;
    assert_int_equal(task_start(&set, crash, NULL, NS_PER_S, on_done, &done), 0);
    wait_done(1);
    assert_int_equal(done.code, TASK_DIED);
}

static void test_their_number_is_bounded(void **state)
{
    (void)state;
    for (int i = 0; i < TASK_MAX; i++)
        assert_int_equal(task_start(&set, sleep_long, NULL, 60 * NS_PER_S, on_done, &done), 0);
    assert_int_equal(task_start(&set, sleep_long, NULL, NS_PER_S, on_done, &done), -EAGAIN);
    task_kill_all(&set);
    wait_done(TASK_MAX);
    assert_int_equal(task_running(&set), 0);
}

static void test_signals_of_a_child(void **state)
{
    sigset_t all, before;

    (void)state;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &before);
    assert_int_equal(task_start(&set, look_at_signals, NULL, NS_PER_S, on_done, &done), 0);
    sigprocmask(SIG_SETMASK, &before, NULL);
    wait_done(1);
    assert_int_equal(done.code, 0);
}

/* In the first instruction of its own that a child runs. */
static void every_signal_of_a_group(void *ctx)
{
    (void)ctx;
    raise(SIGTERM);
    raise(SIGINT);
    raise(SIGHUP);
    raise(SIGUSR1);
}

static void test_signals_meant_for_the_parent(void **state)
{
    (void)state;
    task_set_init(&set, loop, every_signal_of_a_group, NULL);
    for (int i = 0; i < TASK_MAX; i++)
        assert_int_equal(task_start(&set, succeed, NULL, NS_PER_S, on_done, &done), 0);
    wait_done(TASK_MAX);
    assert_int_equal(done.code, 0);
}

static sig_atomic_t met;

static void on_parents(int sig)
{
    (void)sig;
    met++;
}

/* One that comes while the child is made, to the whole group: the parent gets it when it is
 * through, the child never runs the parent's handler. */
static void raise_in_fork(void)
{
    raise(SIGTERM);
}

static int handler_ran(void *arg, struct err *err)
{
    (void)arg;
    (void)err;
    return met;
}

static void test_a_signal_while_it_forks(void **state)
{
    (void)state;
    signal(SIGTERM, on_parents);
    assert_int_equal(pthread_atfork(raise_in_fork, NULL, raise_in_fork), 0);
    assert_int_equal(task_start(&set, handler_ran, NULL, NS_PER_S, on_done, &done), 0);
    assert_int_equal(met, 1);
    signal(SIGTERM, SIG_DFL);
    wait_done(1);
    assert_int_equal(done.code, 0);
}

static void test_other_children_are_no_tasks(void **state)
{
    (void)state;
    assert_false(task_reaped(&set, getpid(), 0));
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_code_and_text),
        T(test_killed_at_its_deadline),
        T(test_a_crash_is_told),
        T(test_their_number_is_bounded),
        T(test_signals_of_a_child),
        T(test_signals_meant_for_the_parent),
        T(test_other_children_are_no_tasks),
        T(test_a_signal_while_it_forks), /* last: what runs at a fork stays */
    };

    log_init(LOG_ERR, "test");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
