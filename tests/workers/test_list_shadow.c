/* list_shadow.c: which files have a directory of their name, compared with a plain search. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include <string.h>

#include "workers/names/list_shadow.h"

#define NAMES 400

struct name {
    char key[8]; /* a directory's with its slash */
    bool shadowed;
};

static struct list_shadow shadow;

static bool is_dir(const char *key)
{
    return key[strlen(key) - 1] == '/';
}

static void pass(struct name *names, unsigned i)
{
    char *key = names[i].key;
    bool dir = is_dir(key);
    size_t len = strlen(key) - dir;

    if (list_shadow_pass(&shadow, key, len, dir)) {
        names[shadow.file[shadow.n - 1].page].shadowed = true;
        list_shadow_pop(&shadow);
    }
    if (!dir)
        list_shadow_push(&shadow, key, (uint8_t)len, i, 7);
}

static bool has(const struct name *names, unsigned n, const char *key, char tail)
{
    size_t len = strlen(key);

    for (unsigned i = 0; i < n; i++) {
        if (strncmp(names[i].key, key, len) == 0 && names[i].key[len] == tail)
            return true;
    }
    return false;
}

static void check(struct name *names, unsigned n)
{
    shadow.n = 0;
    for (unsigned i = 0; i < n; i++)
        pass(names, i);
    for (unsigned i = 0; i < n; i++) {
        bool want = !is_dir(names[i].key) && has(names, n, names[i].key, '/');

        if (names[i].shadowed != want)
            fail_msg("%s: %d", names[i].key, names[i].shadowed);
    }
    /* Whoever waits still is a file whose directory would come behind the last entry. */
    for (unsigned i = 0; i < shadow.n; i++) {
        char dir[16];

        strcpy(dir, names[shadow.file[i].page].key);
        strcat(dir, "/");
        assert_true(strcmp(dir, names[n - 1].key) > 0);
        assert_int_equal(shadow.file[i].off, 7);
    }
}

static void a_directory_behind_others(void **state)
{
    struct name names[] = {{"a", 0},   {"a-", 0}, {"a-/", 0}, {"a-b", 0}, {"a.c", 0},
                           {"a/", 0},  {"aa", 0}, {"aa/", 0}, {"b/", 0},  {"c", 0},
                           {"c0/", 0}, {"d", 0},  {"d!", 0},  {"d!-", 0}};

    (void)state;
    check(names, sizeof(names) / sizeof(names[0]));
    assert_int_equal(shadow.n, 3); /* d, d!, d!- */
    assert_memory_equal(shadow.name, "d!-", 3);
}

static int compare(const void *a, const void *b)
{
    return strcmp(((const struct name *)a)->key, ((const struct name *)b)->key);
}

static void random_names(void **state)
{
    static const char letters[] = "-a.\xe9";
    struct name names[NAMES];
    unsigned seen = 0;

    (void)state;
    srandom(11);
    for (int round = 0; round < 300; round++) {
        unsigned n = 0, want = 1 + (unsigned)random() % NAMES;

        memset(names, 0, sizeof(names));
        for (unsigned i = 0; i < want; i++) {
            unsigned len = 1 + (unsigned)random() % 5;

            for (unsigned c = 0; c < len; c++)
                names[i].key[c] = letters[random() % 4];
            names[i].key[len] = random() % 3 ? '\0' : '/';
        }
        qsort(names, want, sizeof(names[0]), compare);
        for (unsigned i = 0; i < want; i++) { /* each once */
            if (n == 0 || strcmp(names[n - 1].key, names[i].key) != 0)
                names[n++] = names[i];
        }
        check(names, n);
        for (unsigned i = 0; i < n; i++)
            seen += names[i].shadowed;
    }
    assert_true(seen > 1000);
}

/* Each a beginning of the next, to the longest name. */
static void nested(void **state)
{
    char name[LIST_SHADOW_NAME_MAX];

    (void)state;
    memset(name, '-', sizeof(name));
    shadow.n = 0;
    for (unsigned len = 1; len <= sizeof(name); len++) {
        assert_false(list_shadow_pass(&shadow, name, len, false));
        list_shadow_push(&shadow, name, (uint16_t)len, len, 0);
    }
    assert_int_equal(shadow.n, sizeof(name));
    for (size_t len = sizeof(name); len; len--) {
        assert_true(list_shadow_pass(&shadow, name, len, true));
        assert_int_equal(shadow.file[shadow.n - 1].page, len);
        list_shadow_pop(&shadow);
    }
    assert_int_equal(shadow.n, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_directory_behind_others),
        cmocka_unit_test(random_names),
        cmocka_unit_test(nested),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
