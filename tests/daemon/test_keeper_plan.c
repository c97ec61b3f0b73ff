/* When credentials are refreshed, and days. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "daemon/keeper_plan.h"

#define MIN_NS (60 * NS_PER_S)
#define NOW (UINT64_C(1900000000) * NS_PER_S)

static struct keeper_life life(uint64_t ns)
{
    return (struct keeper_life){.fetched_ns = NOW, .expires_ns = NOW + ns};
}

static void test_due(void **state)
{
    struct keeper_life never = {.fetched_ns = NOW}, l;

    (void)state;
    assert_true(keeper_due_ns(&never) == UINT64_MAX && keeper_overdue_ns(&never) == UINT64_MAX);
    l = life(60 * MIN_NS);
    assert_int_equal(keeper_due_ns(&l) - NOW, 45 * MIN_NS);
    assert_int_equal(keeper_overdue_ns(&l) - NOW, 50 * MIN_NS);
    l = life(15 * MIN_NS); /* the shortest that STS gives */
    assert_int_equal(keeper_due_ns(&l) - NOW, 15 * MIN_NS / 2);
    assert_int_equal(keeper_overdue_ns(&l) - NOW, 10 * MIN_NS);
    l = (struct keeper_life){.fetched_ns = NOW, .expires_ns = NOW - MIN_NS}; /* at its end */
    assert_true(keeper_due_ns(&l) <= NOW && keeper_overdue_ns(&l) <= NOW);
}

static void test_retry(void **state)
{
    struct keeper_life l = life(15 * MIN_NS), over = {.fetched_ns = NOW, .expires_ns = NOW};
    struct keeper_life soon = life(2 * NS_PER_S);

    (void)state;
    assert_int_equal(keeper_retry_ns(&l, 1, NOW), NS_PER_S);
    assert_int_equal(keeper_retry_ns(&l, 4, NOW), 8 * NS_PER_S);
    assert_int_equal(keeper_retry_ns(&l, 7, NOW), MIN_NS);
    assert_int_equal(keeper_retry_ns(&l, 1000, NOW), MIN_NS);
    assert_int_equal(keeper_retry_ns(&l, 1000, l.expires_ns - 2 * MIN_NS), MIN_NS / 2);
    assert_int_equal(keeper_retry_ns(&soon, 1000, NOW), NS_PER_S);
    assert_int_equal(keeper_retry_ns(&over, 1000, NOW + MIN_NS), MIN_NS);
    assert_int_equal(keeper_retry_ns(&over, 0, NOW), NS_PER_S);
}

static void test_days(void **state)
{
    uint64_t begins = keeper_day_begins(20280229);

    (void)state;
    assert_int_equal(begins % (24 * 60 * MIN_NS), 0);
    assert_int_equal(keeper_day(begins, 0), 20280229);
    assert_int_equal(keeper_day(begins - 1, 0), 20280228);
    assert_int_equal(keeper_day(begins, 1), 20280301);
    assert_int_equal(keeper_day(begins, -1), 20280228);
    assert_int_equal(keeper_day(keeper_day_begins(20301231), 1), 20310101);
    assert_int_equal(keeper_day(0, 0), 19700101);
    assert_int_equal(keeper_day_begins(20290229), 0);
    assert_int_equal(keeper_day_begins(0), 0);
    assert_int_equal(keeper_day_begins(99999999), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_due),
        cmocka_unit_test(test_retry),
        cmocka_unit_test(test_days),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
