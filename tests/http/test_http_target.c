/* Targets, queries, ranges. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "http/http_range.h"
#include "http/http_target.h"

static struct http_target split(const char *text)
{
    struct http_target t;

    assert_int_equal(http_target_split(text, strlen(text), &t), 0);
    return t;
}

static void test_split(void **state)
{
    struct http_target t = split("/keys/a;b#c%20?x=1?2");

    (void)state;
    assert_int_equal(t.path_len, strlen("/keys/a;b#c%20"));
    assert_int_equal(t.query_len, strlen("x=1?2"));
    t = split("HTTP://host:1/k");
    assert_memory_equal(t.path, "/k", t.path_len);
    assert_int_equal(t.query_len, 0);
    assert_int_equal(http_target_split("*", 1, &t), -EPROTO);
    assert_int_equal(http_target_split("http://host", 11, &t), -EPROTO);
    assert_int_equal(http_target_split("", 0, &t), -EPROTO);
}

static void check_listing(const char *query, const char *prefix, const char *delimiter)
{
    char target[200], p[64], d[8];
    struct http_target t;

    snprintf(target, sizeof(target), "/keys/?%s", query);
    t = split(target);
    assert_int_equal(http_target_listing(&t, p, sizeof(p), d, sizeof(d)), 0);
    assert_string_equal(p, prefix);
    assert_string_equal(d, delimiter);
}

static void test_listing(void **state)
{
    char p[4], d[4];
    struct http_target t = split("/k?prefix=abcd");

    (void)state;
    check_listing("", "", "/");
    check_listing("prefix=a%2Fb&delimiter=%2F", "a/b", "/");
    check_listing("prefix=a+b", "a b", "/");
    check_listing("prefix=a+b&c%41/&delimiter=/", "a+b&cA/", "/");
    check_listing("prefix=&delimiter=/", "", "/");
    check_listing("prefix=a&delimiter=", "a", "/");
    check_listing("delimiter=|&prefix=x&prefix=y", "x", "|");
    check_listing("prefix=%4&delimiter=%zz", "%4", "%zz");
    assert_int_equal(http_target_listing(&t, p, sizeof(p), d, sizeof(d)), -ENAMETOOLONG);
    t = split("/k?prefix=a%00b");
    assert_int_equal(http_target_listing(&t, p, sizeof(p), d, sizeof(d)), -EINVAL);
}

static int range(const char *value, uint64_t size, uint64_t *off, uint64_t *len)
{
    struct http_range r;

    if (http_range_parse(value, strlen(value), &r) < 0)
        return -EINVAL;
    return http_range_of(&r, size, off, len);
}

static void test_ranges(void **state)
{
    static const struct {
        const char *value;
        int error;
        uint64_t off, len;
    } ranges[] = {
        {"bytes=0-0", 0, 0, 1},         {"bytes=2-4", 0, 2, 3},
        {"bytes=9-", 0, 9, 1},          {"bytes=5-99", 0, 5, 5},
        {"bytes=-3", 0, 7, 3},          {"bytes=-99", 0, 0, 10},
        {"bytes=10-", -ERANGE, 0, 0},   {"bytes=-0", -ERANGE, 0, 0},
        {"bytes=4-2", -EINVAL, 0, 0},   {"bytes=", -EINVAL, 0, 0},
        {"bytes=-", -EINVAL, 0, 0},     {"lines=1-2", -EINVAL, 0, 0},
        {"bytes=1-2,3", -EINVAL, 0, 0}, {"bytes=9999999999999999999-", -EINVAL, 0, 0},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++) {
        uint64_t off = 0, len = 0;

        assert_int_equal(range(ranges[i].value, 10, &off, &len), ranges[i].error);
        assert_int_equal(off, ranges[i].off);
        assert_int_equal(len, ranges[i].len);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_split),
        cmocka_unit_test(test_listing),
        cmocka_unit_test(test_ranges),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
