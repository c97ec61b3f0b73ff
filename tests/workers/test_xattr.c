/* Extended attributes as s3fs codes them: both ways, changes, limits, and text that is broken. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>

#include <cmocka.h>

#include "workers/objmeta/xattr.h"

static void assert_value(const struct xattr_set *set, const char *name, const void *value,
                         size_t len)
{
    size_t got;
    const uint8_t *v = xattr_get(set, name, &got);

    assert_non_null(v);
    assert_int_equal(got, len);
    assert_memory_equal(v, value, len);
}

static void test_what_s3fs_writes(void **state)
{
    static const char *const texts[] = {
        "%7B%22user.a%22%3A%22dmFsdWU%3D%22%2C%22trusted.b%22%3A%22%22%7D",
        "%7b%22user.a%22:%22dmFsdWU=%22,%22trusted.b%22:%22%22%7d",
        "{\"user.a\":\"dmFsdWU=\",\"trusted.b\":\"\"}",
        "{ \"user.a\" : \"dmFsdWU\", \"trusted.b\":\"\" }",
    };
    char names[100];

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct xattr_set set;

        assert_int_equal(xattr_decode(texts[i], &set), 0);
        assert_int_equal(set.n, 2);
        assert_value(&set, "user.a", "value", 5);
        assert_value(&set, "trusted.b", "", 0);
        assert_int_equal(xattr_list(&set, names, sizeof(names)), 7);
        assert_memory_equal(names, "user.a", 7);
    }
}

static void test_none(void **state)
{
    struct xattr_set set;
    char coded[XATTR_CODED_MAX];

    (void)state;
    assert_int_equal(xattr_decode("", &set), 0);
    assert_int_equal(set.n, 0);
    assert_int_equal(xattr_decode("%7B%7D", &set), 0);
    assert_int_equal(set.n, 0);
    assert_int_equal(xattr_encode(&set, coded), 0);
    assert_string_equal(coded, "");
    assert_int_equal(xattr_list(&set, NULL, 0), 0);
}

static void test_any_bytes_come_back(void **state)
{
    struct xattr_set set = {0}, back;
    char coded[XATTR_CODED_MAX];
    uint8_t all[256];

    (void)state;
    for (int i = 0; i < 256; i++)
        all[i] = (uint8_t)i;
    assert_int_equal(xattr_put(&set, "user.all", all, sizeof(all), 0), 0);
    assert_int_equal(xattr_put(&set, "user.\"q\\ %\xc3\xa4", "x", 1, 0), 0);
    assert_int_equal(xattr_encode(&set, coded), 0);
    for (const char *c = coded; *c; c++)
        assert_true(*c > ' ' && *c <= '~');
    assert_int_equal(xattr_decode(coded, &back), 0);
    assert_int_equal(back.n, 2);
    assert_value(&back, "user.all", all, sizeof(all));
    assert_value(&back, "user.\"q\\ %\xc3\xa4", "x", 1);
}

static void test_changes(void **state)
{
    struct xattr_set set = {0};

    (void)state;
    assert_int_equal(xattr_put(&set, "user.a", "1", 1, XATTR_REPLACE), -ENODATA);
    assert_int_equal(xattr_put(&set, "user.a", "1", 1, XATTR_CREATE), 0);
    assert_int_equal(xattr_put(&set, "user.a", "2", 1, XATTR_CREATE), -EEXIST);
    assert_int_equal(xattr_put(&set, "user.b", "b", 1, 0), 0);
    assert_int_equal(xattr_put(&set, "user.a", "longer", 6, XATTR_REPLACE), 0);
    assert_value(&set, "user.a", "longer", 6);
    assert_value(&set, "user.b", "b", 1);
    assert_int_equal(xattr_remove(&set, "user.c"), -ENODATA);
    assert_int_equal(xattr_remove(&set, "user.b"), 0);
    assert_int_equal(xattr_remove(&set, "user.a"), 0);
    assert_int_equal(set.n, 0);
    assert_int_equal(set.used, 0);
}

static void test_limits(void **state)
{
    struct xattr_set set = {0}, was;
    char value[XATTR_CODED_MAX], name[16], names[8];
    int r = 0, n = 0;

    (void)state;
    memset(value, 'v', sizeof(value));
    assert_int_equal(xattr_put(&set, "user.a", value, sizeof(value), 0), -E2BIG);
    assert_int_equal(xattr_put(&set, "user.a", value, 1000, 0), 0);
    was = set;
    assert_int_equal(xattr_put(&set, "user.b", value, 500, 0), -ENOSPC);
    assert_memory_equal(&set, &was, sizeof(set));
    assert_int_equal(xattr_put(&set, "user.a", value, 500, 0), 0);
    assert_int_equal(xattr_list(&set, names, 6), -ERANGE);
    assert_int_equal(xattr_list(&set, names, 7), 7);

    set = (struct xattr_set){0};
    while (r == 0) {
        snprintf(name, sizeof(name), "user.%d", n++);
        r = xattr_put(&set, name, "", 0, 0);
    }
    assert_int_equal(r, -ENOSPC);
    assert_true(n > 40);
}

static void test_broken(void **state)
{
    static const struct {
        const char *text;
        size_t n; /* what could be read */
    } rows[] = {
        {"x", 0},
        {"{", 0},
        {"{\"user.a\"", 0},
        {"{\"user.a\":\"dg==\"", 1},
        {"{\"user.a\":\"dg==\",", 1},
        {"{\"user.a\":\"dg==\",\"user.b\":\"", 1},
        {"{\"user.a\":\"dg==\",\"user.b\":\"?\"}", 1},
        {"{\"user.a\":dg}", 0},
        {"{\"\":\"dg==\"}", 0},
        {"%7", 0},
        {"%7B%22user.a%22%3A%22dg%3D%3D%22%2", 1},
        {"%7B%22user.a%00%22%3A%22dg%3D%3D%22%7D", 0},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct xattr_set set;

        assert_int_equal(xattr_decode(rows[i].text, &set), -EIO);
        assert_int_equal(set.n, rows[i].n);
    }
}

/* Nothing is read or written out of bounds, and what can be read can be written and read again. */
static void test_random_text(void **state)
{
    static const char letters[] = "{}\",:%7B22ab=\\ \x80";

    (void)state;
    srandom(1);
    for (int round = 0; round < 100000; round++) {
        size_t len = (size_t)random() % 60;
        char *text = malloc(len + 30), coded[XATTR_CODED_MAX];
        struct xattr_set set, back;

        assert_non_null(text);
        strcpy(text, random() % 2 ? "{\"a\":\"\",\"" : "");
        for (size_t i = strlen(text), end = i + len; i < end; i++) {
            text[i] = letters[(size_t)random() % (sizeof(letters) - 1)];
            text[i + 1] = '\0';
        }
        (void)!xattr_decode(text, &set);
        assert_int_equal(xattr_encode(&set, coded), 0);
        assert_int_equal(xattr_decode(coded, &back), 0);
        assert_int_equal(back.n, set.n);
        free(text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_s3fs_writes),
        cmocka_unit_test(test_none),
        cmocka_unit_test(test_any_bytes_come_back),
        cmocka_unit_test(test_changes),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_broken),
        cmocka_unit_test(test_random_text),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
