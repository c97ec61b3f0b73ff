/* fuse_init: negotiation with simulated kernels over a socket pair, which keeps messages
 * apart as the device does. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "fuse/fuse_init.h"

#define ALL_WANTED                                                                                 \
    (FUSE_ASYNC_READ | FUSE_BIG_WRITES | FUSE_MAX_PAGES | FUSE_ATOMIC_O_TRUNC |                    \
     FUSE_PARALLEL_DIROPS | FUSE_DO_READDIRPLUS | FUSE_ASYNC_DIO | FUSE_ABORT_ERROR)

struct kernel {
    int ours;
    int fd;
};

static const struct fuse_init_wish wish = {
    .max_write = 1 << 20,
    .max_readahead = 1 << 20,
};

static int boot(void **state)
{
    static struct kernel k;
    int fds[2];

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) < 0)
        return -1;
    k.ours = fds[0];
    k.fd = fds[1];
    *state = &k;
    return 0;
}

static int halt(void **state)
{
    struct kernel *k = *state;

    close(k->ours);
    if (k->fd >= 0)
        close(k->fd);
    return 0;
}

/* Sends INIT as a kernel of this version does: 16 bytes of arguments before 7.36, then 64. */
static void offer(const struct kernel *k, uint32_t major, uint32_t minor, uint64_t flags)
{
    struct {
        struct fuse_in_header head;
        struct fuse_init_in in;
    } m;
    size_t len = sizeof(m.head) + (minor >= 36 || major > 7 ? 64 : 16);

    memset(&m, 0, sizeof(m));
    m.head.len = (uint32_t)len;
    m.head.opcode = FUSE_INIT;
    m.head.unique = 2;
    m.in.major = major;
    m.in.minor = minor;
    m.in.max_readahead = 131072;
    m.in.flags = (uint32_t)flags;
    m.in.flags2 = (uint32_t)(flags >> 32);
    assert_int_equal(write(k->fd, &m, len), len);
}

static void answer(const struct kernel *k, int32_t error, struct fuse_init_out *ret)
{
    struct {
        struct fuse_out_header head;
        struct fuse_init_out out;
    } m;
    ssize_t n = read(k->fd, &m, sizeof(m));

    memset(ret, 0, sizeof(*ret));
    assert_int_equal(m.head.len, n);
    assert_int_equal(m.head.unique, 2);
    assert_int_equal(m.head.error, error);
    if (error == 0) {
        assert_int_equal(n, sizeof(m));
        *ret = m.out;
    }
}

static uint64_t flags_of(const struct fuse_init_out *out)
{
    return out->flags | (uint64_t)out->flags2 << 32;
}

/* Every version from the oldest served to one beyond all known, each offering everything. */
static void test_every_version(void **state)
{
    struct kernel *k = *state;
    const uint64_t never =
        FUSE_WRITEBACK_CACHE | FUSE_READDIRPLUS_AUTO | FUSE_AUTO_INVAL_DATA |
        FUSE_EXPLICIT_INVAL_DATA | FUSE_NO_OPEN_SUPPORT | FUSE_NO_OPENDIR_SUPPORT | FUSE_POSIX_ACL |
        FUSE_DONT_MASK | FUSE_EXPORT_SUPPORT | FUSE_SECURITY_CTX | FUSE_SETXATTR_EXT |
        FUSE_FLOCK_LOCKS | FUSE_POSIX_LOCKS | 1ULL << 37 | 1ULL << 40 | 1ULL << 42;

    for (uint32_t minor = FUSE_MINOR_OLDEST; minor < 60; minor++) {
        /* No kernel before 7.36 offered bit 30. */
        uint64_t offered = minor >= 36 ? UINT64_MAX : (1u << 28) - 1u;
        struct fuse_negotiated n;
        struct fuse_init_out out;
        struct err err = {0};

        offer(k, 7, minor, offered);
        assert_int_equal(fuse_init_answer(k->ours, &wish, 1000, &n, &err), 0);
        answer(k, 0, &out);
        assert_int_equal(out.major, 7);
        assert_int_equal(out.minor, minor < 45 ? minor : 45);
        assert_int_equal(n.minor, out.minor);
        assert_int_equal(n.kernel_minor, minor);
        assert_true(flags_of(&out) == n.flags);
        assert_true((n.flags & never) == 0);
        assert_true((n.flags & ALL_WANTED) == ALL_WANTED);
        assert_int_equal((n.flags & FUSE_HAS_EXPIRE_ONLY) != 0, minor >= 36);
        assert_int_equal((n.flags & FUSE_HANDLE_KILLPRIV_V2) != 0, minor >= 36);
        assert_int_equal(out.flags2 != 0, minor >= 36);
        assert_int_equal(out.max_write, 1 << 20);
        assert_int_equal(out.max_pages * sysconf(_SC_PAGESIZE), 1 << 20);
        assert_int_equal(out.max_readahead, 131072);
        assert_int_equal(out.max_background, 64);
        assert_int_equal(out.congestion_threshold, 48);
        assert_int_equal(out.time_gran, 1);
    }
}

/* Bit 30 without the upper half means nothing in flags2. */
static void test_upper_flags_need_init_ext(void **state)
{
    struct kernel *k = *state;
    struct fuse_negotiated n;
    struct fuse_init_out out;

    offer(k, 7, 38, UINT64_MAX & ~(uint64_t)FUSE_INIT_EXT);
    assert_int_equal(fuse_init_answer(k->ours, &wish, 1000, &n, NULL), 0);
    answer(k, 0, &out);
    assert_int_equal(out.flags2, 0);
    assert_true((n.flags & FUSE_HAS_EXPIRE_ONLY) == 0);
}

