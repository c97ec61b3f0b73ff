/* The children of a supervisor that has executed itself anew: what becomes of those that were taken
 * over. Signals that would go astray come to this process, the leader of its own group. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/loop.h"
#include "daemon/children.h"
#include "workers/op/worker_abi.h"

static struct loop *loop;
static struct children all;
static unsigned unmounted;

static int run(void *ctx, unsigned slot)
{
    (void)ctx, (void)slot;
    pause();
    return WORKER_EXIT_DONE;
}

static void on_unmounted(void *ctx)
{
    (void)ctx;
    unmounted++;
}

static void nothing(void *ctx)
{
    (void)ctx;
}

static const struct children_ops ops = {.on_unmounted = on_unmounted,
                                        .on_setup_failed = nothing,
                                        .on_ended = nothing,
                                        .in_child = nothing};
static const struct role roles[] = {{.name = "worker", .count = 1, .serves = true, .entry = run}};

static int setup(void **state)
{
    static const struct timespec none = {0};
    sigset_t set;

    (void)state;
    (void)setpgid(0, 0);
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigprocmask(SIG_BLOCK, &set, NULL);
    (void)sigtimedwait(&set, NULL, &none); /* what a test before this one has left */
    unmounted = 0;
    assert_int_equal(loop_new(&loop), 0);
    children_init(&all, loop, &ops, NULL);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    children_end(&all);
    children_signal(&all, SIGKILL);
    while (waitpid(-1, NULL, 0) > 0)
        ;
    loop_free(loop);
    return 0;
}

/* A child of the image before, which ends with `code`. */
static pid_t old_child(int code)
{
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0)
        _exit(code);
    return pid;
}

static void take(pid_t pid)
{
    struct children_handed handed = {.n = 1, .child = {{.role = "worker", .pid = pid}}};

    assert_int_equal(children_take(&all, roles, 1, NULL, &handed), 0);
    assert_int_equal(all.child[0].pid, pid);
}

static bool sigterm_came(void)
{
    sigset_t set;

    assert_int_equal(sigpending(&set), 0);
    return sigismember(&set, SIGTERM);
}

/* The connection of the mount is aborted while children are being replaced: nobody has asked this
 * one to end, and nobody asks it afterwards. */
static void test_one_that_has_ended_is_not_asked_to_end(void **state)
{
    pid_t pid = old_child(WORKER_EXIT_UNMOUNTED);
    int status;

    (void)state;
    take(pid);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(children_reaped(&all, pid, status));
    assert_int_equal(unmounted, 1);
    assert_int_equal(children_running(&all), 0);
    assert_false(children_renew(&all, clock_mono_ns()));
    assert_false(sigterm_came());
    assert_false(children_renew(&all, clock_mono_ns() + CHILDREN_LEAVE_NS)); /* nor is it killed */
}

/* One that died by itself is replaced, and its replacement is no old one. */
static void test_one_that_was_killed_is_replaced_once(void **state)
{
    pid_t pid = old_child(WORKER_EXIT_DONE), next;
    int status;

    (void)state;
    take(pid);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(children_reaped(&all, pid, SIGKILL));
    next = all.child[0].pid;
    assert_true(next > 0 && next != pid);
    assert_true(children_renew(&all, clock_mono_ns()));
    assert_int_equal(kill(next, 0), 0);
    assert_int_equal(all.child[0].pid, next);
    assert_false(sigterm_came());
}

static pid_t asked_to_end(void)
{
    assert_int_equal(children_start(&all, roles, 1, NULL), 0);
    assert_false(children_leave(&all, clock_mono_ns()));
    return all.child[0].pid;
}

/* The exec for which it was to end does not come while it still ends: it is replaced, and that
 * counts as no crash. */
static void test_one_that_was_to_end_is_started_again(void **state)
{
    pid_t pid = asked_to_end();
    int status;

    (void)state;
    assert_true(all.child[0].told_ns > 0);
    children_resume(&all);
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(children_reaped(&all, pid, WORKER_EXIT_DONE << 8));
    assert_true(all.child[0].state == CHILD_RUNNING && all.child[0].pid != pid);
    assert_int_equal(all.child[0].restarts, 0);
    assert_false(all.child[0].old);
}

/* The same when it has ended. */
static void test_one_that_has_ended_is_started_again(void **state)
{
    pid_t pid = asked_to_end();
    int status;

    (void)state;
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(children_reaped(&all, pid, status));
    assert_true(children_leave(&all, clock_mono_ns()));
    children_resume(&all);
    assert_true(all.child[0].state == CHILD_RUNNING && all.child[0].pid != pid);
    assert_int_equal(all.child[0].restarts, 0);
}

static uint64_t turned;

static uint64_t turned_ns(void *ctx, unsigned slot)
{
    (void)ctx, (void)slot;
    return turned;
}

/* One that crashes before its loop turns will hardly come, and whoever waits for it is told. */
static void test_one_that_crashes_at_its_start(void **state)
{
    static const struct role turning[] = {
        {.name = "worker", .count = 1, .serves = true, .entry = run, .turned_ns = turned_ns}};
    int status, n = 0;

    (void)state;
    turned = 0;
    assert_int_equal(children_start(&all, turning, 1, NULL), 0);
    for (; !children_crash(&all); n++) {
        while (all.child[0].state != CHILD_RUNNING)
            assert_true(loop_turn(loop) >= 0);
        assert_int_equal(kill(all.child[0].pid, SIGKILL), 0);
        assert_int_equal(waitpid(all.child[0].pid, &status, 0), all.child[0].pid);
        assert_true(children_reaped(&all, all.child[0].pid, SIGABRT)); /* as if of that */
    }
    assert_int_equal(n, 3);
    while (all.child[0].state != CHILD_RUNNING)
        assert_true(loop_turn(loop) >= 0);
    assert_true(children_crash(&all));
    turned = clock_mono_ns();
    assert_false(children_crash(&all));
}

static void test_one_that_cannot_be_killed(void **state)
{
    uint64_t now = clock_mono_ns(), killed = now + CHILDREN_LEAVE_NS;

    (void)state;
    assert_int_equal(children_start(&all, roles, 1, NULL), 0);
    assert_false(children_leave(&all, now));
    assert_false(children_leave(&all, killed));
    assert_int_equal(children_unkillable(&all, killed + NS_PER_S), 0);
    assert_int_equal(children_unkillable(&all, killed + 2 * NS_PER_S), all.child[0].pid);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_one_that_has_ended_is_not_asked_to_end, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_one_that_was_killed_is_replaced_once, setup, teardown),
        cmocka_unit_test_setup_teardown(test_one_that_was_to_end_is_started_again, setup, teardown),
        cmocka_unit_test_setup_teardown(test_one_that_has_ended_is_started_again, setup, teardown),
        cmocka_unit_test_setup_teardown(test_one_that_crashes_at_its_start, setup, teardown),
        cmocka_unit_test_setup_teardown(test_one_that_cannot_be_killed, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
