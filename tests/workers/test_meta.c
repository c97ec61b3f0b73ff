/* meta_read: what other programs write about mode, owner and time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "workers/meta.h"

static const struct shm_version unset = {
    .mode = SHM_MODE_UNSET, .uid = SHM_MODE_UNSET, .gid = SHM_MODE_UNSET, .mtime_ns = 7};

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
        {"33188", 0644},  /* s3fs: decimal, with type */
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
        {"35309", 0755}, /* set-uid and set-gid are dropped */
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

        assert_int_equal(read_one("mtime", rows[i].text, &timed).mtime_ns,
                         rows[i].ns);
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
    assert_memory_equal(&v, &unset, sizeof(v));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_modes),
        cmocka_unit_test(test_times),
        cmocka_unit_test(test_ids),
        cmocka_unit_test(test_nothing_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
