/* A peer in the same process sends what a driver sends, and what none should. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "fuse/fuse_fd_socket.h"
#include "tests/base/scratch_dir.h"

#define FDS_MAX 16

static int peer, ours; /* a connection */
static struct buf message;

static int open_pair(void **state)
{
    int pair[2];

    (void)state;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
        return -1;
    peer = pair[0];
    ours = pair[1];
    buf_init(&message, FUSE_FD_MESSAGE_MAX);
    return 0;
}

static int close_pair(void **state)
{
    (void)state;
    if (peer >= 0)
        close(peer);
    close(ours);
    buf_done(&message);
    return 0;
}

/* `n` copies of `fd` beside the bytes. */
static void say(const char *text, size_t len, int fd, unsigned n)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(FDS_MAX * sizeof(int))];
    } control = {.bytes = ""};
    struct iovec iov = {.iov_base = (void *)text, .iov_len = len};
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};

    if (n) {
        struct cmsghdr *c = &control.align;

        m.msg_control = &control;
        m.msg_controllen = CMSG_SPACE(n * sizeof(int));
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(n * sizeof(int));
        for (unsigned i = 0; i < n; i++)
            memcpy(CMSG_DATA(c) + i * sizeof(int), &fd, sizeof(int));
    }
    assert_int_equal(sendmsg(peer, &m, 0), len);
}

static void hang_up(void)
{
    close(peer);
    peer = -1;
}

static unsigned count_fds(void)
{
    unsigned n = 0;

    for (int fd = 0; fd < 200; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

/* Receives what has to be refused; nothing that came stays open. */
static void refused(int code, const char *word)
{
    unsigned before = count_fds();
    struct err err = {0};
    int fd = -7;

    assert_int_equal(fuse_fd_receive(ours, -1, &message, &fd, &err), -code);
    assert_non_null(strstr(err.text, word));
    assert_int_equal(fd, -7);
    assert_int_equal(count_fds(), before);
}

static void test_one_message(void **state)
{
    struct stat sent, got;
    struct err err = {0};
    int fd;

    (void)state;
    assert_int_equal(fstat(ours, &sent), 0);
    say("{\"a\"", 4, ours, 1);
    say(": 1}", 4, -1, 0);
    hang_up();
    assert_int_equal(fuse_fd_receive(ours, -1, &message, &fd, &err), 0);
    assert_string_equal(message.data, "{\"a\": 1}");
    assert_int_equal(fstat(fd, &got), 0);
    assert_true(got.st_ino == sent.st_ino && (fcntl(fd, F_GETFD) & FD_CLOEXEC));
    close(fd);
}

static void test_the_descriptor_comes_last(void **state)
{
    int fd;

    (void)state;
    say("{", 1, -1, 0);
    say("}", 1, STDIN_FILENO, 1);
    hang_up();
    assert_int_equal(fuse_fd_receive(ours, -1, &message, &fd, NULL), 0);
    assert_string_equal(message.data, "{}");
    close(fd);
}

static void test_none_comes(void **state)
{
    (void)state;
    say("{}", 2, -1, 0);
    hang_up();
    refused(ENOMSG, "no descriptor came with the message of 2 bytes");
}

static void test_nothing_comes(void **state)
{
    (void)state;
    hang_up();
    refused(ENOMSG, "of 0 bytes");
    assert_int_equal(message.len, 0);
}

static void test_too_many_come(void **state)
{
    static const unsigned numbers[] = {2, 3, FDS_MAX};

    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        say("{}", 2, STDIN_FILENO, numbers[i]);
        hang_up();
        refused(E2BIG, "more than one");
        close_pair(state);
        assert_int_equal(open_pair(state), 0);
    }
    say("{", 1, STDIN_FILENO, 1);
    say("}", 1, STDIN_FILENO, 1);
    hang_up();
    refused(E2BIG, "more than one");
}

static void test_length(void **state)
{
    static char text[FUSE_FD_MESSAGE_MAX + 1];
    int fd;

    memset(text, ' ', sizeof(text));
    say(text, FUSE_FD_MESSAGE_MAX, STDIN_FILENO, 1);
    hang_up();
    assert_int_equal(fuse_fd_receive(ours, -1, &message, &fd, NULL), 0);
    assert_int_equal(message.len, FUSE_FD_MESSAGE_MAX);
    close(fd);
    close_pair(state);
    assert_int_equal(open_pair(state), 0);
    say(text, sizeof(text), STDIN_FILENO, 1);
    hang_up();
    refused(EMSGSIZE, "more than 65536 bytes");
}

/* At the limit of descriptors the kernel leaves it out: that is not taken for none. */
static void test_no_descriptor_is_free(void **state)
{
    struct rlimit old, lim;
    struct err err = {0};
    int fd = -7, free_fd = dup(ours), r;

    (void)state;
    close(free_fd);
    say("{}", 2, STDIN_FILENO, 1);
    assert_int_equal(shutdown(peer, SHUT_WR), 0);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
    lim = (struct rlimit){.rlim_cur = (rlim_t)free_fd, .rlim_max = old.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &lim), 0);
    r = fuse_fd_receive(ours, -1, &message, &fd, &err);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
    assert_int_equal(r, -E2BIG);
    assert_non_null(strstr(err.text, "could not be taken"));
}

