/* list_folder.c: which folders were listed under their own name before, compared with a plain
 * search; what is asked for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include <string.h>

#include "workers/names/list_folder.h"

#define NAMES 300

static struct list_folders folders;

static bool is_among(char names[][8], unsigned n, const char *name, size_t len)
{
    for (unsigned i = 0; i < n; i++) {
        if (strlen(names[i]) == len && memcmp(names[i], name, len) == 0)
            return true;
    }
    return false;
}

/* Each name of the sorted list, and each beginning of it. */
static void check(char names[][8], unsigned n)
{
    folders.n = 0;
    for (unsigned i = 0; i < n; i++) {
        size_t len = strlen(names[i]);

        list_folder_pass(&folders, names[i], len);
        for (size_t begin = 1; begin <= len; begin++)
            assert_int_equal(list_folder_has(&folders, begin), is_among(names, i, names[i], begin));
        list_folder_push(&folders, names[i], len);
    }
}

static int compare(const void *a, const void *b)
{
    return strcmp(a, b);
}

static void random_names(void **state)
{
    static const char letters[] = "-a_\xe9";
    char names[NAMES][8];

    (void)state;
    srandom(11);
    for (int round = 0; round < 200; round++) {
        unsigned n = 1 + (unsigned)random() % NAMES;

        memset(names, 0, sizeof(names));
        for (unsigned i = 0; i < n; i++) {
            unsigned len = 1 + (unsigned)random() % 6;

            for (unsigned c = 0; c < len; c++)
                names[i][c] = letters[random() % 4];
        }
        qsort(names, n, sizeof(names[0]), compare);
        check(names, n);
    }
}

/* Each a beginning of the next, to the longest name; one that is no name is not taken. */
static void nested_names(void **state)
{
    char name[LIST_FOLDER_NAME_MAX + 1];

    (void)state;
    memset(name, '-', sizeof(name));
    folders.n = 0;
    for (size_t len = 1; len <= sizeof(name); len++) {
        list_folder_pass(&folders, name, len);
        list_folder_push(&folders, name, len);
        list_folder_push(&folders, name, len);
    }
    assert_int_equal(folders.n, LIST_FOLDER_NAME_MAX);
    assert_true(list_folder_has(&folders, 1) && list_folder_has(&folders, LIST_FOLDER_NAME_MAX));
    list_folder_pass(&folders, "--a", 3);
    assert_int_equal(folders.n, 2);
}

static void asked_for(void **state)
{
    (void)state;
    folders.n_asked = 0;
    list_folder_ask(&folders, 5, 0, 900);
    list_folder_ask(&folders, 4, 1, 100);
    list_folder_ask(&folders, 3, 1, 200);
    list_folder_cut(&folders, 1, 201);
    assert_int_equal(folders.n_asked, 3);
    list_folder_cut(&folders, 1, 200);
    assert_int_equal(folders.n_asked, 2);
    assert_int_equal(folders.asked[1].len, 4);
    list_folder_cut(&folders, 1, 0);
    assert_int_equal(folders.n_asked, 1); /* that of the page before stays */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_names),
        cmocka_unit_test(nested_names),
        cmocka_unit_test(asked_for),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
