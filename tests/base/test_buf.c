/* Buffers: the maximum is exact, a failed append changes nothing, a NUL always follows. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"

static void check_is(const struct buf *b, const char *text)
{
    assert_int_equal(b->len, strlen(text));
    assert_string_equal(b->data, text);
}

static void test_append(void **state)
{
    struct buf b;

    (void)state;
    buf_init(&b, 100);
    assert_null(b.data);
    assert_int_equal(buf_append(&b, "abc", 3), 0);
    assert_int_equal(buf_puts(&b, "de"), 0);
    assert_int_equal(buf_printf(&b, "%d-%s", 42, "f"), 0);
    check_is(&b, "abcde42-f");
    buf_reset(&b);
    check_is(&b, "");
    assert_int_equal(buf_puts(&b, "again"), 0);
    check_is(&b, "again");
    buf_done(&b);
    assert_null(b.data);
    assert_int_equal(b.len, 0);
    assert_int_equal(b.max, 100);
    assert_int_equal(buf_puts(&b, "once more"), 0);
    check_is(&b, "once more");
    buf_done(&b);
}

static void test_empty(void **state)
{
    struct buf b;

    (void)state;
    buf_init(&b, 10);
    buf_reset(&b);
    buf_done(&b);
    assert_int_equal(buf_append(&b, NULL, 0), 0);
    check_is(&b, "");
    assert_int_equal(buf_printf(&b, "%s", ""), 0);
    check_is(&b, "");
    buf_done(&b);
}

static void test_bytes(void **state)
{
    struct buf b;

    (void)state;
    buf_init(&b, 10);
    assert_int_equal(buf_append(&b, "a\0b", 3), 0);
    assert_int_equal(b.len, 3);
    assert_memory_equal(b.data, "a\0b", 4);
    buf_done(&b);
}

/* Every maximum around the sizes at which the memory grows. */
static void test_maximum(void **state)
{
    char data[1100];

    (void)state;
    memset(data, 'd', sizeof(data));
    for (size_t max = 0; max < 1030; max++) {
        struct buf b;

        buf_init(&b, max);
        assert_int_equal(buf_append(&b, data, max + 1), -EMSGSIZE);
        assert_null(b.data);
        assert_int_equal(buf_append(&b, data, max), 0);
        assert_int_equal(b.len, max);
        assert_int_equal(b.data[max], '\0');
        assert_int_equal(buf_append(&b, "x", 1), -EMSGSIZE);
        assert_int_equal(buf_puts(&b, "x"), -EMSGSIZE);
        assert_int_equal(buf_printf(&b, "%c", 'x'), -EMSGSIZE);
        assert_int_equal(buf_append(&b, data, SIZE_MAX), -EMSGSIZE);
        assert_int_equal(buf_append(&b, NULL, 0), 0);
        assert_int_equal(b.len, max);
        assert_int_equal(b.data[max], '\0');
        assert_true(max == 0 || memcmp(b.data, data, max) == 0);
        buf_done(&b);
    }
}

static void test_growth_keeps_bytes(void **state)
{
    struct buf b;

    (void)state;
    buf_init(&b, 100000);
    for (unsigned i = 0; i < 100000; i++) {
        char c = (char)('a' + i % 26);

        assert_int_equal(buf_append(&b, &c, 1), 0);
    }
    for (unsigned i = 0; i < 100000; i++)
        assert_int_equal(b.data[i], 'a' + i % 26);
    assert_true(b.cap < 4 * 100000);
    buf_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_append),
        cmocka_unit_test(test_empty),
        cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_maximum),
        cmocka_unit_test(test_growth_keeps_bytes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
