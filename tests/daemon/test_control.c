/* The control socket: what is a request, who gets an answer, what a bad client can do (nothing),
 * and the file. The loop is turned by the test itself; clients are sockets of the test. */
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
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/loop.h"
#include "daemon/control.h"
#include "tests/base/scratch_dir.h"

static char path[100];
static struct loop *loop;
static struct control *control;

/* What the last request was. */
static struct {
    unsigned n;
    uint64_t client;
    enum control_request request;
} asked;

static void on_request(void *ctx, uint64_t client, enum control_request request)
{
    assert_ptr_equal(ctx, &asked);
    asked.n++;
    asked.client = client;
    asked.request = request;
}

static int open_control(const char *make_dir, struct err *err)
{
    return control_open(loop, path, make_dir, on_request, &asked, &control, err);
}

static int setup(void **state)
{
    (void)state;
    memset(&asked, 0, sizeof(asked));
    snprintf(path, sizeof(path), "%s/ctl", scratch_dir);
    return loop_new(&loop);
}

static int teardown(void **state)
{
    (void)state;
    control_close(control, false);
    control = NULL;
    loop_free(loop);
    return 0;
}

/* ---- the other end ---- */

static void on_time(struct loop_timer *t)
{
    (void)t; /* only ends a turn in which nothing happens */
}

static void turn(void)
{
    static struct loop_timer t;

    t.on_time = on_time;
    loop_timer_set(loop, &t, 2 * 1000 * 1000);
    assert_int_equal(loop_turn(loop), 0);
    loop_timer_cancel(loop, &t);
}

static int connect_client(void)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
    assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
    return fd;
}

