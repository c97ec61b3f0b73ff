/* The observer: the answers of a real one in its sandbox, and what happens when there is none. */
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/log.h"
#include "shm/shm_budget.h"
#include "workers/names/intent.h"
#include "workers/op/observer.h"
#include "workers/op/proc.h"
#include "workers/op/worker_abi.h"

#define SHORT_NS (50 * NS_PER_MS)
#define LONG_NS (20 * NS_PER_S)

static struct worker_env env;
static struct sandbox sb = {.on = true};
static pid_t observer;

static void start_observer(void)
{
    observer = fork();
    assert_true(observer >= 0);
    if (observer == 0) {
        sigset_t term;

        prctl(PR_SET_PDEATHSIG, SIGKILL);
        sigemptyset(&term);
        sigaddset(&term, SIGTERM);
        sigprocmask(SIG_BLOCK, &term, NULL);
        observer_use(NULL);
        _exit(observer_main(&env));
    }
}

static void end_observer(int sig, int *ret_status)
{
    assert_int_equal(kill(observer, sig), 0);
    assert_int_equal(waitpid(observer, ret_status, 0), observer);
}

static int setup(void **state)
{
    struct shm_sizes sizes;
    struct err err;

    (void)state;
    assert_int_equal(shm_budget_sizes(0, 2, 8, 0, &sizes, &err), 0);
    assert_int_equal(shm_create(&sizes, &env.shm, &err), 0);
    sandbox_look(&sb);
    env.sandbox = &sb;
    return 0;
}

/* Each test has a mailbox that nobody has used. */
static int fresh(void **state)
{
    (void)state;
    assert_int_equal(observer_boxes_new(2, &env.boxes, &env.boxes_fd), 0);
    observer_use(&env.boxes[0]);
    return 0;
}

static void the_same_as_looking(void **state)
{
    struct proc_info asked, seen;
    bool known = false;
    char path[] = "/tmp/sp-observer-XXXXXX";
    int fd = mkstemp(path), status;
    struct stat st;

    (void)state;
    assert_true(fd >= 0 && fstat(fd, &st) == 0);
    start_observer();
    proc_look((uint32_t)getpid(), &asked);
    assert_true(proc_holds_write(getpid(), st.st_ino, &known));
    assert_true(known);
    assert_false(proc_holds_write(getpid(), st.st_ino + 1, &known));
    assert_true(known);
    assert_false(proc_is_dying((uint32_t)getpid()));
    assert_false(proc_has_dir((uint32_t)getpid(), st.st_ino + 1));
    end_observer(SIGTERM, &status);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == WORKER_EXIT_DONE);
    observer_use(NULL);
    proc_look((uint32_t)getpid(), &seen);
    assert_true(asked.known && asked.tgid == getpid() && asked.parent == getppid());
    assert_true(asked.start == seen.start && !asked.exiting && !asked.execs);
    close(fd);
    unlink(path);
}

static void whoever_is_not_there(void **state)
{
    struct proc_info info = {.known = true};
    struct intent in = {.kind = INTENT_MAKE};
    int status;
    bool known = true;

    (void)state;
    start_observer();
    proc_look(INT32_MAX, &info);
    assert_false(info.known);
    proc_look(0, &info);
    assert_false(info.known);
    proc_look(UINT32_MAX, &info);
    assert_false(info.known);
    assert_false(proc_holds_write(INT32_MAX, 1, &known));
    assert_false(known);
    intent_look((uint32_t)getpid(), &in); /* it is in futex(2) */
    assert_int_equal(in.kind, INTENT_UNKNOWN);
    assert_false(intent_makes(&in, "x"));
    end_observer(SIGKILL, &status);
}

static void a_question_is_left_to_the_next_one(void **state)
{
    struct observer_box *box = &env.boxes[1];
    int status;

    (void)state;
    box->question = (struct observer_question){.what = OBSERVER_LOOK, .tid = (uint32_t)getpid()};
    atomic_store(&box->tries, 1); /* one has died at it */
    atomic_store(&box->asked, 1);
    start_observer();
    while (atomic_load(&box->answered) != 1)
        assert_int_equal(waitpid(observer, &status, WNOHANG), 0);
    assert_true(box->answer.known && box->answer.tgid == getpid());
    end_observer(SIGKILL, &status);
}

static void a_question_that_kills(void **state)
{
    struct observer_box *box = &env.boxes[1];
    int status;

    (void)state;
    box->question = (struct observer_question){.what = OBSERVER_LOOK, .tid = (uint32_t)getpid()};
    atomic_store(&box->tries, OBSERVER_TRIES);
    atomic_store(&box->asked, 1);
    start_observer();
    while (atomic_load(&box->answered) != 1)
        assert_int_equal(waitpid(observer, &status, WNOHANG), 0);
    assert_false(box->answer.known);
    end_observer(SIGKILL, &status);
}

static void nonsense(void **state)
{
    struct observer_box *box = &env.boxes[1];
    int status;

    (void)state;
    memset(&box->question, 0xff, sizeof(box->question)); /* a path without its end, among others */
    box->question.tid = (uint32_t)getpid();
    atomic_store(&box->asked, 1);
    start_observer();
    while (atomic_load(&box->answered) != 1)
        assert_int_equal(waitpid(observer, &status, WNOHANG), 0);
    assert_false(box->answer.known || box->answer.yes);
    end_observer(SIGKILL, &status);
}

static void nobody_answers(void **state)
{
    struct observer_answer a;
    uint64_t begin = clock_mono_ns();
    int status;

    (void)state;
    assert_false(observer_ask(OBSERVER_LOOK, (uint32_t)getpid(), 0, "", SHORT_NS, &a));
    assert_true(clock_mono_ns() - begin >= SHORT_NS);
    /* now it is known that nobody is there */
    begin = clock_mono_ns();
    assert_false(observer_ask(OBSERVER_LOOK, (uint32_t)getpid(), 0, "", LONG_NS, &a));
    assert_true(clock_mono_ns() - begin < LONG_NS);
    start_observer();
    while (atomic_load(&env.boxes[0].answered) != 1)
        assert_int_equal(waitpid(observer, &status, WNOHANG), 0);
    assert_true(observer_ask(OBSERVER_LOOK, (uint32_t)getpid(), 0, "", LONG_NS, &a));
    assert_true(a.known && a.tgid == getpid());
    end_observer(SIGKILL, &status);
}

#define T(fn) cmocka_unit_test_setup(fn, fresh)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(the_same_as_looking),
        T(whoever_is_not_there),
        T(a_question_is_left_to_the_next_one),
        T(a_question_that_kills),
        T(nonsense),
        T(nobody_answers),
    };

    log_init(LOG_ERR, "test");
    return cmocka_run_group_tests(tests, setup, NULL);
}
