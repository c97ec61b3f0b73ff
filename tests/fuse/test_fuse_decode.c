/* fuse_decode: every opcode whole, cut at every byte, lying about its sizes; random bytes.
 * Each request lies in memory of exactly its size, so that the address sanitizer sees a read
 * beyond it. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fuse/fuse_decode.h"
#include "fuse/fuse_name.h"

#define UNIQUE 0x1122334455667788
#define RANDOM_ROUNDS 200000

struct op_case {
    uint32_t opcode;
    const char *label;
    size_t arg;
    const char *name;
    const char *name2;
    size_t data; /* bytes after all that; the arguments say so */
    bool no_reply;
};

static const struct op_case op_cases[] = {
    {FUSE_LOOKUP, "LOOKUP", 0, "file.txt", NULL, 0, false},
    {FUSE_FORGET, "FORGET", 8, NULL, NULL, 0, true},
    {FUSE_GETATTR, "GETATTR", 16, NULL, NULL, 0, false},
    {FUSE_SETATTR, "SETATTR", 88, NULL, NULL, 0, false},
    {FUSE_READLINK, "READLINK", 0, NULL, NULL, 0, false},
    {FUSE_SYMLINK, "SYMLINK", 0, "link", "../target", 0, false},
    {FUSE_MKNOD, "MKNOD", 16, "node", NULL, 0, false},
    {FUSE_MKDIR, "MKDIR", 8, "dir", NULL, 0, false},
    {FUSE_UNLINK, "UNLINK", 0, "gone", NULL, 0, false},
    {FUSE_RMDIR, "RMDIR", 0, "gone", NULL, 0, false},
    {FUSE_RENAME, "RENAME", 8, "old", "new", 0, false},
    {FUSE_LINK, "LINK", 8, "hard", NULL, 0, false},
    {FUSE_OPEN, "OPEN", 8, NULL, NULL, 0, false},
    {FUSE_READ, "READ", 40, NULL, NULL, 0, false},
    {FUSE_WRITE, "WRITE", 40, NULL, NULL, 100, false},
    {FUSE_STATFS, "STATFS", 0, NULL, NULL, 0, false},
    {FUSE_RELEASE, "RELEASE", 24, NULL, NULL, 0, false},
    {FUSE_FSYNC, "FSYNC", 16, NULL, NULL, 0, false},
    {FUSE_SETXATTR, "SETXATTR", 8, "user.a", NULL, 33, false},
    {FUSE_GETXATTR, "GETXATTR", 8, "user.a", NULL, 0, false},
    {FUSE_LISTXATTR, "LISTXATTR", 8, NULL, NULL, 0, false},
    {FUSE_REMOVEXATTR, "REMOVEXATTR", 0, "user.a", NULL, 0, false},
    {FUSE_FLUSH, "FLUSH", 24, NULL, NULL, 0, false},
    {FUSE_OPENDIR, "OPENDIR", 8, NULL, NULL, 0, false},
    {FUSE_READDIR, "READDIR", 40, NULL, NULL, 0, false},
    {FUSE_RELEASEDIR, "RELEASEDIR", 24, NULL, NULL, 0, false},
    {FUSE_FSYNCDIR, "FSYNCDIR", 16, NULL, NULL, 0, false},
    {FUSE_GETLK, "GETLK", 48, NULL, NULL, 0, false},
    {FUSE_SETLK, "SETLK", 48, NULL, NULL, 0, false},
    {FUSE_SETLKW, "SETLKW", 48, NULL, NULL, 0, false},
    {FUSE_ACCESS, "ACCESS", 8, NULL, NULL, 0, false},
    {FUSE_CREATE, "CREATE", 16, "fresh", NULL, 0, false},
    {FUSE_INTERRUPT, "INTERRUPT", 8, NULL, NULL, 0, true},
    {FUSE_BMAP, "BMAP", 16, NULL, NULL, 0, false},
    {FUSE_DESTROY, "DESTROY", 0, NULL, NULL, 0, false},
    {FUSE_IOCTL, "IOCTL", 32, NULL, NULL, 17, false},
    {FUSE_POLL, "POLL", 24, NULL, NULL, 0, false},
    {FUSE_NOTIFY_REPLY, "NOTIFY_REPLY", 40, NULL, NULL, 21, true},
    {FUSE_BATCH_FORGET, "BATCH_FORGET", 8, NULL, NULL, 48, true},
    {FUSE_FALLOCATE, "FALLOCATE", 32, NULL, NULL, 0, false},
    {FUSE_READDIRPLUS, "READDIRPLUS", 40, NULL, NULL, 0, false},
    {FUSE_RENAME2, "RENAME2", 16, "old", "new", 0, false},
    {FUSE_LSEEK, "LSEEK", 24, NULL, NULL, 0, false},
    {FUSE_COPY_FILE_RANGE, "COPY_FILE_RANGE", 56, NULL, NULL, 0, false},
    {FUSE_SYNCFS, "SYNCFS", 8, NULL, NULL, 0, false},
    {FUSE_TMPFILE, "TMPFILE", 16, "/", NULL, 0, false},
    {FUSE_OP_COPY_FILE_RANGE_64, "COPY_FILE_RANGE_64", 56, NULL, NULL, 0, false},
};

