/* proc.c, with real processes and descriptors. That a process is exiting can only be seen from
 * within its close(2): tests/integration/test_kills.py. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "workers/op/proc.h"

/* A child that does nothing until it is killed. `name`: as shown in /proc. */
static pid_t sleeper(const char *name)
{
    int ready[2];
    pid_t pid;
    char c;

    assert_int_equal(pipe(ready), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        prctl(PR_SET_NAME, name);
        close(ready[0]);
        close(ready[1]);
        for (;;)
            pause();
    }
    close(ready[1]);
    assert_int_equal(read(ready[0], &c, 1), 0);
    close(ready[0]);
    return pid;
}

static void end_child(pid_t pid)
{
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void sees_itself(void **state)
{
    struct proc_info a, b;

    (void)state;
    proc_look((uint32_t)getpid(), &a);
    assert_true(a.known);
    assert_int_equal(a.tgid, getpid());
    assert_true(a.start > 0);
    assert_false(a.exiting);
    assert_int_equal(a.signal, 0);
    proc_look((uint32_t)getpid(), &b);
    assert_int_equal(a.start, b.start);
}

static void sees_a_child(void **state)
{
    struct proc_info own, child;
    pid_t pid = sleeper("child");

    (void)state;
    proc_look((uint32_t)getpid(), &own);
    proc_look((uint32_t)pid, &child);
    end_child(pid);
    assert_true(child.known);
    assert_int_equal(child.tgid, pid);
    assert_true(child.start >= own.start);
    assert_false(child.exiting);
}

/* The command name may hold what the fields are told apart by. */
static void name_may_be_anything(void **state)
{
    static const char *const names[] = {") R 1 2 3", "a b) (c", "))))", "\n"};
    struct proc_info plain, odd;
    pid_t pid = sleeper("plain");

    (void)state;
    proc_look((uint32_t)pid, &plain);
    end_child(pid);
    for (int i = 0; i < 4; i++) {
        pid = sleeper(names[i]);
        proc_look((uint32_t)pid, &odd);
        end_child(pid);
        assert_true(odd.known);
        assert_int_equal(odd.tgid, pid);
        assert_in_range(odd.start, plain.start, plain.start + 60 * 100);
        assert_false(odd.exiting);
    }
}

static void *look_from_thread(void *arg)
{
    struct proc_info *info = arg;

    usleep(30000); /* so that its own start time is another */
    proc_look((uint32_t)syscall(SYS_gettid), info);
    return NULL;
}

/* A thread counts as its process: same group, same start. */
static void thread_is_its_process(void **state)
{
    struct proc_info own, thread;
    pthread_t t;

    (void)state;
    proc_look((uint32_t)getpid(), &own);
    assert_int_equal(pthread_create(&t, NULL, look_from_thread, &thread), 0);
    pthread_join(t, NULL);
    assert_true(thread.known);
    assert_int_equal(thread.tgid, getpid());
    assert_int_equal(thread.start, own.start);
}

/* A process that ended and was not waited for: PF_EXITING, and how it ended where that may be seen.
 * */
static void sees_how_it_ended(void **state)
{
    struct proc_info info;
    siginfo_t si;
    pid_t pid = sleeper("killed");

    (void)state;
    assert_int_equal(kill(pid, SIGTERM), 0);
    assert_int_equal(waitid(P_PID, (id_t)pid, &si, WEXITED | WNOWAIT), 0);
    proc_look((uint32_t)pid, &info);
    assert_int_equal(info.tgid, pid);
    assert_true(info.exiting);
    if (geteuid() == 0)
        assert_int_equal(info.signal, SIGTERM);
    waitpid(pid, NULL, 0);

    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        _exit(15); /* a number that could be taken for a signal's */
    assert_int_equal(waitid(P_PID, (id_t)pid, &si, WEXITED | WNOWAIT), 0);
    proc_look((uint32_t)pid, &info);
    assert_true(info.exiting);
    assert_int_equal(info.signal, 0);
    waitpid(pid, NULL, 0);
}

static void unknown_is_unknown(void **state)
{
    struct proc_info info;
    bool known = true;
    pid_t pid = sleeper("gone");

    (void)state;
    end_child(pid);
    proc_look(0, &info);
    assert_false(info.known);
    assert_int_equal(info.tgid, 0);
    proc_look((uint32_t)pid, &info);
    assert_false(info.known);
    assert_int_equal(info.tgid, 0);
    proc_look(UINT32_MAX, &info);
    assert_false(info.known);
    assert_false(proc_holds_write(pid, 1, &known));
    assert_false(known);
}

/* ---- descriptors ---- */

static uint64_t ino_of(int fd)
{
    struct stat st;

    assert_int_equal(fstat(fd, &st), 0);
    return st.st_ino;
}

static bool holds(uint64_t ino)
{
    bool known = false, r = proc_holds_write(getpid(), ino, &known);

    assert_true(known);
    return r;
}

/* The same file once more. */
static int reopen(int fd, int flags)
{
    char path[64];
    int r;

    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    r = open(path, flags | O_CLOEXEC);
    assert_true(r >= 0);
    return r;
}

static void finds_writers(void **state)
{
    int fd = memfd_create("test", MFD_CLOEXEC), copy, other;
    uint64_t ino = ino_of(fd);

    (void)state;
    assert_true(holds(ino));
    copy = dup(fd);
    close(fd);
    assert_true(holds(ino));
    other = reopen(copy, O_WRONLY | O_APPEND);
    close(copy);
    assert_true(holds(ino));
    fd = reopen(other, O_RDONLY);
    close(other);
    assert_false(holds(ino)); /* only for reading */
    other = reopen(fd, O_RDWR);
    assert_true(holds(ino));
    close(other);
    close(fd);
    assert_false(holds(ino));
}

static void another_file_does_not_count(void **state)
{
    int a = memfd_create("a", MFD_CLOEXEC), b = memfd_create("b", MFD_CLOEXEC);
    uint64_t ino = ino_of(a);

    (void)state;
    close(a);
    assert_false(holds(ino));
    assert_true(holds(ino_of(b)));
    assert_false(holds(ino_of(b) * 10));
    close(b);
}

static void finds_directories(void **state)
{
    int fd = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    uint64_t ino = ino_of(fd);
    pid_t pid = sleeper("heir");

    (void)state;
    assert_true(proc_has_dir((uint32_t)getpid(), ino));
    close(fd);
    assert_false(proc_has_dir((uint32_t)getpid(), ino));
    assert_true(proc_has_dir((uint32_t)pid, ino));
    end_child(pid);
    assert_false(proc_has_dir((uint32_t)pid, ino));
    assert_false(proc_has_dir(0, ino));
    assert_false(proc_has_dir(UINT32_MAX, ino));
}

/* A child has what it inherited, and its parent may have closed it. */
static void finds_it_in_a_child(void **state)
{
    int fd = memfd_create("test", MFD_CLOEXEC);
    uint64_t ino = ino_of(fd);
    pid_t pid = sleeper("heir");
    bool known;

    (void)state;
    close(fd);
    assert_false(holds(ino));
    assert_true(proc_holds_write(pid, ino, &known));
    assert_true(known);
    end_child(pid);
}

/* On the mount of that file alone. */
static void counts_writers(void **state)
{
    int a = memfd_create("a", MFD_CLOEXEC), b = memfd_create("b", MFD_CLOEXEC), elsewhere;
    uint64_t ino = ino_of(a);
    uint32_t n = 0;
    bool known;

    (void)state;
    elsewhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
    n = proc_writes_beside(getpid(), ino, &known);
    assert_true(known && n >= 2);
    close(b);
    assert_int_equal(proc_writes_beside(getpid(), ino, &known), n - 1);
    close(elsewhere);
    assert_int_equal(proc_writes_beside(getpid(), ino, &known), n - 1);
    close(a);
    assert_int_equal(proc_writes_beside(getpid(), ino, &known), 0);
    assert_true(known);
    assert_int_equal(proc_writes_beside(INT32_MAX, ino, &known), 0);
    assert_false(known);
}

/* Two are kept back: for a directory and a file in it. */
static void looks_without_a_free_descriptor(void **state)
{
    int fd = memfd_create("test", MFD_CLOEXEC), low;
    struct rlimit old, none;
    struct proc_info info;
    bool known;

    (void)state;
    proc_keep_spares();
    low = dup(fd);
    close(low);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
    none = old;
    none.rlim_cur = (rlim_t)low;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    assert_true(dup(fd) < 0 && errno == EMFILE);
    for (int i = 0; i < 3; i++) {
        proc_look((uint32_t)getpid(), &info);
        assert_true(info.known);
        assert_false(proc_is_dying((uint32_t)getpid()));
        assert_true(proc_holds_write(getpid(), ino_of(fd), &known));
        assert_true(known);
    }
    assert_true(dup(fd) < 0 && errno == EMFILE); /* and are kept again */
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sees_itself),          cmocka_unit_test(sees_a_child),
        cmocka_unit_test(name_may_be_anything), cmocka_unit_test(thread_is_its_process),
        cmocka_unit_test(sees_how_it_ended),    cmocka_unit_test(unknown_is_unknown),
        cmocka_unit_test(finds_writers),        cmocka_unit_test(another_file_does_not_count),
        cmocka_unit_test(finds_directories),    cmocka_unit_test(finds_it_in_a_child),
        cmocka_unit_test(counts_writers),       cmocka_unit_test(looks_without_a_free_descriptor),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
