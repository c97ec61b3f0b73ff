/* Command lines as words: what Python's shlex makes of them. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "creds/creds_provider.h"

static void words_are(const char *text, int n, const char *joined)
{
    char *copy = strdup(text), got[256] = "";
    char *words[8];
    int r = creds_words(copy, words, 8);

    assert_int_equal(r, n);
    for (int i = 0; i < r; i++) {
        strcat(got, i ? "|" : "");
        strcat(got, words[i]);
    }
    if (r > 0)
        assert_null(words[r]);
    assert_string_equal(got, joined);
    free(copy);
}

static void test_words(void **state)
{
    (void)state;
    words_are("a", 1, "a");
    words_are("  a\tb  c ", 3, "a|b|c");
    words_are("'a b' \"c d\"", 2, "a b|c d");
    words_are("a'b'\"c\"d", 1, "abcd");
    words_are("a\\ b \\'", 2, "a b|'");
    words_are("'a\\b' \"a\\\"b\\\\c\\d\"", 2, "a\\b|a\"b\\c\\d");
    words_are("a '' b", 3, "a||b");
    words_are("$HOME `x` * ;", 4, "$HOME|`x`|*|;");
    words_are("a b c d e f g", 7, "a|b|c|d|e|f|g");
    words_are("a b c d e f g h", -EINVAL, "");
    words_are("", -EINVAL, "");
    words_are("  ", -EINVAL, "");
    words_are("a 'b", -EINVAL, "");
    words_are("a \"b\\\"", -EINVAL, "");
    words_are("a\\", 1, "a\\");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_words)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