static void say(int fd, const char *text)
{
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

/* Reads until the connection ends, turning the loop meanwhile. */
static void read_answer(int fd, char *out, size_t cap, int *ret_fd)
{
    char room[CMSG_SPACE(sizeof(int))];
    size_t len = 0;

    for (int i = 0; i < 1000; i++) {
        struct iovec iov = {out + len, cap - 1 - len};
        struct msghdr msg = {
            .msg_iov = &iov, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof(room)};
        ssize_t n = recvmsg(fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
        struct cmsghdr *c = n > 0 ? CMSG_FIRSTHDR(&msg) : NULL;

        if (c && ret_fd)
            memcpy(ret_fd, CMSG_DATA(c), sizeof(int));
        if (n == 0) {
            out[len] = '\0';
            return;
        }
        assert_true(n > 0 || errno == EAGAIN);
        len += n > 0 ? (size_t)n : 0;
        turn();
    }
    fail_msg("the answer does not end");
}

static void wait_asked(unsigned n)
{
    for (int i = 0; i < 1000 && asked.n < n; i++)
        turn();
    assert_int_equal(asked.n, n);
}

/* ---- requests ---- */

static void test_parse(void **state)
{
    enum control_request r = CONTROL_CHECK;

    (void)state;
    assert_int_equal(control_parse("", 0, &r), 0);
    assert_int_equal(control_parse("stat", 4, &r), 0);
    assert_int_equal(control_parse("status", 6, &r), 0);
    assert_int_equal(control_parse("status\n", 7, &r), 1);
    assert_int_equal(r, CONTROL_STATUS);
    assert_int_equal(control_parse("check\nmore", 10, &r), 1);
    assert_int_equal(r, CONTROL_CHECK);
    assert_int_equal(control_parse("drain\n", 6, &r), 1);
    assert_int_equal(r, CONTROL_DRAIN);
    assert_int_equal(control_parse("restart\n", 8, &r), 1);
    assert_int_equal(r, CONTROL_RESTART);
}

static void test_parse_refuses(void **state)
{
    static const char *const odd[] = {"\n",        "statu\n",  "statuss\n",  " status\n",
                                      "status \n", "STATUS\n", "status\r\n", "\xff\xfe\n"};
    enum control_request r = CONTROL_CHECK;

    (void)state;
    for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++)
        assert_int_equal(control_parse(odd[i], strlen(odd[i]), &r), -EINVAL);
    assert_int_equal(control_parse("status\0\n", 8, &r), -EINVAL);
    assert_int_equal(r, CONTROL_CHECK);
}

static void test_parse_is_bounded(void **state)
{
    char line[CONTROL_LINE_MAX];
    enum control_request r;

    (void)state;
    memset(line, 'x', sizeof(line));
    assert_int_equal(control_parse(line, sizeof(line) - 1, &r), 0);
    assert_int_equal(control_parse(line, sizeof(line), &r), -EMSGSIZE);
    line[sizeof(line) - 1] = '\n';
    assert_int_equal(control_parse(line, sizeof(line), &r), -EINVAL);
}

/* ---- answers ---- */

static void test_a_request_is_answered(void **state)
{
    char answer[100];
    int fd;

    (void)state;
    assert_int_equal(open_control(NULL, NULL), 0);
    fd = connect_client();
    say(fd, "che");
    for (int i = 0; i < 5; i++)
        turn();
    assert_int_equal(asked.n, 0);
    say(fd, "ck\n");
    wait_asked(1);
    assert_int_equal(asked.request, CONTROL_CHECK);
    control_answer(control, asked.client, "ok\n", -1, false);
    control_answer(control, asked.client, "and more\n", -1, true);
    read_answer(fd, answer, sizeof(answer), NULL);
    assert_string_equal(answer, "ok\nand more\n");
    close(fd);
}

static void test_a_descriptor_comes_along(void **state)
{
    char answer[100], text[10] = "";
    int fd, passed = -1, pipes[2];

    (void)state;
    assert_int_equal(open_control(NULL, NULL), 0);
    assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
    fd = connect_client();
    say(fd, "status\n");
    wait_asked(1);
    control_answer(control, asked.client, "ok\n", pipes[0], true);
    close(pipes[0]);
    read_answer(fd, answer, sizeof(answer), &passed);
    assert_string_equal(answer, "ok\n");
    assert_int_equal(write(pipes[1], "x", 1), 1);
    assert_int_equal(read(passed, text, sizeof(text)), 1);
    close(passed);
    close(pipes[1]);
    close(fd);
}

static void test_a_large_answer_to_a_slow_reader(void **state)
{
    static char want[CONTROL_ANSWER_MAX], got[CONTROL_ANSWER_MAX + 10];
    int fd, small = 2048;

    (void)state;
    memset(want, 'a', sizeof(want) - 2);
    want[sizeof(want) - 2] = '\n';
    assert_int_equal(open_control(NULL, NULL), 0);
    fd = connect_client();
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small)), 0);
    say(fd, "status\n");
    wait_asked(1);
    control_answer(control, asked.client, want, -1, true);
    for (int i = 0; i < 5; i++)
        turn();
    read_answer(fd, got, sizeof(got), NULL);
    assert_string_equal(got, want);
    close(fd);
}

static void test_more_than_an_answer_may_have(void **state)
{
    static char much[CONTROL_ANSWER_MAX + 2];
    char answer[10];
    int fd;

    (void)state;
    memset(much, 'a', sizeof(much) - 1);
    assert_int_equal(open_control(NULL, NULL), 0);
    fd = connect_client();
    say(fd, "status\n");
    wait_asked(1);
    control_answer(control, asked.client, much, -1, true);
    read_answer(fd, answer, sizeof(answer), NULL);
    assert_string_equal(answer, ""); /* rather nothing than half of it */
    close(fd);
}

static void test_nonsense_is_refused(void **state)
{
    static const char *const odd[] = {"reboot\n", "\xff\xff\xff\n"};
    char answer[100], line[CONTROL_LINE_MAX + 1];

    (void)state;
    assert_int_equal(open_control(NULL, NULL), 0);
    memset(line, 'x', CONTROL_LINE_MAX);
    line[CONTROL_LINE_MAX] = '\0';
    for (size_t i = 0; i < 3; i++) {
        int fd = connect_client();

        say(fd, i < 2 ? odd[i] : line);
        read_answer(fd, answer, sizeof(answer), NULL);
        assert_string_equal(answer, "error unknown request\n");
        close(fd);
    }
    assert_int_equal(asked.n, 0);
}