#define N_CASES (sizeof(op_cases) / sizeof(op_cases[0]))

/* Where the arguments tell the size of the data. */
static void set_data_size(uint32_t opcode, void *arg, size_t size)
{
    switch (opcode) {
    case FUSE_WRITE:
        ((struct fuse_write_in *)arg)->size = (uint32_t)size;
        break;
    case FUSE_SETXATTR:
        ((struct fuse_setxattr_in *)arg)->size = (uint32_t)size;
        break;
    case FUSE_IOCTL:
        ((struct fuse_ioctl_in *)arg)->in_size = (uint32_t)size;
        break;
    case FUSE_NOTIFY_REPLY:
        ((struct fuse_notify_retrieve_in *)arg)->size = (uint32_t)size;
        break;
    case FUSE_BATCH_FORGET:
        ((struct fuse_batch_forget_in *)arg)->count = (uint32_t)(size / 16);
        break;
    default:
        break;
    }
}

static size_t put(char *buf, size_t at, const void *data, size_t len)
{
    memcpy(buf + at, data, len);
    return at + len;
}

/* Writes the request into `buf` (4 KiB); its length. */
static size_t build(const struct op_case *op, char *buf)
{
    struct fuse_in_header head = {
        .opcode = op->opcode, .unique = UNIQUE, .nodeid = 42, .uid = 1, .gid = 2, .pid = 3};
    _Alignas(8) char arg[128];
    size_t at = sizeof(head);

    memset(arg, 0x5a, sizeof(arg));
    set_data_size(op->opcode, arg, op->data);
    at = put(buf, at, arg, op->arg);
    if (op->name)
        at = put(buf, at, op->name, strlen(op->name) + 1);
    if (op->name2)
        at = put(buf, at, op->name2, strlen(op->name2) + 1);
    for (size_t i = 0; i < op->data; i++)
        buf[at++] = (char)('a' + i % 26);
    head.len = (uint32_t)at;
    put(buf, 0, &head, sizeof(head));
    return at;
}

/* The first `len` bytes of a request, in memory of that size, its header saying `said`. */
static void *cut(const char *request, size_t len, size_t said)
{
    char *copy = malloc(len ? len : 1);
    uint32_t said32 = (uint32_t)said;

    assert_non_null(copy);
    memcpy(copy, request, len);
    if (len >= sizeof(said32))
        memcpy(copy, &said32, sizeof(said32));
    return copy;
}

static void check_whole(const struct op_case *op, const struct fuse_request *req)
{
    assert_int_equal(req->opcode, op->opcode);
    assert_true(req->unique == UNIQUE);
    assert_int_equal(req->nodeid, 42);
    assert_int_equal(req->uid, 1);
    assert_int_equal(req->gid, 2);
    assert_int_equal(req->pid, 3);
    assert_int_equal(req->arg_len, op->arg);
    if (op->arg)
        assert_ptr_equal(req->arg, (const char *)req->head + 40);
    else
        assert_null(req->arg);
    if (op->name) {
        assert_string_equal(req->name, op->name);
        assert_int_equal(req->name_len, strlen(op->name));
    } else {
        assert_null(req->name);
    }
    if (op->name2) {
        assert_string_equal(req->name2, op->name2);
        assert_int_equal(req->name2_len, strlen(op->name2));
    } else {
        assert_null(req->name2);
    }
    assert_int_equal(req->data_len, op->data);
    for (size_t i = 0; i < op->data; i++)
        assert_int_equal(((const char *)req->data)[i], 'a' + i % 26);
}

static void test_every_opcode(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_CASES; i++) {
        const struct op_case *op = &op_cases[i];
        char buf[4096];
        size_t len = build(op, buf);
        void *whole = cut(buf, len, len);
        struct fuse_request req;

        assert_int_equal(fuse_decode(whole, len, &req), 0);
        check_whole(op, &req);
        assert_string_equal(fuse_op_name(op->opcode), op->label);
        assert_int_equal(fuse_wants_reply(op->opcode), !op->no_reply);
        free(whole);
    }
}

