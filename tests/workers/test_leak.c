/* A process that grows is seen to. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "workers/process/leak.h"

#define MIB (UINT64_C(1) << 20)

static bool is_large(uint64_t limit)
{
    struct leak now;

    assert_true(leak_look(&now));
    return leak_is_large(&now, limit);
}

static void test_growth(void **state)
{
    struct leak before, after;
    char *grown;

    (void)state;
    assert_false(leak_look(&before)); /* nothing is watched yet */
    leak_watch();
    assert_false(is_large(0));
    assert_true(is_large(1));
    assert_true(leak_look(&before));
    assert_true(before.resident > before.anon);
    assert_true(before.anon > 0);
#ifdef SP_SANITIZE
    skip(); /* their own memory counts */
#endif
    assert_false(is_large(200 * MIB));
    grown = malloc(160 * MIB);
    assert_non_null(grown);
    assert_true(is_large(200 * MIB));
    memset(grown, 1, 16 * MIB);
    assert_true(leak_look(&after));
    assert_true(after.anon >= before.anon + 15 * MIB);
    assert_true(after.resident >= before.resident + 15 * MIB);
    free(grown);
    assert_false(is_large(200 * MIB));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_growth)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
