/* Error lines: what they say when cut, prefixed, or not wanted. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"

static void test_set(void **state)
{
    struct err err;

    (void)state;
    assert_int_equal(err_set(&err, ENOENT, "no %s in %d", "file", 7), -ENOENT);
    assert_int_equal(err.code, ENOENT);
    assert_string_equal(err.text, "no file in 7");
    assert_int_equal(err_set(NULL, EIO, "unheard"), -EIO);
}

static void test_set_cuts(void **state)
{
    char text[ERR_TEXT_MAX + 100];
    struct err err;

    (void)state;
    memset(text, 'x', sizeof(text));
    text[sizeof(text) - 1] = '\0';
    (void)err_set(&err, EIO, "%s", text);
    assert_int_equal(strlen(err.text), ERR_TEXT_MAX - 1);
    assert_string_equal(err.text + ERR_TEXT_MAX - 4, "...");
}

/* Never in a word. */
static void test_cut_between_words(void **state)
{
    char text[64];

    (void)state;
    for (size_t cap = 1; cap <= sizeof(text); cap++) {
        err_cut(text, cap, snprintf(text, cap, "one two three four"));
        assert_true(strlen(text) < cap);
        if (cap > 8 && cap <= strlen("one two three four")) {
            assert_string_equal(text + strlen(text) - 4, " ...");
            assert_int_equal(strncmp("one two three four", text, strlen(text) - 3), 0);
        }
        if (cap > strlen("one two three four"))
            assert_string_equal(text, "one two three four");
    }
}

static void test_prefix(void **state)
{
    struct err err;

    (void)state;
    (void)err_set(&err, EBUSY, "in use");
    assert_int_equal(err_prefix(&err, "mount %s", "/m"), -EBUSY);
    assert_string_equal(err.text, "mount /m: in use");
    assert_int_equal(err_prefix(&err, "start"), -EBUSY);
    assert_string_equal(err.text, "start: mount /m: in use");
}

/* At every length of prefix the text is whole as far as it goes, and ends. */
static void test_prefix_cuts(void **state)
{
    char prefix[ERR_TEXT_MAX + 20], whole[2 * ERR_TEXT_MAX + 40];
    size_t whole_len;
    struct err err;

    (void)state;
    for (size_t n = 0; n < sizeof(prefix) - 1; n++) {
        memset(prefix, 'p', n);
        prefix[n] = '\0';
        memset(&err, 'z', sizeof(err));
        (void)err_set(&err, EIO, "%0*d", ERR_TEXT_MAX - 1, 0);
        snprintf(whole, sizeof(whole), "%s: %s", prefix, err.text);
        assert_int_equal(err_prefix(&err, "%s", prefix), -EIO);
        assert_true(strlen(err.text) < ERR_TEXT_MAX);
        whole_len = strlen(err.text);
        if (whole_len > 3 && strcmp(err.text + whole_len - 3, "...") == 0)
            whole_len -= 3;
        assert_int_equal(strncmp(err.text, whole, whole_len), 0);
    }
}

/* A function may end with err_prefix() whether or not its caller wants the text. */
static void test_prefix_stays_a_failure(void **state)
{
    struct err unfilled = {0};

    (void)state;
    assert_int_equal(err_prefix(NULL, "x"), -EINVAL);
    assert_int_equal(err_prefix(&unfilled, "x"), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_set),
        cmocka_unit_test(test_set_cuts),
        cmocka_unit_test(test_cut_between_words),
        cmocka_unit_test(test_prefix),
        cmocka_unit_test(test_prefix_cuts),
        cmocka_unit_test(test_prefix_stays_a_failure),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
