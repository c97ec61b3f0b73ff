/* What other programs write about mode, owner, time and symbolic links; what is kept of an object's
 * metadata when they are written anew. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "workers/objmeta/meta.h"

static const struct shm_version unset = {.mode = SHM_MODE_UNSET,
                                         .uid = SHM_MODE_UNSET,
                                         .gid = SHM_MODE_UNSET,
                                         .mtime_ns = 7,
                                         .atime_ns = SHM_TIME_UNSET,
                                         .ctime_ns = SHM_TIME_UNSET};

static void add(struct s3_object *obj, const char *name, const char *value)
{
    strcpy(obj->meta + obj->meta_len, name);
    obj->meta_len += strlen(name) + 1;
    strcpy(obj->meta + obj->meta_len, value);
    obj->meta_len += strlen(value) + 1;
}

static struct shm_version read_one(const char *name, const char *value, bool *ret_time)
{
    struct s3_object obj = {0};
    struct shm_version v = unset;
    bool timed;

    add(&obj, name, value);
    timed = meta_read(&obj, &v);
    if (ret_time)
        *ret_time = timed;
    return v;
}

static void test_modes(void **state)
{
    static const struct {
        const char *text;
        uint32_t mode;
    } rows[] = {
        {"33188", 0644}, /* s3fs: decimal, with type */
        {"33261", 0755},
        {"100644", 0644}, /* rclone: octal, with type */
        {"0100600", 0600},
        {"0640", 0640},
        {"644", 0644},
        {"33188x", SHM_MODE_UNSET},
        {"-1", SHM_MODE_UNSET},
        {"", SHM_MODE_UNSET},
        {"99999999999999999999", SHM_MODE_UNSET},
        {"16877", SHM_MODE_UNSET}, /* of a directory */
        {"35309", 0755},           /* set-uid and set-gid are dropped */
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        assert_int_equal(read_one("mode", rows[i].text, NULL).mode, rows[i].mode);
}

static void test_times(void **state)
{
    static const struct {
        const char *text;
        int64_t ns; /* 7: not understood */
    } rows[] = {
        {"1700000000", INT64_C(1700000000000000000)},
        {"1700000000.5", INT64_C(1700000000500000000)},
        {"1700000000.123456789", INT64_C(1700000000123456789)},
        {"1700000000.1234567899", INT64_C(1700000000123456789)},
        {"0", 0},
        {"-5", 7},
        {"1700000000.5s", 7},
        {"99999999999999999999", 7},
        {"soon", 7},
        {"", 7},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        bool timed;

        assert_int_equal(read_one("mtime", rows[i].text, &timed).mtime_ns, rows[i].ns);
        assert_int_equal(timed, rows[i].ns != 7);
    }
}

static void test_ids(void **state)
{
    (void)state;
    assert_int_equal(read_one("uid", "1000", NULL).uid, 1000);
    assert_int_equal(read_one("gid", "0", NULL).gid, 0);
    assert_int_equal(read_one("uid", "4294967295", NULL).uid, SHM_MODE_UNSET);
    assert_int_equal(read_one("uid", "root", NULL).uid, SHM_MODE_UNSET);
}

static void test_nothing_told(void **state)
{
    struct s3_object obj = {0};
    struct shm_version v = unset;

    (void)state;
    assert_false(meta_read(&obj, &v));
    assert_true(v.meta);
    v.meta = false;
    assert_memory_equal(&v, &unset, sizeof(v));
}