static void test_a_client_that_leaves(void **state)
{
    uint64_t gone;
    int fd;

    (void)state;
    assert_int_equal(open_control(NULL, NULL), 0);
    fd = connect_client();
    say(fd, "check\n");
    wait_asked(1);
    gone = asked.client;
    close(fd);
    for (int i = 0; i < 5; i++)
        turn();
    control_answer(control, gone, "ok\n", -1, true); /* nobody: no harm */
    fd = connect_client();
    say(fd, "check\n");
    wait_asked(2);
    assert_true(asked.client != gone);
    close(fd);
}

static void test_clients_are_bounded(void **state)
{
    int fd[CONTROL_CLIENTS_MAX + 1];
    char answer[100];

    (void)state;
    assert_int_equal(open_control(NULL, NULL), 0);
    for (int i = 0; i <= CONTROL_CLIENTS_MAX; i++) {
        fd[i] = connect_client();
        turn();
    }
    read_answer(fd[CONTROL_CLIENTS_MAX], answer, sizeof(answer), NULL);
    assert_string_equal(answer, "error too many control clients\n");
    close(fd[0]); /* makes room */
    close(fd[CONTROL_CLIENTS_MAX]);
    turn();
    fd[0] = connect_client();
    say(fd[0], "status\n");
    wait_asked(1);
    for (int i = 0; i < CONTROL_CLIENTS_MAX; i++)
        close(fd[i]);
}

static void test_last_words_to_all_who_wait(void **state)
{
    char answer[100];
    int waits[2], silent;

    (void)state;
    assert_int_equal(open_control(NULL, NULL), 0);
    silent = connect_client();
    for (unsigned i = 0; i < 2; i++) {
        waits[i] = connect_client();
        say(waits[i], "drain\n");
        wait_asked(i + 1);
        control_answer(control, asked.client, "ok\n", -1, false);
    }
    control_answer_all(control, "ended 0\n");
    for (unsigned i = 0; i < 2; i++) {
        read_answer(waits[i], answer, sizeof(answer), NULL);
        assert_string_equal(answer, "ok\nended 0\n");
        close(waits[i]);
    }
    close(silent);
}

/* As after an exec: the descriptors are what is left. */
static void test_handed_over(void **state)
{
    struct control_handed handed;
    struct control *next;
    struct err err = {0};
    char answer[100];
    uint64_t client;
    int waits, other, later;

    (void)state;
    assert_int_equal(open_control(NULL, NULL), 0);
    waits = connect_client();
    say(waits, "restart\n");
    wait_asked(1);
    assert_false(control_others(control, asked.client));
    other = connect_client();
    while (!control_others(control, asked.client))
        turn();
    control_hand_over(control, asked.client + 7, &handed);
    assert_int_equal(handed.client_fd, -1);
    control_hand_over(control, asked.client, &handed);
    handed.listener_fd = dup(handed.listener_fd);
    handed.client_fd = dup(handed.client_fd);
    assert_int_equal(control_take(loop, &handed, on_request, &asked, &next, &client, &err), 0);
    assert_int_not_equal(client, 0);
    later = connect_client();
    control_answer(next, client, "ok\n", -1, true);
    control_close(control, false); /* the exec closes its descriptors */
    control = next;
    read_answer(waits, answer, sizeof(answer), NULL);
    assert_string_equal(answer, "ok\n");
    say(later, "status\n");
    wait_asked(2);
    close(waits);
    close(other);
    close(later);
}

static void test_nobody_waits(void **state)
{
    struct control_handed handed;

    (void)state;
    control_hand_over(NULL, 1, &handed);
    assert_int_equal(handed.listener_fd, -1);
    assert_int_equal(handed.client_fd, -1);
    assert_false(control_others(NULL, 1));
}

