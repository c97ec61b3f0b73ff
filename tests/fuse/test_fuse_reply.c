/* fuse_reply, fuse_attr: the bytes that go to the kernel, over a socket pair in its place. */
#include <dirent.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "fuse/fuse_attr.h"
#include "fuse/fuse_notify.h"
#include "fuse/fuse_reply.h"

struct ends {
    int ours;
    int kernel;
};

static int open_ends(void **state)
{
    static struct ends e;
    int fds[2];

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) < 0)
        return -1;
    e.ours = fds[0];
    e.kernel = fds[1];
    *state = &e;
    return 0;
}

static int close_ends(void **state)
{
    struct ends *e = *state;

    if (e->ours >= 0)
        close(e->ours);
    close(e->kernel);
    return 0;
}

/* Receives one message, checks its header; the bytes after it. */
static size_t receive(const struct ends *e, uint64_t unique, int error, char *body, size_t cap)
{
    struct fuse_out_header out;
    char buf[65536];
    ssize_t n = read(e->kernel, buf, sizeof(buf));

    assert_true(n >= (ssize_t)sizeof(out));
    memcpy(&out, buf, sizeof(out));
    assert_int_equal(out.len, n);
    assert_true(out.unique == unique);
    assert_int_equal(out.error, error);
    assert_true((size_t)n - sizeof(out) <= cap);
    memcpy(body, buf + sizeof(out), (size_t)n - sizeof(out));
    return (size_t)n - sizeof(out);
}

static void test_errors(void **state)
{
    struct ends *e = *state;
    char body[8];

    assert_int_equal(fuse_reply_err(e->ours, 7, -EEXIST), 0);
    assert_int_equal(receive(e, 7, -EEXIST, body, 8), 0);
    assert_int_equal(fuse_reply_err(e->ours, UINT64_MAX, 0), 0);
    assert_int_equal(receive(e, UINT64_MAX, 0, body, 8), 0);
}

static void test_data(void **state)
{
    struct ends *e = *state;
    struct iovec iov[FUSE_REPLY_IOV + 1];
    char body[FUSE_REPLY_IOV];

    assert_int_equal(fuse_reply_buf(e->ours, 8, "hello", 5), 0);
    assert_int_equal(receive(e, 8, 0, body, sizeof(body)), 5);
    assert_memory_equal(body, "hello", 5);

    assert_int_equal(fuse_reply_buf(e->ours, 8, NULL, 0), 0);
    assert_int_equal(receive(e, 8, 0, body, sizeof(body)), 0);

    for (int i = 0; i <= FUSE_REPLY_IOV; i++)
        iov[i] = (struct iovec){.iov_base = &"0123456789"[i % 10], .iov_len = 1};
    assert_int_equal(fuse_reply_data(e->ours, 9, iov, FUSE_REPLY_IOV), 0);
    assert_int_equal(receive(e, 9, 0, body, sizeof(body)), FUSE_REPLY_IOV);
    for (int i = 0; i < FUSE_REPLY_IOV; i++)
        assert_int_equal(body[i], '0' + i % 10);

    assert_int_equal(fuse_reply_data(e->ours, 9, iov, FUSE_REPLY_IOV + 1), -EINVAL);
    iov[0].iov_len = UINT32_MAX; /* longer than a header can tell */
    assert_int_equal(fuse_reply_data(e->ours, 9, iov, 1), -EINVAL);
}

/* Unique 0 would be taken for a notification. */
static void test_no_unique(void **state)
{
    struct ends *e = *state;
    char byte;

    assert_int_equal(fuse_reply_err(e->ours, 0, -EIO), -EINVAL);
    assert_int_equal(fuse_reply_buf(e->ours, 0, "x", 1), -EINVAL);
    assert_int_equal(read(e->kernel, &byte, 1), -1);
    assert_int_equal(errno, EAGAIN);
}

static void test_write_errors_come_back(void **state)
{
    struct ends *e = *state;

    close(e->ours);
    e->ours = -1;
    assert_int_equal(fuse_reply_err(-1, 1, 0), -EBADF);
    assert_int_equal(fuse_notify_inval_inode(-1, 1, 0, 0), -EBADF);
}

