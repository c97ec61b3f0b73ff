#include "base/manual.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static char *text;
static size_t text_size;

static FILE *begin(void)
{
    FILE *f = open_memstream(&text, &text_size);

    assert_non_null(f);
    return f;
}

static void end(FILE *f, const char *expected)
{
    assert_int_equal(fclose(f), 0);
    assert_string_equal(text, expected);
    free(text);
}

static void test_wraps_between_words(void **state)
{
    FILE *f = begin();

    (void)state;
    manual_wrap(f, "# ", "#  ", "one two three", 9);
    end(f, "# one two\n#  three\n");
}

static void test_a_long_word_stands_alone(void **state)
{
    FILE *f = begin();

    (void)state;
    manual_wrap(f, "", "  ", "a incomprehensibilities b", 10);
    end(f, "a\n  incomprehensibilities\n  b\n");
}

static void test_nothing_is_an_empty_line(void **state)
{
    FILE *f = begin();

    (void)state;
    manual_wrap(f, "x: ", "", "", 10);
    end(f, "x: \n");
}

static const struct manual_row rows[] = {
    {.name = "file", .arg = "PATH", .letter = 'f', .doc = "read PATH"},
    {.name = "help", .letter = 'h', .doc = "print this help"},
    {0},
};

static void test_lists_line_up(void **state)
{
    FILE *f = begin();

    (void)state;
    manual_print_options(rows, f);
    manual_print_rows(rows, f);
    end(f, "  --file PATH  read PATH\n"
           "  --help       print this help\n"
           "  file PATH  read PATH\n"
           "  help       print this help\n");
}

static void test_getopt_sees_the_table(void **state)
{
    struct option out[MANUAL_OPTIONS_MAX + 1];

    (void)state;
    manual_getopt(rows, out);
    assert_string_equal(out[0].name, "file");
    assert_int_equal(out[0].has_arg, required_argument);
    assert_int_equal(out[1].val, 'h');
    assert_int_equal(out[1].has_arg, no_argument);
    assert_null(out[2].name);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wraps_between_words),
        cmocka_unit_test(test_a_long_word_stands_alone),
        cmocka_unit_test(test_nothing_is_an_empty_line),
        cmocka_unit_test(test_lists_line_up),
        cmocka_unit_test(test_getopt_sees_the_table),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