static void test_cut_at_every_byte(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_CASES; i++) {
        char buf[4096];
        size_t len = build(&op_cases[i], buf);

        for (size_t n = 0; n < len; n++) {
            struct fuse_request req;
            void *part = cut(buf, n, n);

            assert_int_equal(fuse_decode(part, n, &req), -EPROTO);
            assert_int_equal(req.head != NULL, n >= 40);
            if (n >= 40)
                assert_true(req.unique == UNIQUE);
            free(part);

            /* The header tells the whole length, but that did not come. */
            part = cut(buf, n, len);
            assert_int_equal(fuse_decode(part, n, &req), -EPROTO);
            free(part);
        }
    }
}

static void test_bytes_after_the_request(void **state)
{
    char buf[4096];
    size_t len = build(&op_cases[0], buf);
    struct fuse_request req;
    void *more;

    (void)state;
    memset(buf + len, 0, 8);
    more = cut(buf, len + 8, len); /* more was read than the header says */
    assert_int_equal(fuse_decode(more, len + 8, &req), -EPROTO);
    free(more);
    more = cut(buf, len + 8, len + 8); /* an extension */
    assert_int_equal(fuse_decode(more, len + 8, &req), 0);
    assert_string_equal(req.name, "file.txt");
    free(more);
}

static void test_data_size_lies(void **state)
{
    static const uint32_t lies[] = {101, 4096, 0x7fffffff, 0xffffffff};

    (void)state;
    for (size_t i = 0; i < N_CASES; i++) {
        const struct op_case *op = &op_cases[i];

        for (size_t k = 0; op->data && k < 4; k++) {
            char buf[4096];
            size_t len = build(op, buf);
            struct fuse_request req;
            void *copy = cut(buf, len, len);

            set_data_size(op->opcode, (char *)copy + 40, lies[k] * (size_t)16);
            if (op->opcode != FUSE_BATCH_FORGET)
                set_data_size(op->opcode, (char *)copy + 40, lies[k]);
            assert_int_equal(fuse_decode(copy, len, &req), -EPROTO);
            free(copy);
        }
    }
}

static void test_unknown_opcodes(void **state)
{
    static const uint32_t unknown[] = {0,  7,  19,   FUSE_SETUPMAPPING, FUSE_REMOVEMAPPING,
                                       52, 54, 1000, CUSE_INIT,         0xffffffff};

    (void)state;
    for (size_t i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++) {
        struct fuse_in_header head = {.len = 40, .opcode = unknown[i], .unique = UNIQUE};
        struct fuse_request req;

        assert_int_equal(fuse_decode(&head, 40, &req), -ENOSYS);
        assert_true(req.unique == UNIQUE);
        assert_true(fuse_wants_reply(unknown[i]));
        assert_string_equal(fuse_op_name(unknown[i]), "?");
    }
}

static void test_init_of_old_and_new_kernels(void **state)
{
    _Alignas(8) char buf[40 + 80];
    struct fuse_in_header head = {.opcode = FUSE_INIT, .unique = 1};

    (void)state;
    memset(buf, 0, sizeof(buf));
    for (size_t arg = 0; arg <= 80; arg += 4) {
        struct fuse_request req;
        void *copy;

        head.len = (uint32_t)(40 + arg);
        put(buf, 0, &head, sizeof(head));
        copy = cut(buf, 40 + arg, 40 + arg);
        if (arg < 16) {
            assert_int_equal(fuse_decode(copy, 40 + arg, &req), -EPROTO);
        } else {
            assert_int_equal(fuse_decode(copy, 40 + arg, &req), 0);
            assert_int_equal(req.arg_len, arg < 64 ? arg : 64);
        }
        free(copy);
    }
}

static void test_names(void **state)
{
    _Alignas(8) char buf[8192];
    struct fuse_in_header head = {.opcode = FUSE_LOOKUP, .unique = 1};
    struct fuse_request req;

    (void)state;
    /* Empty */
    head.len = 41;
    put(buf, 0, &head, sizeof(head));
    buf[40] = '\0';
    assert_int_equal(fuse_decode(buf, 41, &req), -EPROTO);
    /* Too long for a directory, but told with its length */
    memset(buf + 40, 'n', 4095);
    buf[40 + 4095] = '\0';
    head.len = 40 + 4096;
    put(buf, 0, &head, sizeof(head));
    assert_int_equal(fuse_decode(buf, head.len, &req), 0);
    assert_int_equal(req.name_len, 4095);
    /* The second is missing */
    head.opcode = FUSE_SYMLINK;
    put(buf, 0, &head, sizeof(head));
    assert_int_equal(fuse_decode(buf, head.len, &req), -EPROTO);
}

static void test_misaligned(void **state)
{
    _Alignas(8) char buf[64];
    struct fuse_in_header head = {.opcode = FUSE_STATFS, .len = 40};
    struct fuse_request req;

    (void)state;
    put(buf, 4, &head, sizeof(head));
    assert_int_equal(fuse_decode(buf + 4, 40, &req), -EPROTO);
    assert_null(req.head);
}

