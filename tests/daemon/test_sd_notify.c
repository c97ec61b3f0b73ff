/* Datagrams to a service manager that is a socket of the test's own. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "daemon/sd_notify.h"
#include "tests/base/scratch_dir.h"

/* Binds `name` ("@x": abstract) as a datagram socket. */
static int listen_at(const char *name)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    socklen_t len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(name));

    snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", name);
    if (*name == '@')
        addr.sun_path[0] = '\0';
    else
        len++;
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&addr, len), 0);
    return fd;
}

static void init(struct sd_notify *n, const char *sock, const char *usec, const char *pid)
{
    char a[200], b[200], c[200];
    char *env[4] = {NULL};
    int i = 0;

    snprintf(a, sizeof(a), "NOTIFY_SOCKET=%s", sock ? sock : "");
    snprintf(b, sizeof(b), "WATCHDOG_USEC=%s", usec ? usec : "");
    snprintf(c, sizeof(c), "WATCHDOG_PID=%s", pid ? pid : "");
    if (sock)
        env[i++] = a;
    if (usec)
        env[i++] = b;
    if (pid)
        env[i++] = c;
    sd_notify_init(n, env);
}

static void assert_received(int fd, const char *want)
{
    char got[2048];
    ssize_t n = recv(fd, got, sizeof(got) - 1, 0);

    assert_true(n >= 0);
    got[n] = '\0';
    assert_string_equal(got, want);
}

static void test_a_path(void **state)
{
    struct sd_notify n;
    char path[100];
    int fd;

    (void)state;
    snprintf(path, sizeof(path), "%s/sock", scratch_dir);
    fd = listen_at(path);
    init(&n, path, NULL, NULL);
    assert_int_equal(sd_notify_send(&n, "READY=1\nSTATUS=%d workers", 2), 0);
    assert_received(fd, "READY=1\nSTATUS=2 workers");
    assert_int_equal(sd_notify_send(&n, "WATCHDOG=1"), 0);
    assert_received(fd, "WATCHDOG=1");
    close(fd);
    /* The manager has gone: told to who asks, and nothing else happens. */
    assert_int_equal(sd_notify_send(&n, "WATCHDOG=1"), -ECONNREFUSED);
    unlink(path);
    assert_int_equal(sd_notify_send(&n, "WATCHDOG=1"), -ENOENT);
}

/* A descriptor arrives with its message; a listener that does not read is not waited for. */
static void test_descriptors(void **state)
{
    struct iovec iov;
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(sizeof(int))];
    } u;
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &u};
    struct sd_notify n;
    char path[100], text[100];
    int fd, passed, r = 0;
    struct stat before, after;

    (void)state;
    snprintf(path, sizeof(path), "%s/sock", scratch_dir);
    fd = listen_at(path);
    init(&n, path, NULL, NULL);
    assert_int_equal(sd_notify_send_fd(&n, fd, "FDSTORE=1\nFDNAME=x-%d", 7), 0);
    iov = (struct iovec){.iov_base = text, .iov_len = sizeof(text)};
    msg.msg_controllen = sizeof(u);
    assert_int_equal(recvmsg(fd, &msg, 0), 20);
    assert_memory_equal(text, "FDSTORE=1\nFDNAME=x-7", 20);
    assert_int_equal(u.head.cmsg_type, SCM_RIGHTS);
    memcpy(&passed, CMSG_DATA(&u.head), sizeof(passed));
    assert_int_equal(fstat(fd, &before) | fstat(passed, &after), 0);
    assert_true(before.st_ino == after.st_ino);
    close(passed);
    for (int i = 0; i < 100000 && r == 0; i++)
        r = sd_notify_send_fd(&n, STDERR_FILENO, "FDSTORE=1");
    assert_int_equal(r, -EAGAIN);
    close(fd);
    unlink(path);
    init(&n, NULL, NULL, NULL);
    assert_int_equal(sd_notify_send_fd(&n, STDERR_FILENO, "FDSTORE=1"), -ENOENT);
}

static void test_an_abstract_name(void **state)
{
    struct sd_notify n;
    char name[100];
    int fd;

    (void)state;
    snprintf(name, sizeof(name), "@%s/abstract", scratch_dir);
    fd = listen_at(name);
    init(&n, name, NULL, NULL);
    assert_int_equal(sd_notify_send(&n, "STOPPING=1"), 0);
    assert_received(fd, "STOPPING=1");
    close(fd);
}

static void test_nobody_listens(void **state)
{
    static const char *const odd[] = {NULL, "", "@", "/", "relative", "vsock:2:1"};
    struct sd_notify n;
    char longer[150];

    (void)state;
    for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {
        init(&n, odd[i], NULL, NULL);
        assert_int_equal(n.addr_len, 0);
        assert_int_equal(sd_notify_send(&n, "READY=1"), 0);
    }
    memset(longer, 'x', sizeof(longer));
    longer[0] = '/';
    for (size_t len = 106; len < 112; len++) {
        longer[len] = '\0';
        init(&n, longer, NULL, NULL);
        assert_int_equal(n.addr_len != 0, len < 108);
        longer[len] = 'x';
    }
}

static void test_a_manager_that_does_not_read_blocks_nobody(void **state)
{
    struct sd_notify n;
    char path[100];
    int fd, r = 0;

    (void)state;
    snprintf(path, sizeof(path), "%s/full", scratch_dir);
    fd = listen_at(path);
    init(&n, path, NULL, NULL);
    for (int i = 0; i < 100000 && r == 0; i++)
        r = sd_notify_send(&n, "WATCHDOG=1");
    assert_int_equal(r, -EAGAIN);
    close(fd);
    unlink(path);
}

static void test_too_long_a_message(void **state)
{
    char text[2000];
    struct sd_notify n;

    (void)state;
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    init(&n, "/nowhere", NULL, NULL);
    assert_int_equal(sd_notify_send(&n, "STATUS=%s", text), -EMSGSIZE);
}

static void test_watchdog(void **state)
{
    struct sd_notify n;
    char me[20];

    (void)state;
    snprintf(me, sizeof(me), "%d", (int)getpid());
    init(&n, NULL, "2000000", NULL);
    assert_int_equal(n.watchdog_ns, 2 * NS_PER_S);
    init(&n, NULL, "2000000", me);
    assert_int_equal(n.watchdog_ns, 2 * NS_PER_S);
    init(&n, NULL, "2000000", "1");
    assert_int_equal(n.watchdog_ns, 0); /* meant for another process */
    init(&n, NULL, "2000000", "nobody");
    assert_int_equal(n.watchdog_ns, 0);
}

static void test_watchdog_values_that_are_none(void **state)
{
    static const char *const odd[] = {
        NULL, "", "0", "-1", "1s", " 1", "+1", "99999999999999999999", "18446744073709551615"};
    struct sd_notify n;

    (void)state;
    for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {
        init(&n, NULL, odd[i], NULL);
        assert_int_equal(n.watchdog_ns, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_path),
        cmocka_unit_test(test_descriptors),
        cmocka_unit_test(test_an_abstract_name),
        cmocka_unit_test(test_nobody_listens),
        cmocka_unit_test(test_a_manager_that_does_not_read_blocks_nobody),
        cmocka_unit_test(test_too_long_a_message),
        cmocka_unit_test(test_watchdog),
        cmocka_unit_test(test_watchdog_values_that_are_none),
    };

    return cmocka_run_group_tests(tests, scratch_dir_make, scratch_dir_remove);
}