static void test_asked_to_end(void **state)
{
    int stop = eventfd(1, EFD_CLOEXEC), fd;
    struct err err = {0};

    (void)state;
    say("{", 1, STDIN_FILENO, 1);
    assert_int_equal(fuse_fd_receive(ours, stop, &message, &fd, &err), -ECANCELED);
    assert_int_equal(fuse_fd_accept(ours, UINT64_MAX, stop, &fd, &err), -ECANCELED);
    assert_int_equal(fuse_fd_connect("/nowhere", UINT64_MAX, stop, &fd, &err), -ECANCELED);
    close(stop);
}

/* A listener at `name` in the directory. */
static int listen_at(const char *name, char path[64])
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    snprintf(path, 64, "%s/%s", scratch_dir, name);
    snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
    assert_int_equal(listen(fd, 1), 0);
    return fd;
}

static void test_connect_and_accept(void **state)
{
    uint64_t deadline = clock_mono_ns() + 30 * NS_PER_S;
    char path[64];
    int listener = listen_at("a", path), a, b;
    struct err err = {0};

    (void)state;
    assert_int_equal(fuse_fd_accept(listener, clock_mono_ns() + NS_PER_MS, -1, &b, &err),
                     -ETIMEDOUT);
    assert_int_equal(fuse_fd_connect(path, deadline, -1, &a, &err), 0);
    assert_int_equal(fuse_fd_accept(listener, deadline, -1, &b, &err), 0);
    assert_true(fcntl(a, F_GETFD) & FD_CLOEXEC && fcntl(b, F_GETFD) & FD_CLOEXEC);
    close(a);
    close(b);
    /* Who has come in time is taken even when it is looked at late. */
    assert_int_equal(fuse_fd_connect(path, deadline, -1, &a, &err), 0);
    assert_int_equal(fuse_fd_accept(listener, 0, -1, &b, &err), 0);
    close(a);
    close(b);
    close(listener);
    assert_int_equal(fuse_fd_connect(path, 0, -1, &a, &err), -ETIMEDOUT);
    assert_non_null(strstr(err.text, "nobody listens there any more"));
    assert_int_equal(unlink(path), 0);
    deadline = clock_mono_ns() + 2 * FUSE_FD_RETRY_MS * NS_PER_MS;
    assert_int_equal(fuse_fd_connect(path, deadline, -1, &a, &err), -ETIMEDOUT);
    assert_true(clock_mono_ns() >= deadline);
    assert_non_null(strstr(err.text, "no such socket"));
}

static void test_what_cannot_be_connected_to(void **state)
{
    char path[64], name[200];
    struct err err = {0};
    int fd;

    (void)state;
    memset(name, 'x', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    assert_int_equal(fuse_fd_connect(name, UINT64_MAX, -1, &fd, &err), -ENAMETOOLONG);
    snprintf(path, sizeof(path), "%s/a/b", scratch_dir);
    fd = open(scratch_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(symlinkat("a", fd, "a"), 0);
    close(fd);
    assert_int_equal(fuse_fd_connect(path, UINT64_MAX, -1, &fd, &err), -ELOOP);
    snprintf(path, sizeof(path), "%s/a", scratch_dir);
    assert_int_equal(unlink(path), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_pair, close_pair)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_one_message),
        TEST(test_the_descriptor_comes_last),
        TEST(test_none_comes),
        TEST(test_nothing_comes),
        TEST(test_too_many_come),
        TEST(test_length),
        TEST(test_no_descriptor_is_free),
        TEST(test_asked_to_end),
        cmocka_unit_test(test_connect_and_accept),
        cmocka_unit_test(test_what_cannot_be_connected_to),
    };

    return cmocka_run_group_tests(tests, scratch_dir_make, scratch_dir_remove);
}
