/* Messages between a daemon and its holder: what is sent arrives, what makes no sense is refused,
 * and no descriptor stays open that nobody took. (Both ends for real: test_holder.py.) */
#include "daemon/hold_wire.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon/hold_set.h"

static int pair[2];

static int open_pair(void **state)
{
    (void)state;
    return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair);
}

static int close_pair(void **state)
{
    (void)state;
    close(pair[0]);
    close(pair[1]);
    return 0;
}

static unsigned count_open(void)
{
    unsigned n = 0;

    for (int fd = 0; fd < 256; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

static void what_is_sent_arrives(void **state)
{
    char text[HOLD_TEXT_MAX];
    int fd = -1, number = 0;

    (void)state;
    assert_int_equal(hold_recv(pair[1], text, &fd), -EAGAIN);
    assert_int_equal(hold_send_kept(pair[0], pair[0], 17), 0);
    assert_int_equal(hold_recv(pair[1], text, &fd), 5);
    assert_true(hold_parse_kept(text, &number));
    assert_int_equal(number, 17);
    assert_true(fd >= 0 && (fcntl(fd, F_GETFD) & FD_CLOEXEC));
    close(fd);
    assert_int_equal(hold_send(pair[0], -1, "begin"), 0);
    assert_int_equal(hold_recv(pair[1], text, &fd), 5);
    assert_int_equal(fd, -1);
    assert_int_equal(hold_check_peer(pair[0]), 0);
}

static void a_full_socket(void **state)
{
    int r = 0, n = 0;

    (void)state;
    while ((r = hold_send_kept(pair[0], pair[0], HOLD_RECORD)) == 0)
        n++;
    assert_int_equal(r, -EAGAIN);
    assert_true(n > 0);
}

static void send_many(int n, const char *text, size_t len)
{
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(20 * sizeof(int))];
    } u = {.room = {0}};
    struct iovec iov = {.iov_base = (void *)(uintptr_t)text, .iov_len = len};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

    if (n) {
        u.head.cmsg_len = CMSG_LEN((size_t)n * sizeof(int));
        u.head.cmsg_level = SOL_SOCKET;
        u.head.cmsg_type = SCM_RIGHTS;
        for (int i = 0; i < n; i++)
            memcpy(CMSG_DATA(&u.head) + (size_t)i * sizeof(int), &pair[0], sizeof(int));
        msg.msg_control = &u;
        msg.msg_controllen = CMSG_SPACE((size_t)n * sizeof(int));
    }
    assert_int_equal(sendmsg(pair[0], &msg, 0), len);
}

static void what_makes_no_sense(void **state)
{
    static char large[HOLD_TEXT_MAX + 1];
    unsigned before = count_open();
    char text[HOLD_TEXT_MAX];
    int fd = -1;

    (void)state;
    memset(large, 'x', sizeof(large));
    send_many(1, "a\nb", 3);
    send_many(1, "a\0b", 3);
    send_many(1, "\x7f", 1);
    send_many(2, "fd 9", 4);
    send_many(20, "fd 9", 4); /* more than are taken in */
    send_many(1, large, sizeof(large));
    send_many(0, large, HOLD_TEXT_MAX);
    for (int i = 0; i < 7; i++)
        assert_int_equal(hold_recv(pair[1], text, &fd), -EPROTO);
    assert_int_equal(fd, -1);
    assert_int_equal(count_open(), before);
}

static void numbers(void **state)
{
    static const char *const wrong[] = {
        "fd",    "fd ",   "fd 2",    "fd 65536", "fd 03",
        "fd -3", "fd 3 ", "fd 3x",   "fd x",     "fd 99999999999999999999",
        "fds 3", "Fd 3",  "record ", "records",  ""};
    int number = 7;
    unsigned n = 7;

    (void)state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        assert_false(hold_parse_kept(wrong[i], &number));
    assert_int_equal(number, 7);
    assert_true(hold_parse_kept("fd 65535", &number) && number == 65535);
    assert_true(hold_parse_kept("record", &number) && number == HOLD_RECORD);
    assert_false(hold_parse_count("end", "end", &n) || hold_parse_count("end 4097", "end", &n) ||
                 hold_parse_count("ended 1", "end", &n));
    assert_true(hold_parse_count("end 0", "end", &n) && n == 0);
}

static void a_set_is_bounded(void **state)
{
    struct hold_set set = {0};

    (void)state;
    for (int i = 0; i < HOLD_FDS_MAX; i++)
        assert_int_equal(hold_set_add(&set, i, -1), 0);
    assert_int_equal(hold_set_add(&set, HOLD_FDS_MAX, -1), -E2BIG);
    hold_set_clear(&set);
    assert_int_equal(hold_set_add(&set, 5, dup(0)), 0);
    assert_int_equal(hold_set_add(&set, 5, -1), -EEXIST);
    hold_set_clear(&set);
    assert_int_equal(set.n, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_is_sent_arrives, open_pair, close_pair),
        cmocka_unit_test_setup_teardown(a_full_socket, open_pair, close_pair),
        cmocka_unit_test_setup_teardown(what_makes_no_sense, open_pair, close_pair),
        cmocka_unit_test(numbers),
        cmocka_unit_test(a_set_is_bounded),
    };

    return cmocka_run_group_tests_name("hold_wire", tests, NULL, NULL);
}