/* ---- the file ---- */

static void test_mode_and_removal(void **state)
{
    struct stat st;

    (void)state;
    assert_int_equal(open_control(NULL, NULL), 0);
    assert_int_equal(lstat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    control_close(control, false);
    control = NULL;
    assert_int_equal(lstat(path, &st), -1);
}

static void test_a_stale_socket_is_replaced(void **state)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    (void)state;
    snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
    assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
    close(fd);
    assert_int_equal(open_control(NULL, NULL), 0);
    close(connect_client());
}

static void test_a_living_socket_is_not(void **state)
{
    struct err err = {0};
    struct control *second = NULL;
    struct stat st;

    (void)state;
    assert_int_equal(open_control(NULL, NULL), 0);
    assert_int_equal(control_open(loop, path, NULL, on_request, &asked, &second, &err),
                     -EADDRINUSE);
    assert_non_null(strstr(err.text, path));
    assert_null(second);
    assert_int_equal(lstat(path, &st), 0);
}

static void test_another_file_is_not(void **state)
{
    struct err err = {0};
    struct stat st;

    (void)state;
    close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    assert_int_equal(open_control(NULL, &err), -EEXIST);
    assert_int_equal(lstat(path, &st), 0);
    assert_true(S_ISREG(st.st_mode));
    unlink(path);
}

/* Somebody has put another socket there: it is not taken away at the end. */
static void test_a_socket_that_is_no_longer_ours(void **state)
{
    struct stat st;

    (void)state;
    assert_int_equal(open_control(NULL, NULL), 0);
    assert_int_equal(unlink(path), 0);
    close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    control_close(control, false);
    control = NULL;
    assert_int_equal(lstat(path, &st), 0);
    unlink(path);
}

static void test_its_directory_is_made(void **state)
{
    char sub[60];
    struct stat st;

    (void)state;
    snprintf(sub, sizeof(sub), "%s/sub", scratch_dir);
    snprintf(path, sizeof(path), "%s/sub/ctl", scratch_dir);
    assert_int_equal(open_control(sub, NULL), 0);
    assert_int_equal(lstat(sub, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    control_close(control, false);
    control = NULL;
    /* Not ours alone: a name in it could be taken away by others. */
    assert_int_equal(chmod(sub, 0777), 0);
    assert_int_equal(open_control(sub, NULL), -EPERM);
    assert_int_equal(rmdir(sub), 0);
    assert_int_equal(symlink("/tmp", sub), 0);
    assert_int_equal(open_control(sub, NULL), -EPERM);
    unlink(sub);
    /* Another directory than the default one is somebody else's to make. */
    assert_int_equal(open_control(NULL, NULL), -ENOENT);
}

static void test_a_path_that_is_too_long(void **state)
{
    char much[120];

    (void)state;
    memset(much, 'x', sizeof(much) - 1);
    much[0] = '/';
    much[sizeof(much) - 1] = '\0';
    assert_int_equal(control_open(loop, much, NULL, on_request, &asked, &control, NULL),
                     -ENAMETOOLONG);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_parse),
        T(test_parse_refuses),
        T(test_parse_is_bounded),
        T(test_a_request_is_answered),
        T(test_a_descriptor_comes_along),
        T(test_a_large_answer_to_a_slow_reader),
        T(test_more_than_an_answer_may_have),
        T(test_nonsense_is_refused),
        T(test_a_client_that_leaves),
        T(test_clients_are_bounded),
        T(test_last_words_to_all_who_wait),
        T(test_handed_over),
        T(test_nobody_waits),
        T(test_mode_and_removal),
        T(test_a_stale_socket_is_replaced),
        T(test_a_living_socket_is_not),
        T(test_another_file_is_not),
        T(test_a_socket_that_is_no_longer_ours),
        T(test_its_directory_is_made),
        T(test_a_path_that_is_too_long),
    };

    return cmocka_run_group_tests(tests, scratch_dir_make, scratch_dir_remove);
}
