/* The shared files: what is an entry, what is refused, and that a refusal shows nothing. */
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

#include "creds/creds_ini.h"

static char told[4096];

static int on_entry(void *arg, const char *section, const char *key, const char *value)
{
    size_t n = strlen(told);

    (void)arg;
    snprintf(told + n, sizeof(told) - n, *key ? "%s.%s=%s\n" : "[%s]\n", section, key, value);
    return strcmp(key, "stop") == 0 ? -ENOMEM : 0;
}

static int parse(const char *text, struct err *err)
{
    char *copy = strdup(text);
    int r;

    told[0] = '\0';
    r = creds_ini_parse(copy, on_entry, NULL, err);
    free(copy);
    return r;
}

static void test_entries(void **state)
{
    static const struct {
        const char *text, *want;
    } cases[] = {
        {"", ""},
        {"\n\r\n  \n# c\n;c\n", ""},
        {"\xef\xbb\xbf[a]\nb=c", "[a]\na.b=c\n"},
        {"[a]\r\nb = c \r\n", "[a]\na.b=c\n"},
        {"[ a b ] ; comment\nK\t=  v w  \n", "[a b]\na b.k=v w\n"},
        {"[a]\nk=v#w\nl=v #w\nm=v\t;w\nn=#\n", "[a]\na.k=v#w\na.l=v\na.m=v\na.n=\n"},
        {"[a]\nk=a=b==\n", "[a]\na.k=a=b==\n"},
        {"[a]\nk=\n  nested = x\n\tmore\nl=1\n", "[a]\na.k=\na.l=1\n"},
        {"k=v\n[a]\n[b]\n[a]\nk=2", "[a]\n[b]\n[a]\na.k=2\n"},
    };
    struct err err;

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(parse(cases[i].text, &err), 0);
        assert_string_equal(told, cases[i].want);
    }
}

static void test_ini_refused(void **state)
{
    static const char *const cases[] = {"[a]\nhunter2\n", "[a]\n= hunter2\n", "\n[hunter2\n",
                                        "\n[]\n", "\n[a] hunter2\n"};
    struct err err;

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        err = (struct err){0};
        assert_int_equal(parse(cases[i], &err), -EINVAL);
        assert_non_null(strstr(err.text, "line 2:"));
        assert_null(strstr(err.text, "hunter2"));
    }
    assert_int_equal(parse("[a]\nstop=1\nk=v\n", &err), -ENOMEM);
    assert_null(strstr(told, "k=v"));
}

static void test_ini_limit(void **state)
{
    char *text = malloc(4 * CREDS_INI_ENTRIES_MAX + 8);
    struct err err;

    (void)state;
    strcpy(text, "[a]\n");
    for (int i = 1; i < CREDS_INI_ENTRIES_MAX; i++)
        memcpy(text + 4 * i, "k=v\n", 5);
    assert_int_equal(parse(text, &err), 0);
    strcat(text, "k=v");
    assert_int_equal(parse(text, &err), -EINVAL);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_entries),
        cmocka_unit_test(test_ini_refused),
        cmocka_unit_test(test_ini_limit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
