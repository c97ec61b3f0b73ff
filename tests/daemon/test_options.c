/* The tables of the manual against what the program does. */
#include "daemon/options.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/exit_code.h"

static void test_exit_codes_are_those_of_the_header(void **state)
{
    static const int codes[] = {EXIT_CODE_OK,      EXIT_CODE_UNPUBLISHED, EXIT_CODE_USAGE,
                                EXIT_CODE_S3,      EXIT_CODE_SYSTEM,      EXIT_CODE_CREATE,
                                EXIT_CODE_ABORTED, EXIT_CODE_CONFIG,      EXIT_CODE_LEFT};
    size_t n = 0;

    (void)state;
    for (; daemon_exit_codes[n].name; n++) {
        assert_true(n < sizeof(codes) / sizeof(codes[0]));
        assert_int_equal(atoi(daemon_exit_codes[n].name), codes[n]);
    }
    assert_int_equal(n, sizeof(codes) / sizeof(codes[0]));
}

static void check_distinct(const struct manual_row *rows)
{
    for (const struct manual_row *a = rows; a->name; a++) {
        assert_true(a - rows < MANUAL_OPTIONS_MAX);
        for (const struct manual_row *b = rows; b < a; b++) {
            assert_int_not_equal(a->letter, b->letter);
            assert_string_not_equal(a->name, b->name);
        }
    }
}

static void test_options_are_distinct(void **state)
{
    (void)state;
    check_distinct(daemon_options);
    check_distinct(daemon_hold_options);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exit_codes_are_those_of_the_header),
        cmocka_unit_test(test_options_are_distinct),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