static void test_links(void **state)
{
    static const struct {
        const char *mode;
        uint64_t size;
        bool link;
    } rows[] = {
        {"41471", 5, true},     {"0120777", 5, true}, {"41471", 0, false}, /* no target */
        {"41471", 4096, false},                                            /* too long for one */
        {"41471", 4095, true},  {"33188", 5, false},  {"511", 5, false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct s3_object obj = {.size = rows[i].size};
        struct shm_version v = unset;

        add(&obj, "mode", rows[i].mode);
        (void)meta_read(&obj, &v);
        assert_int_equal(v.type, rows[i].link ? S_IFLNK : 0);
    }
}

static void test_special_files(void **state)
{
    static const struct {
        const char *mode, *rdev;
        uint64_t size;
        uint32_t type, perm, number;
    } rows[] = {
        {"4516", NULL, 0, S_IFIFO, 0644, 0},      /* s3fs: decimal */
        {"10644", NULL, 0, S_IFIFO, 0644, 0},     /* rclone: octal */
        {"49645", "103", 0, S_IFSOCK, 0755, 0},   /* a socket has no number */
        {"8624", "103", 0, S_IFCHR, 0660, 0x103}, /* rclone: hexadecimal */
        {"20666", "103", 0, S_IFCHR, 0666, 0x103},
        {"60660", "ffffffff", 0, S_IFBLK, 0660, UINT32_MAX},
        {"060660", "100000000", 0, S_IFBLK, 0660, 0}, /* too large */
        {"060660", "-1", 0, S_IFBLK, 0660, 0},
        {"060660", "0x10", 0, S_IFBLK, 0660, 0},
        {"060660", "", 0, S_IFBLK, 0660, 0},
        {"4516", NULL, 1, 0, 0516, 0}, /* with content: octal permissions */
        {"33188", "103", 0, 0, 0644, 0},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct s3_object obj = {.size = rows[i].size};
        struct shm_version v = unset;

        add(&obj, "mode", rows[i].mode);
        if (rows[i].rdev)
            add(&obj, "rdev", rows[i].rdev);
        (void)meta_read(&obj, &v);
        assert_int_equal(v.type, rows[i].type);
        assert_int_equal(v.mode, rows[i].perm);
        assert_int_equal(v.rdev, rows[i].number);
    }
}

static void test_a_special_file_is_written_as_it_is_read(void **state)
{
    const struct shm_node n = {.flags = SHM_NODE_META | SHM_NODE_TYPED,
                               .mode = S_IFBLK | 01640,
                               .uid = SHM_MODE_UNSET,
                               .gid = SHM_MODE_UNSET,
                               .rdev = 0x12345,
                               .atime_ns = 5,
                               .ctime_ns = INT64_C(7000000001),
                               .session = SHM_NIL};
    struct s3_object obj = {0};
    struct shm_version v = unset;
    struct meta_out out;

    (void)state;
    meta_write(&out, &n);
    for (size_t i = 0; i < out.n; i++)
        add(&obj, out.pair[i].name, out.pair[i].value);
    assert_false(meta_read(&obj, &v));
    assert_int_equal(v.type | v.mode, n.mode);
    assert_int_equal(v.rdev, n.rdev);
    assert_int_equal(v.atime_ns, 5);
    assert_int_equal(v.ctime_ns, INT64_C(7000000001));
    assert_false(v.more);
}

static void test_markers_of_directories(void **state)
{
    struct s3_object obj = {0};
    struct shm_version v = unset;

    (void)state;
    v.dir = true;
    add(&obj, "mode", "16832"); /* 040700 */
    (void)meta_read(&obj, &v);
    assert_int_equal(v.mode, 0700);
    assert_false(v.more);
}

static void test_more(void **state)
{
    static const struct {
        const char *name;
        bool more, xattr;
    } rows[] = {
        {"mode", false, false},  {"mtime", false, false},
        {"ctime", false, false}, {"stateproxy-lineage", false, false},
        {"atime", false, false}, {"rdev", false, false},
        {"origin", true, false}, {"xattr", true, true},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct shm_version v = read_one(rows[i].name, "1", NULL);

        assert_int_equal(v.more, rows[i].more);
        assert_int_equal(v.xattr, rows[i].xattr);
    }
}

static const char *value_of(const struct meta_out *out, const char *name)
{
    const char *found = NULL;

    for (size_t i = 0; i < out->n; i++) {
        if (strcmp(out->pair[i].name, name) == 0) {
            assert_null(found);
            found = out->pair[i].value;
        }
    }
    return found;
}

static const struct shm_node a_file = {.mode = 0600,
                                       .uid = 5,
                                       .gid = SHM_MODE_UNSET,
                                       .flags = SHM_NODE_META,
                                       .session = SHM_NIL,
                                       .atime_ns = SHM_TIME_UNSET,
                                       .ctime_ns = SHM_TIME_UNSET};

static void test_what_is_kept(void **state)
{
    struct s3_object obj = {0};
    struct meta_out out;

    (void)state;
    add(&obj, "mode", "33188");
    add(&obj, "gid", "7");
    add(&obj, "ctime", "1");
    add(&obj, "stateproxy-lineage", "abc");
    add(&obj, "xattr", "old");
    add(&obj, "origin", "elsewhere");

    meta_write(&out, &a_file);
    assert_int_equal(meta_keep(&out, &obj, META_KEEP_COPY), 0);
    assert_string_equal(value_of(&out, "mode"), "33152");
    assert_string_equal(value_of(&out, "uid"), "5");
    assert_null(value_of(&out, "gid"));
    assert_null(value_of(&out, "ctime")); /* that of the node, which has none */
    assert_string_equal(value_of(&out, "stateproxy-lineage"), "abc");
    assert_string_equal(value_of(&out, "xattr"), "old");
    assert_true(out.more && out.xattr);

    meta_write(&out, &a_file);
    meta_write_xattr(&out, "new");
    assert_int_equal(meta_keep(&out, &obj, META_KEEP_NEW), 0);
    assert_null(value_of(&out, "ctime"));
    assert_null(value_of(&out, "stateproxy-lineage"));
    assert_string_equal(value_of(&out, "xattr"), "new");
    assert_string_equal(value_of(&out, "origin"), "elsewhere");

    meta_write(&out, &a_file);
    meta_write_xattr(&out, "");
    assert_int_equal(meta_keep(&out, &obj, META_KEEP_NEW), 0);
    assert_null(value_of(&out, "xattr"));
    assert_true(out.more && !out.xattr);
}

/* As many and as much as an object can have, with ours. */
static void test_all_that_an_object_can_have(void **state)
{
    struct s3_object obj = {0};
    struct meta_out out;
    char name[16], value[S3_META_MAX];
    int n = 0;

    (void)state;
    while (obj.meta_len + 8 < S3_META_MAX) {
        snprintf(name, sizeof(name), "n%d", n++);
        add(&obj, name, "v");
    }
    meta_write(&out, &a_file);
    assert_int_equal(meta_keep(&out, &obj, META_KEEP_COPY), n - (META_PAIRS_MAX - 2));
    assert_int_equal(out.n, META_PAIRS_MAX);

    obj.meta_len = 0;
    memset(value, 'x', sizeof(value));
    value[S3_META_MAX - 3] = '\0';
    add(&obj, "n", value);
    meta_write(&out, &a_file);
    assert_int_equal(meta_keep(&out, &obj, META_KEEP_COPY), 0);
    assert_string_equal(value_of(&out, "n"), value);
    assert_true(out.bytes > META_BYTES_MAX);
}

static void test_filling_what_is_not_known(void **state)
{
    struct s3_object obj = {.size = 5};
    struct shm_node n = {.mode = SHM_MODE_UNSET,
                         .uid = 1,
                         .gid = SHM_MODE_UNSET,
                         .session = SHM_NIL,
                         .atime_ns = SHM_TIME_UNSET,
                         .ctime_ns = SHM_TIME_UNSET};

    (void)state;
    add(&obj, "mode", "33152");
    add(&obj, "uid", "2");
    add(&obj, "mtime", "1700000000");
    assert_int_equal(meta_fill(&n, &obj), 0);
    assert_int_equal(n.mode, 0600);
    assert_int_equal(n.uid, 1); /* set here meanwhile */
    assert_int_equal(n.gid, SHM_MODE_UNSET);
    assert_int_equal(n.mtime_ns, INT64_C(1700000000000000000));
    assert_int_equal(n.flags, SHM_NODE_META | SHM_NODE_MTIME_SET);

    n.flags = 0;
    obj.meta_len = 0;
    add(&obj, "mode", "41471");
    assert_int_equal(meta_fill(&n, &obj), -ESTALE);
    assert_int_equal(n.flags, 0);
    assert_int_equal(meta_fill(&n, NULL), 0);
    assert_int_equal(n.flags, SHM_NODE_META);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_modes),
        cmocka_unit_test(test_times),
        cmocka_unit_test(test_ids),
        cmocka_unit_test(test_nothing_told),
        cmocka_unit_test(test_links),
        cmocka_unit_test(test_special_files),
        cmocka_unit_test(test_a_special_file_is_written_as_it_is_read),
        cmocka_unit_test(test_markers_of_directories),
        cmocka_unit_test(test_more),
        cmocka_unit_test(test_what_is_kept),
        cmocka_unit_test(test_all_that_an_object_can_have),
        cmocka_unit_test(test_filling_what_is_not_known),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
