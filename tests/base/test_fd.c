/* Whole reads and writes, small files, eventfds, and the cleanup attributes. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/fd.h"

#define BIG (1024 * 1024)

static void test_positioned(void **state)
{
    cleanup_fd int fd = memfd_create("t", MFD_CLOEXEC);
    char buf[16] = "";

    (void)state;
    assert_int_equal(fd_pwrite_full(fd, "0123456789", 10, 5), 0);
    assert_int_equal(fd_pread_full(fd, buf, 4, 7), 4);
    assert_memory_equal(buf, "2345", 4);
    assert_int_equal(fd_pread_full(fd, buf, sizeof(buf), 10), 5);
    assert_int_equal(fd_pread_full(fd, buf, sizeof(buf), 15), 0);
    assert_int_equal(fd_pread_full(fd, buf, 0, 0), 0);
    assert_int_equal(fd_pread_full(fd, buf, 1, -1), -EINVAL);
    assert_int_equal(fd_pread_full(-1, buf, 1, 0), -EBADF);
    assert_int_equal(fd_pwrite_full(-1, buf, 1, 0), -EBADF);
}

static void test_no_space(void **state)
{
    cleanup_fd int fd = open("/dev/full", O_WRONLY | O_CLOEXEC);

    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(fd_pwrite_full(fd, "x", 1, 0), -ENOSPC);
    assert_int_equal(fd_write_full(fd, "x", 1), -ENOSPC);
}

static void on_alarm(int sig)
{
    (void)sig;
}

/* Reads a pipe slowly to its end. Exits 0 if there came `total` bytes of 'w'. */
static int read_slowly(int fd, size_t total)
{
    char buf[4096];
    ssize_t n;

    while ((n = read(fd, buf, sizeof(buf))) > 0) {
        for (ssize_t i = 0; i < n; i++) {
            if (buf[i] != 'w')
                return 1;
        }
        total -= (size_t)n;
        usleep(200);
    }
    return n == 0 && total == 0 ? 0 : 1;
}

/* A pipe that takes little at once, and signals that break into the writes. */
static void test_stream_with_signals(void **state)
{
    struct sigaction act = {.sa_handler = on_alarm}, old;
    struct itimerval tick = {{0, 5000}, {0, 5000}}, off = {{0, 0}, {0, 0}};
    static char data[BIG];
    int ends[2], status;
    pid_t pid;

    (void)state;
    memset(data, 'w', BIG);
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        close(ends[1]);
        _exit(read_slowly(ends[0], BIG));
    }
    close(ends[0]);
    assert_int_equal(sigaction(SIGALRM, &act, &old), 0);
    assert_int_equal(setitimer(ITIMER_REAL, &tick, NULL), 0);
    assert_int_equal(fd_write_full(ends[1], data, BIG), 0);
    assert_int_equal(setitimer(ITIMER_REAL, &off, NULL), 0);
    assert_int_equal(sigaction(SIGALRM, &old, NULL), 0);
    close(ends[1]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void test_broken_pipe(void **state)
{
    void (*old)(int) = signal(SIGPIPE, SIG_IGN);
    int ends[2];

    (void)state;
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    close(ends[0]);
    assert_int_equal(fd_write_full(ends[1], "x", 1), -EPIPE);
    close(ends[1]);
    signal(SIGPIPE, old);
}

static void test_read_file(void **state)
{
    char path[] = "/tmp/stateproxy-test-XXXXXX";
    cleanup_fd int fd = mkostemp(path, O_CLOEXEC);
    char buf[9];

    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(fd_read_file(path, buf, sizeof(buf)), 0);
    assert_string_equal(buf, "");
    assert_int_equal(fd_write_full(fd, "12345678", 8), 0);
    assert_int_equal(fd_read_file(path, buf, sizeof(buf)), 8);
    assert_string_equal(buf, "12345678");
    assert_int_equal(fd_read_file(path, buf, 8), -EFBIG);
    assert_int_equal(fd_read_file(path, buf, 0), -EFBIG);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(fd_read_file(path, buf, sizeof(buf)), -ENOENT);
    assert_int_equal(fd_read_file("/", buf, sizeof(buf)), -EISDIR);
}

/* Its stat says 0 bytes, and it comes in pieces. */
static void test_read_proc(void **state)
{
    char buf[4096];
    ssize_t n = fd_read_file("/proc/self/stat", buf, sizeof(buf));

    (void)state;
    assert_true(n > 10);
    assert_int_equal(strlen(buf), n);
    assert_int_equal(atoi(buf), getpid());
}

static void test_nonblock(void **state)
{
    int ends[2];
    char c;

    (void)state;
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    assert_int_equal(fd_set_nonblock(ends[0]), 0);
    assert_int_equal(read(ends[0], &c, 1), -1);
    assert_int_equal(errno, EAGAIN);
    close(ends[0]);
    close(ends[1]);
    assert_int_equal(fd_set_nonblock(-1), -EBADF);
}

static void test_event(void **state)
{
    cleanup_fd int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    uint64_t v = UINT64_MAX - 1;

    (void)state;
    fd_event_clear(fd);
    fd_event_set(fd);
    fd_event_set(fd);
    assert_int_equal(read(fd, &v, sizeof(v)), sizeof(v));
    assert_int_equal(v, 2);
    fd_event_set(fd);
    fd_event_clear(fd);
    assert_int_equal(read(fd, &v, sizeof(v)), -1);
    v = UINT64_MAX - 1; /* full */
    assert_int_equal(write(fd, &v, sizeof(v)), sizeof(v));
    fd_event_set(fd);
    assert_int_equal(read(fd, &v, sizeof(v)), sizeof(v));
    assert_true(v == UINT64_MAX - 1);
}

static void leave_scope(int fd, char *memory, bool take)
{
    cleanup_fd int own_fd = fd;
    cleanup_free char *own = memory;
    cleanup_fd int none = -1;

    (void)none;
    if (take) {
        assert_int_equal(take_fd(&own_fd), fd);
        assert_ptr_equal(take_ptr(&own), memory);
        assert_int_equal(own_fd, -1);
        assert_null(own);
    }
}

static void test_cleanup(void **state)
{
    int fd = eventfd(0, EFD_CLOEXEC);
    char *memory = malloc(10);

    (void)state;
    leave_scope(fd, memory, true);
    assert_true(fcntl(fd, F_GETFD) >= 0);
    leave_scope(fd, memory, false); /* frees; a second free or a leak would show */
    assert_int_equal(fcntl(fd, F_GETFD), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_positioned),
        cmocka_unit_test(test_no_space),
        cmocka_unit_test(test_stream_with_signals),
        cmocka_unit_test(test_broken_pipe),
        cmocka_unit_test(test_read_file),
        cmocka_unit_test(test_read_proc),
        cmocka_unit_test(test_nonblock),
        cmocka_unit_test(test_event),
        cmocka_unit_test(test_cleanup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