/* What can be long goes elsewhere. */
static size_t saved_size(const struct op_case *op, size_t len)
{
    switch (op->opcode) {
    case FUSE_WRITE:
        return 80;
    case FUSE_SETXATTR:
        return len - op->data;
    case FUSE_SYMLINK:
        return len - strlen(op->name2) - 1;
    default:
        return len;
    }
}

static void test_save_and_decode_again(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_CASES; i++) {
        const struct op_case *op = &op_cases[i];
        _Alignas(8) char record[FUSE_RECORD_BYTES];
        char buf[4096];
        size_t len = build(op, buf);
        void *whole = cut(buf, len, len);
        struct fuse_request req;
        size_t size;

        memset(record, 0xee, sizeof(record));
        assert_int_equal(fuse_decode(whole, len, &req), 0);
        size = fuse_request_size(&req);
        assert_int_equal(size, saved_size(op, len));
        assert_int_equal(fuse_request_save(&req, record, size - 1), 0);
        assert_int_equal(fuse_request_save(&req, record, sizeof(record)), size);
        free(whole);

        memset(&req, 0xee, sizeof(req));
        assert_int_equal(fuse_decode_saved(record, sizeof(record), &req), 0);
        if (op->opcode == FUSE_WRITE) {
            assert_null(req.data);
            assert_int_equal(req.data_len, 0);
            assert_int_equal(req.write->size, op->data);
        } else if (op->opcode == FUSE_SETXATTR) {
            assert_null(req.data);
            assert_int_equal(req.data_len, 0);
            assert_int_equal(req.setxattr->size, op->data);
            assert_string_equal(req.name, op->name);
        } else if (op->opcode == FUSE_SYMLINK) {
            assert_null(req.name2);
            assert_int_equal(req.name2_len, 0);
            assert_string_equal(req.name, op->name);
        } else {
            check_whole(op, &req);
        }
        /* It can be saved and decoded any number of times. */
        assert_int_equal(fuse_request_size(&req), size);
    }
}

static void test_saved_record_is_not_trusted(void **state)
{
    _Alignas(8) char record[128];
    struct fuse_in_header head = {.opcode = FUSE_LOOKUP, .len = 4000};
    struct fuse_request req;

    (void)state;
    memset(record, 'x', sizeof(record));
    put(record, 0, &head, sizeof(head));
    assert_int_equal(fuse_decode_saved(record, sizeof(record), &req), -EPROTO);
    head.len = 39;
    put(record, 0, &head, sizeof(head));
    assert_int_equal(fuse_decode_saved(record, sizeof(record), &req), -EPROTO);
    head.len = 128;
    put(record, 0, &head, sizeof(head)); /* a name without an end */
    assert_int_equal(fuse_decode_saved(record, sizeof(record), &req), -EPROTO);
}

static void check_inside(const void *p, size_t len, const char *buf, size_t cap)
{
    const char *c = p;

    if (!p)
        return;
    assert_true(c >= buf && c <= buf + cap);
    assert_true(len <= (size_t)(buf + cap - c));
}

static void test_random_bytes(void **state)
{
    unsigned decoded = 0;

    (void)state;
    srandom(1);
    for (int round = 0; round < RANDOM_ROUNDS; round++) {
        size_t len = (size_t)random() % 300;
        char *buf = malloc(len ? len : 1);
        struct fuse_request req;
        bool saved = random() % 2;
        int r;

        assert_non_null(buf);
        for (size_t i = 0; i < len; i++)
            buf[i] = random() % 3 ? (char)(random() % 4) : (char)random();
        if (len >= 40 && random() % 8) {
            uint32_t start[2] = {(uint32_t)len, (uint32_t)random() % 60};

            memcpy(buf, start, sizeof(start));
        }
        r = saved ? fuse_decode_saved(buf, len, &req) : fuse_decode(buf, len, &req);
        assert_true(r == 0 || r == -EPROTO || r == -ENOSYS);
        if (r == 0) {
            decoded++;
            check_inside(req.arg, req.arg_len, buf, len);
            check_inside(req.name, req.name_len + 1, buf, len);
            check_inside(req.name2, req.name2_len + 1, buf, len);
            check_inside(req.data, req.data_len, buf, len);
        }
        free(buf);
    }
    assert_true(decoded > RANDOM_ROUNDS / 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_opcode),
        cmocka_unit_test(test_cut_at_every_byte),
        cmocka_unit_test(test_bytes_after_the_request),
        cmocka_unit_test(test_data_size_lies),
        cmocka_unit_test(test_unknown_opcodes),
        cmocka_unit_test(test_init_of_old_and_new_kernels),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_misaligned),
        cmocka_unit_test(test_save_and_decode_again),
        cmocka_unit_test(test_saved_record_is_not_trusted),
        cmocka_unit_test(test_random_bytes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