static void test_dirents(void **state)
{
    _Alignas(8) char buf[24 + 8 + 24 + 16];
    struct fuse_dirent d;
    size_t used = 0;

    (void)state;
    memset(buf, 0xff, sizeof(buf));
    assert_int_equal(fuse_dirent_size(1), 32);
    assert_int_equal(fuse_dirent_size(8), 32);
    assert_int_equal(fuse_dirent_size(9), 40);
    assert_true(fuse_dirent_put(buf, sizeof(buf), &used, 5, 1, DT_REG, "a", 1));
    assert_int_equal(used, 32);
    assert_true(fuse_dirent_put(buf, sizeof(buf), &used, 6, 2, DT_DIR, "ninebytes", 9));
    assert_int_equal(used, sizeof(buf));
    assert_false(fuse_dirent_put(buf, sizeof(buf), &used, 7, 3, DT_DIR, "x", 1));
    assert_int_equal(used, sizeof(buf));

    memcpy(&d, buf + 32, sizeof(d));
    assert_int_equal(d.ino, 6);
    assert_int_equal(d.off, 2);
    assert_int_equal(d.type, DT_DIR);
    assert_int_equal(d.namelen, 9);
    assert_memory_equal(buf + 24, "a\0\0\0\0\0\0\0", 8);
    assert_memory_equal(buf + 56, "ninebytes\0\0\0\0\0\0\0", 16);
}

static void test_dirent_one_byte_short(void **state)
{
    (void)state;
    for (size_t name_len = 1; name_len <= FUSE_NAME_BYTES; name_len++) {
        size_t size = fuse_dirent_size(name_len);
        size_t plus = fuse_direntplus_size(name_len);
        char name[FUSE_NAME_BYTES];
        struct fuse_entry_out entry = {.nodeid = 9};
        char *buf = malloc(plus); /* exactly, for the address sanitizer */
        size_t used = 0;

        assert_non_null(buf);
        memset(name, 'n', sizeof(name));
        assert_false(fuse_dirent_put(buf, size - 1, &used, 1, 1, DT_REG, name, name_len));
        assert_false(
            fuse_direntplus_put(buf, plus - 1, &used, 1, 1, DT_REG, name, name_len, &entry));
        assert_int_equal(used, 0);
        assert_true(fuse_direntplus_put(buf, plus, &used, 1, 1, DT_REG, name, name_len, &entry));
        assert_int_equal(used, plus);
        used = SIZE_MAX; /* beyond the buffer: nothing fits */
        assert_false(fuse_dirent_put(buf, size, &used, 1, 1, DT_REG, name, name_len));
        free(buf);
    }
}

static void test_direntplus(void **state)
{
    _Alignas(8) char buf[256];
    struct fuse_entry_out entry = {.nodeid = 77};
    struct fuse_direntplus d;
    size_t used = 0;

    (void)state;
    entry.attr.size = 1234;
    assert_int_equal(fuse_direntplus_size(3), 128 + 32);
    assert_true(fuse_direntplus_put(buf, sizeof(buf), &used, 5, 6, DT_REG, "abc", 3, &entry));
    memcpy(&d, buf, sizeof(d));
    assert_int_equal(d.entry_out.nodeid, 77);
    assert_int_equal(d.entry_out.attr.size, 1234);
    assert_int_equal(d.dirent.ino, 5);
    assert_int_equal(d.dirent.namelen, 3);
    assert_memory_equal(buf + 152, "abc\0\0\0\0\0", 8);
}