static void test_nothing_offered(void **state)
{
    struct kernel *k = *state;
    struct fuse_negotiated n;
    struct fuse_init_out out;

    offer(k, 7, 31, 0);
    assert_int_equal(fuse_init_answer(k->ours, &wish, 1000, &n, NULL), 0);
    answer(k, 0, &out);
    assert_true(n.flags == 0);
    assert_int_equal(n.max_pages, 32);
    assert_int_equal(out.max_write, 32 * sysconf(_SC_PAGESIZE));
}

static void test_wishes(void **state)
{
    struct kernel *k = *state;
    long page = sysconf(_SC_PAGESIZE);
    struct fuse_init_wish w = {.max_write = (uint32_t)(4 * page + 100),
                               .max_readahead = 4096,
                               .max_background = 10,
                               .congestion_threshold = 9,
                               .flock_locks = true,
                               .posix_locks = true};
    struct fuse_negotiated n;
    struct fuse_init_out out;

    offer(k, 7, 45, UINT64_MAX);
    assert_int_equal(fuse_init_answer(k->ours, &w, 1000, &n, NULL), 0);
    answer(k, 0, &out);
    assert_int_equal(out.max_write, 4 * page);
    assert_int_equal(out.max_pages, 4);
    assert_int_equal(out.max_readahead, 4096);
    assert_int_equal(out.max_background, 10);
    assert_int_equal(out.congestion_threshold, 9);
    assert_true(out.flags & FUSE_FLOCK_LOCKS);
    assert_true(out.flags & FUSE_POSIX_LOCKS);

    w.max_write = 0; /* at least a page */
    offer(k, 7, 45, UINT64_MAX);
    assert_int_equal(fuse_init_answer(k->ours, &w, 1000, &n, NULL), 0);
    answer(k, 0, &out);
    assert_int_equal(out.max_write, page);

    w.max_write = UINT32_MAX;
    offer(k, 7, 45, UINT64_MAX);
    assert_int_equal(fuse_init_answer(k->ours, &w, 1000, &n, NULL), 0);
    answer(k, 0, &out);
    assert_int_equal(out.max_write, FUSE_MAX_WRITE_MAX);
}

static void test_too_old(void **state)
{
    struct kernel *k = *state;
    static const uint32_t versions[][2] = {{7, 30}, {7, 8}, {6, 40}, {0, 0}};

    for (size_t i = 0; i < 4; i++) {
        struct fuse_negotiated n = {.minor = 99};
        struct fuse_init_out out;
        struct err err = {0};

        offer(k, versions[i][0], versions[i][1], UINT32_MAX);
        assert_int_equal(fuse_init_answer(k->ours, &wish, 1000, &n, &err), -EPROTO);
        answer(k, -EPROTO, &out);
        assert_non_null(strstr(err.text, "Linux 5.4"));
        assert_int_equal(n.minor, 99);
    }
}

/* A kernel of a later major version asks again with 7 when it is told so. */
static void test_later_major(void **state)
{
    struct kernel *k = *state;
    struct fuse_negotiated n;
    struct fuse_init_out out;

    offer(k, 8, 3, UINT64_MAX);
    offer(k, 7, 40, UINT64_MAX);
    assert_int_equal(fuse_init_answer(k->ours, &wish, 1000, &n, NULL), 0);
    answer(k, 0, &out);
    assert_int_equal(out.major, 7);
    assert_int_equal(out.flags, 0);
    answer(k, 0, &out);
    assert_int_equal(out.minor, 40);
    assert_int_equal(n.kernel_minor, 40);

    offer(k, 8, 3, UINT64_MAX); /* one that does not listen */
    offer(k, 8, 3, UINT64_MAX);
    assert_int_equal(fuse_init_answer(k->ours, &wish, 1000, &n, NULL), -EPROTO);
}

static void test_no_init_comes(void **state)
{
    struct kernel *k = *state;
    struct fuse_negotiated n;
    struct err err = {0};

    assert_int_equal(fuse_init_answer(k->ours, &wish, 20, &n, &err), -ETIMEDOUT);
    assert_int_equal(err.code, ETIMEDOUT);
    close(k->fd);
    k->fd = -1;
    assert_int_equal(fuse_init_answer(k->ours, &wish, 1000, &n, &err), -ENODEV);
}

static void test_something_else_comes(void **state)
{
    struct kernel *k = *state;
    struct fuse_in_header head = {.len = sizeof(head), .opcode = FUSE_STATFS, .unique = 2};
    struct fuse_negotiated n;
    struct fuse_init_out out;
    struct err err = {0};

    assert_int_equal(write(k->fd, &head, sizeof(head)), sizeof(head));
    assert_int_equal(fuse_init_answer(k->ours, &wish, 1000, &n, &err), -EPROTO);
    answer(k, -EIO, &out);
    assert_non_null(strstr(err.text, "STATFS"));

    assert_int_equal(write(k->fd, &head, 10), 10);
    assert_int_equal(fuse_init_answer(k->ours, &wish, 1000, &n, &err), -EPROTO);
}

#define WITH_KERNEL(f) cmocka_unit_test_setup_teardown(f, boot, halt)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_KERNEL(test_every_version),   WITH_KERNEL(test_upper_flags_need_init_ext),
        WITH_KERNEL(test_nothing_offered), WITH_KERNEL(test_wishes),
        WITH_KERNEL(test_too_old),         WITH_KERNEL(test_later_major),
        WITH_KERNEL(test_no_init_comes),   WITH_KERNEL(test_something_else_comes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
