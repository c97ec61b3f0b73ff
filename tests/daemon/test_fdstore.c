/* Descriptors that a service manager hands in go back to their old numbers, in whatever order they
 * come; and what makes no sense is refused. (Giving and taking for real: test_fdstore.py.) */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon/fdstore.h"

static struct fdstore_left left;

/* A file at number `at` that has `mark` as its content. */
static bool put_fd(int at, int mark)
{
    int fd = memfd_create("x", 0);

    if (fd < 0 || pwrite(fd, &mark, sizeof(mark), 0) != sizeof(mark))
        return false;
    if (fd == at)
        return true;
    return dup2(fd, at) == at && close(fd) == 0;
}

static bool has_mark(int fd, int want)
{
    int mark;

    return pread(fd, &mark, sizeof(mark), 0) == sizeof(mark) && mark == want &&
           (fcntl(fd, F_GETFD) & FD_CLOEXEC);
}

static bool is_closed(int fd)
{
    return fcntl(fd, F_GETFD) < 0;
}

/* fdstore_take for `n` descriptors with these names, marked 0, 1, ...; its result. */
static int take_named(unsigned n, const char *names, pid_t pid)
{
    char a[64], b[64];
    static char c[4096];
    char *env[] = {a, b, c, NULL};
    struct err err = {0};

    for (unsigned i = 0; i < n && i < 100; i++) {
        if (!put_fd(3 + (int)i, (int)i))
            return -EIO;
    }
    snprintf(a, sizeof(a), "LISTEN_FDS=%u", n);
    snprintf(b, sizeof(b), "LISTEN_PID=%d", (int)pid);
    snprintf(c, sizeof(c), "LISTEN_FDNAMES=%s", names);
    return fdstore_take(env, &left, &err);
}

