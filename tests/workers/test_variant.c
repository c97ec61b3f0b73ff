/* Each variant has every function of struct variant and of its rules: nothing asks whether one is
 * there. */
#include "workers/variant/variant.h"

#include <assert.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "workers/write/publish_rules.h"

typedef void function(void);

/* Members from here on are pointers, all of one size. */
#define FIRST offsetof(struct variant, identify)
static_assert((sizeof(struct variant) - FIRST) % sizeof(function *) == 0, "");
static_assert(sizeof(struct publish_rules) % sizeof(function *) == 0, "");
static_assert(sizeof(function *) == sizeof(void *), "");

/* The number of pointers in `len` bytes from `from` on, none of which is NULL. */
static size_t check_all(const void *from, size_t len)
{
    size_t n = len / sizeof(function *);

    for (size_t i = 0; i < n; i++) {
        void *p;

        memcpy(&p, (const char *)from + i * sizeof(p), sizeof(p));
        if (!p)
            fail_msg("pointer %zu is NULL", i);
    }
    return n;
}

static void test_no_function_is_missing(void **state)
{
    static const enum conf_variant all[] = {CONF_S3_BUFFERED_LWW, CONF_S3_BUFFERED_CAS,
                                            CONF_S3_PASSTHROUGH};

    (void)state;
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        const struct variant *v = variant_of(all[i]);

        assert_true(check_all((const char *)v + FIRST, sizeof(*v) - FIRST) > 15);
        assert_true(check_all(v->publish, sizeof(*v->publish)) > 5);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_function_is_missing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
