/* A process that grows is seen to. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "workers/process/leak.h"

#define MIB (UINT64_C(1) << 20)

static void test_growth(void **state)
{
    char *grown;

    (void)state;
    assert_false(leak_is_large(1)); /* nothing is watched yet */
    leak_watch();
    assert_false(leak_is_large(0));
    assert_true(leak_is_large(1));
#ifdef SP_SANITIZE
    skip(); /* their own memory counts */
#endif
    assert_false(leak_is_large(200 * MIB));
    grown = malloc(160 * MIB);
    assert_non_null(grown);
    assert_true(leak_is_large(200 * MIB));
    free(grown);
    assert_false(leak_is_large(200 * MIB));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_growth)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