static void test_attr(void **state)
{
    struct fuse_attr_src src = {
        .ino = 3,
        .size = 1025,
        .atime_ns = -1, /* a nanosecond before the epoch */
        .mtime_ns = 1500000000123456789,
        .ctime_ns = -1000000000,
        .mode = S_IFREG | 0640,
        .nlink = 1,
        .uid = 10,
        .gid = 20,
    };
    struct fuse_attr a;

    (void)state;
    memset(&a, 0xff, sizeof(a));
    fuse_attr_fill(&a, &src);
    assert_int_equal(a.ino, 3);
    assert_int_equal(a.size, 1025);
    assert_int_equal(a.blocks, 3);
    assert_true(a.atime == (uint64_t)-1);
    assert_int_equal(a.atimensec, 999999999);
    assert_int_equal(a.mtime, 1500000000);
    assert_int_equal(a.mtimensec, 123456789);
    assert_true(a.ctime == (uint64_t)-1);
    assert_int_equal(a.ctimensec, 0);
    assert_int_equal(a.mode, S_IFREG | 0640);
    assert_int_equal(a.nlink, 1);
    assert_int_equal(a.uid, 10);
    assert_int_equal(a.gid, 20);
    assert_int_equal(a.blksize, 4096);
    assert_int_equal(a.rdev, 0);
    assert_int_equal(a.flags, 0);

    src.size = INT64_MAX;
    src.blksize = 131072;
    fuse_attr_fill(&a, &src);
    assert_true(a.blocks == (uint64_t)1 << 54);
    assert_int_equal(a.blksize, 131072);
}

static void test_entry(void **state)
{
    struct fuse_entry_out e;
    struct fuse_attr_out a;

    (void)state;
    memset(&e, 0xff, sizeof(e));
    fuse_entry_fill(&e, 5, 6, 1500000000, 250000000);
    assert_int_equal(e.nodeid, 5);
    assert_int_equal(e.generation, 6);
    assert_int_equal(e.entry_valid, 1);
    assert_int_equal(e.entry_valid_nsec, 500000000);
    assert_int_equal(e.attr_valid, 0);
    assert_int_equal(e.attr_valid_nsec, 250000000);
    memset(&a, 0xff, sizeof(a));
    fuse_attr_out_fill(&a, 2000000001);
    assert_int_equal(a.attr_valid, 2);
    assert_int_equal(a.attr_valid_nsec, 1);
    assert_int_equal(a.dummy, 0);
}

static void test_notifications(void **state)
{
    struct ends *e = *state;
    struct fuse_notify_inval_inode_out inode;
    struct fuse_notify_inval_entry_out entry;
    char body[512];
    char name[FUSE_NAME_BYTES + 1];

    assert_int_equal(fuse_notify_inval_inode(e->ours, 5, 4096, 8192), 0);
    assert_int_equal(receive(e, 0, FUSE_NOTIFY_INVAL_INODE, body, 512), sizeof(inode));
    memcpy(&inode, body, sizeof(inode));
    assert_int_equal(inode.ino, 5);
    assert_int_equal(inode.off, 4096);
    assert_int_equal(inode.len, 8192);

    assert_int_equal(fuse_notify_inval_entry(e->ours, 1, "name", 4), 0);
    assert_int_equal(receive(e, 0, FUSE_NOTIFY_INVAL_ENTRY, body, 512), sizeof(entry) + 5);
    memcpy(&entry, body, sizeof(entry));
    assert_int_equal(entry.parent, 1);
    assert_int_equal(entry.namelen, 4);
    assert_int_equal(entry.flags, 0);
    assert_memory_equal(body + sizeof(entry), "name\0", 5);

    assert_int_equal(fuse_notify_expire_entry(e->ours, 1, "name", 4), 0);
    assert_int_equal(receive(e, 0, FUSE_NOTIFY_INVAL_ENTRY, body, 512), sizeof(entry) + 5);
    memcpy(&entry, body, sizeof(entry));
    assert_int_equal(entry.flags, 1);

    memset(name, 'n', sizeof(name));
    assert_int_equal(fuse_notify_inval_entry(e->ours, 1, name, sizeof(name)), -ENAMETOOLONG);
}

#define WITH_ENDS(f) cmocka_unit_test_setup_teardown(f, open_ends, close_ends)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_ENDS(test_errors),
        WITH_ENDS(test_data),
        WITH_ENDS(test_no_unique),
        WITH_ENDS(test_write_errors_come_back),
        WITH_ENDS(test_notifications),
        cmocka_unit_test(test_dirents),
        cmocka_unit_test(test_dirent_one_byte_short),
        cmocka_unit_test(test_direntplus),
        cmocka_unit_test(test_attr),
        cmocka_unit_test(test_entry),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
