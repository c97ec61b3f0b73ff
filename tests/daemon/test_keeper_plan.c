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

/* The same for whoever asks, and never later than without. */
static void test_spread(void **state)
{
    struct keeper_life l = {.expires_ns = NOW + 60 * MIN_NS};
    uint64_t first, last = 0;

    (void)state;
    for (unsigned i = 0; i < 100; i++) {
        l.fetched_ns = NOW + i * 10 * NS_PER_MS;
        first = keeper_due_ns(&l);
        assert_true(first == keeper_due_ns(&l));
        assert_in_range(l.expires_ns - first, KEEPER_ADVISORY_NS, KEEPER_ADVISORY_NS * 9 / 8);
        assert_true(i == 0 || first < last);
        last = first;
        assert_in_range(keeper_retry_ns(&l, 7, l.fetched_ns), MIN_NS * 7 / 8, MIN_NS);
    }
}

/* The source is away for ten minutes, from this time on: what the keeper does on its clock. */
struct outage {
    unsigned tries;
    uint64_t longest_ns; /* between two tries */
    uint64_t back_ns;    /* when the credentials came that followed */
};

static struct outage go_without(const struct keeper_life *l, uint64_t from_ns)
{
    uint64_t until = from_ns + 10 * MIN_NS, now = keeper_due_ns(l);
    struct outage o = {0};

    if (now < from_ns)
        now = from_ns;
    while (now < until) {
        uint64_t wait = keeper_retry_ns(l, ++o.tries, now);

        if (wait > o.longest_ns)
            o.longest_ns = wait;
        now += wait + 137 * NS_PER_MS; /* of the attempt itself */
    }
    o.back_ns = now;
    return o;
}

static void test_away_for_ten_minutes(void **state)
{
    static const uint64_t lives[] = {60, 15, 12, 360, 720};

    (void)state;
    for (size_t i = 0; i < sizeof(lives) / sizeof(lives[0]); i++) {
        struct keeper_life l = life(lives[i] * MIN_NS + 321 * NS_PER_MS);
        struct outage o;

        l.fetched_ns += 654 * NS_PER_MS;
        o = go_without(&l, keeper_due_ns(&l));
        assert_in_range(o.tries, 12, 40); /* it neither gives up nor storms */
        assert_true(o.longest_ns <= MIN_NS);
        assert_true(o.back_ns <= keeper_due_ns(&l) + 11 * MIN_NS + NS_PER_S);
        if (lives[i] >= 60) /* nobody had to do without */
            assert_true(o.back_ns < l.expires_ns);
    }
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
        cmocka_unit_test(test_due),    cmocka_unit_test(test_retry),
        cmocka_unit_test(test_spread), cmocka_unit_test(test_away_for_ten_minutes),
        cmocka_unit_test(test_days),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
