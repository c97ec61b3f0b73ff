/* What is UTF-8 and what is not, at the edges. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/utf8.h"

static void test_valid(void **state)
{
    (void)state;
    assert_int_equal(utf8_len(""), 1);
    assert_int_equal(utf8_len("a"), 1);
    assert_int_equal(utf8_len("\x7f"), 1);
    assert_int_equal(utf8_len("\xc2\x80"), 2);
    assert_int_equal(utf8_len("\xdf\xbf"), 2);
    assert_int_equal(utf8_len("\xe0\xa0\x80"), 3);
    assert_int_equal(utf8_len("\xed\x9f\xbf"), 3);
    assert_int_equal(utf8_len("\xee\x80\x80"), 3);
    assert_int_equal(utf8_len("\xf0\x90\x80\x80"), 4);
    assert_int_equal(utf8_len("\xf4\x8f\xbf\xbf"), 4);
    assert_int_equal(utf8_len(UTF8_REPLACEMENT), 3);
}

static void test_invalid(void **state)
{
    static const char *const texts[] = {
        "\x80",
        "\xbf",
        "\xc0\x80",
        "\xc1\xbf",
        "\xc2",
        "\xc2"
        "a",
        "\xe0\x9f\xbf",
        "\xed\xa0\x80",
        "\xe2\x82",
        "\xe2\x82"
        "a",
        "\xf0\x8f\xbf\xbf",
        "\xf4\x90\x80\x80",
        "\xf5\x80\x80",
        "\xff",
        "\xf0\x90\x80",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        assert_int_equal(utf8_len(texts[i]), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_valid),
                                       cmocka_unit_test(test_invalid)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