/* Runs `test` in a process that has no descriptors but the first three. */
static void in_process(bool (*test)(void))
{
    int status = 0;
    pid_t pid = fork();

    if (pid == 0) {
        syscall(SYS_close_range, 3, ~0U, 0);
        _exit(test() ? 0 : 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

static bool old_numbers(void)
{
    int r =
        take_named(6,
                   "stateproxy-fd-4:stateproxy-fd-3:stateproxy-record-3:other:stateproxy-fd-900:"
                   "stateproxy-fd-5",
                   getpid());

    return r == 0 && left.n == 4 && has_mark(4, 0) && has_mark(3, 1) && has_mark(900, 4) &&
           has_mark(5, 5) && left.record > 900 && has_mark(left.record, 2) && is_closed(6) &&
           is_closed(7) && is_closed(8);
}

static bool not_for_us(void)
{
    int r = take_named(1, "stateproxy-record-3", getpid() + 1);

    return r == 0 && left.n == 0 && left.record == -1 && !is_closed(3);
}

static bool nothing_handed_in(void)
{
    int r = take_named(0, "", getpid());

    return r == 0 && left.n == 0 && left.record == -1;
}

static bool all_closed(int from, int to)
{
    for (int fd = from; fd < to; fd++) {
        if (!is_closed(fd))
            return false;
    }
    return true;
}

/* What cannot be taken is known, so that it can be given up. */
static bool discards(unsigned n)
{
    char *none[] = {NULL};
    bool known = left.n == n;

    fdstore_discard(&left, none);
    return known && left.n == 0 && left.record == -1 && all_closed(3, 1024);
}

static bool twice(void)
{
    return take_named(3, "stateproxy-fd-9:stateproxy-record-3:stateproxy-fd-9", getpid()) ==
               -EPROTO &&
           left.record >= 0 && discards(2);
}

static bool two_records(void)
{
    return take_named(3, "stateproxy-record-3:stateproxy-fd-9:stateproxy-record-3", getpid()) ==
               -EPROTO &&
           left.record >= 0 && discards(1);
}

static bool too_many(void)
{
    bool refused = take_named(FDSTORE_MAX + 1, "stateproxy-fd-9", getpid()) == -E2BIG;

    syscall(SYS_close_range, 4, ~0U, 0); /* the others: not ours */
    return refused && discards(1);
}

/* One set has not been dropped, one did not become whole: the newest record holds. */
static bool several_records(void)
{
    int r = take_named(4,
                       "stateproxy-record-9:stateproxy-fd-9:stateproxy-record-10:"
                       "stateproxy-record-2",
                       getpid());

    return r == 0 && left.n == 1 && has_mark(left.record, 2) && left.n_sets == 3 &&
           left.set[0] == 10 && left.set[1] + left.set[2] == 11 && discards(1);
}

static bool many_records(void)
{
    char names[600] = "stateproxy-fd-90";

    for (unsigned i = 0; i <= FDSTORE_RECORDS_MAX; i++)
        snprintf(names + strlen(names), sizeof(names) - strlen(names), ":stateproxy-record-%u", i);
    return take_named(FDSTORE_RECORDS_MAX + 2, names, getpid()) == -EPROTO && discards(1);
}

static bool no_record(void)
{
    return take_named(2, "stateproxy-fd-9:other", getpid()) == 0 && left.record == -1 &&
           discards(1);
}

/* No descriptor can be had above: the limit is lowered, and may not be raised. */
static bool no_room(void)
{
    struct rlimit lim = {.rlim_cur = 8, .rlim_max = 8};

    if (setrlimit(RLIMIT_NOFILE, &lim) < 0 || (geteuid() == 0 && setresuid(1, 1, 1) < 0))
        return false;
    return take_named(3, "stateproxy-fd-900:stateproxy-record-3:stateproxy-fd-4", getpid()) < 0 &&
           left.record >= 0 && discards(2);
}

/* Names that are none, and fewer than descriptors: not ours. If one is, the others are closed. */
static bool odd_names(void)
{
    int r = take_named(7,
                       "stateproxy-fd-:stateproxy-fd-2:stateproxy-fd-x:stateproxy-fd-99999:"
                       "stateproxy-fd-123456:stateproxy-fd-9",
                       getpid());

    return r == 0 && left.n == 1 && left.record == -1 && all_closed(3, 9) && has_mark(9, 5);
}

/* All are somebody else's, such as the mount that a launcher has made. */
static bool none_is_ours(void)
{
    int r = take_named(3, "fuse:stateproxy-fd-x", getpid());

    return r == 0 && left.n == 0 && left.record == -1 && !is_closed(3) && !is_closed(4) &&
           !is_closed(5);
}

static void test_take(void **state)
{
    (void)state;
    in_process(old_numbers);
    in_process(not_for_us);
    in_process(nothing_handed_in);
    in_process(twice);
    in_process(two_records);
    in_process(several_records);
    in_process(many_records);
    in_process(too_many);
    in_process(no_record);
    in_process(no_room);
    in_process(odd_names);
    in_process(none_is_ours);
}

/* A keeper at `path`; *ret_env gets its NOTIFY_SOCKET. */
static int keeper_new(char path[100], char env_text[128])
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    snprintf(path, 100, "/tmp/test-fdstore-%d", (int)getpid());
    snprintf(env_text, 128, "NOTIFY_SOCKET=%s", path);
    memcpy(addr.sun_path, path, strlen(path) + 1);
    return bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 ? -1 : fd;
}

/* What is discarded is closed, and the keeper is asked to drop it. */
static bool discard(void)
{
    char path[100], env_text[128], got[128];
    char *env[] = {env_text, NULL};
    int fd, n = 0;

    if (take_named(3, "stateproxy-fd-20:stateproxy-fd-30:stateproxy-record-5", getpid()) != 0)
        return false;
    fd = keeper_new(path, env_text);
    if (fd < 0)
        return false;
    fdstore_discard(&left, env);
    unlink(path);
    while (recv(fd, got, sizeof(got), 0) > 0)
        n += memcmp(got, "FDSTOREREMOVE=1\nFDNAME=stateproxy-", 34) == 0;
    return n == 3 && is_closed(20) && is_closed(30) && left.n == 0;
}

#define MANY 900 /* more than the queue of a socket holds */

/* A keeper that is slow to read gets every message. */
static bool slow_keeper(void)
{
    static int number[MANY];
    const unsigned set = 1;
    char path[100], env_text[128], got[128];
    char *env[] = {env_text, NULL};
    int fd = keeper_new(path, env_text), n = 0;
    struct pollfd p = {.fd = fd, .events = POLLIN};
    struct sd_notify notify;
    pid_t pid;

    if (fd < 0)
        return false;
    sd_notify_init(&notify, env);
    pid = fork();
    if (pid == 0) {
        fdstore_remove(&notify, &set, 1, number, MANY);
        _exit(0);
    }
    while (n < MANY + 1 && poll(&p, 1, 5000) == 1)
        n += recv(fd, got, sizeof(got), 0) > 0;
    unlink(path);
    return n == MANY + 1 && waitpid(pid, NULL, 0) == pid;
}

/* The keeper has its copy of a listener still, but nobody can connect. */
static bool listener_ends(void)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX, .sun_path = "x/test-fdstore-listener"};
    socklen_t len = sizeof(sa_family_t) + 24;
    char *none[] = {NULL};
    int copy, client = socket(AF_UNIX, SOCK_STREAM, 0);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    addr.sun_path[0] = '\0'; /* abstract */
    if (dup2(client, 50) < 0 || dup2(fd, 51) < 0 || close(client) < 0 || close(fd) < 0 ||
        bind(51, (struct sockaddr *)&addr, len) < 0 || listen(51, 1) < 0)
        return false;
    copy = dup(51);
    left = (struct fdstore_left){.record = -1, .n = 1, .number = {51}, .at = {51}};
    fdstore_discard(&left, none);
    return copy >= 0 && is_closed(51) && connect(50, (struct sockaddr *)&addr, len) < 0 &&
           errno == ECONNREFUSED;
}

static void test_discard(void **state)
{
    (void)state;
    in_process(discard);
    in_process(slow_keeper);
    in_process(listener_ends);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_take),
        cmocka_unit_test(test_discard),
    };

    return cmocka_run_group_tests_name("fdstore", tests, NULL, NULL);
}
