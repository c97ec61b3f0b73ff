/* The arithmetic of retries, with chance and time given. */
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

#include "s3/s3_retry.h"

static uint32_t chance; /* permille of `upper` that uniform gives */

static uint32_t uniform(uint32_t upper)
{
    return (uint32_t)((uint64_t)(upper - 1) * chance / 1000);
}

static void begin(struct s3_retry *r, struct s3_retry_bucket *b, unsigned attempts,
                  uint32_t permille)
{
    *r = (struct s3_retry){.max_attempts = attempts};
    s3_retry_bucket_init(b, NULL, uniform);
    chance = permille;
}

static void test_answered(void **state)
{
    struct s3_retry r;
    struct s3_retry_bucket b;
    uint64_t delay = 0;

    (void)state;
    begin(&r, &b, 3, 1000);
    assert_true(s3_retry_again(&r, &b, S3_RETRY_ANSWERED, NS_PER_S, 0, &delay));
    assert_in_range(delay, 49 * NS_PER_MS, 50 * NS_PER_MS);
    assert_int_equal(*b.spent, S3_RETRY_COST);
    assert_true(s3_retry_again(&r, &b, S3_RETRY_THROTTLED, NS_PER_S, 0, &delay));
    assert_in_range(delay, 99 * NS_PER_MS, 100 * NS_PER_MS);
    assert_false(s3_retry_again(&r, &b, S3_RETRY_ANSWERED, NS_PER_S, 0, &delay));
    assert_false(s3_retry_again(&r, &b, S3_RETRY_NO, NS_PER_S, 0, &delay));
}

static void test_cap_and_jitter(void **state)
{
    struct s3_retry r;
    struct s3_retry_bucket b;
    uint64_t delay = 0;

    (void)state;
    begin(&r, &b, 100, 1000);
    for (int i = 0; i < 40; i++)
        assert_true(s3_retry_again(&r, &b, S3_RETRY_ANSWERED, 60 * NS_PER_S, 0, &delay));
    assert_in_range(delay, S3_RETRY_CAP_NS - NS_PER_MS, S3_RETRY_CAP_NS);
    chance = 0;
    assert_true(s3_retry_again(&r, &b, S3_RETRY_ANSWERED, 60 * NS_PER_S, 0, &delay));
    assert_int_equal(delay, 0);
}

static void test_retry_after(void **state)
{
    struct s3_retry r;
    struct s3_retry_bucket b;
    uint64_t delay = 0;

    (void)state;
    begin(&r, &b, 10, 1000);
    assert_true(s3_retry_again(&r, &b, S3_RETRY_THROTTLED, 3 * NS_PER_S, 2 * NS_PER_S, &delay));
    assert_int_equal(delay, 2 * NS_PER_S);
    /* beyond the deadline there is no point in waiting */
    assert_false(s3_retry_again(&r, &b, S3_RETRY_THROTTLED, 2 * NS_PER_S, 2 * NS_PER_S, &delay));
}

/* The bucket ends a storm, and successes fill it again. */
static void test_tokens(void **state)
{
    struct s3_retry r;
    struct s3_retry_bucket b;
    uint64_t delay;
    unsigned n = 0;

    (void)state;
    begin(&r, &b, 3, 0);
    for (;; n++) {
        r = (struct s3_retry){.max_attempts = 3};
        if (!s3_retry_again(&r, &b, S3_RETRY_ANSWERED, NS_PER_S, 0, &delay))
            break;
    }
    assert_int_equal(n, S3_RETRY_TOKENS / S3_RETRY_COST);
    r.paid = S3_RETRY_COST;
    s3_retry_success(&r, &b);
    assert_int_equal(*b.spent, S3_RETRY_TOKENS - S3_RETRY_COST);
    r.paid = 0;
    s3_retry_success(&r, &b);
    assert_int_equal(*b.spent, S3_RETRY_TOKENS - S3_RETRY_COST - 1);
    for (int i = 0; i < 1000; i++)
        s3_retry_success(&r, &b);
    assert_int_equal(*b.spent, 0);
}

/* One bucket of two clients: what one spends the other does not have, and its success helps. */
static void test_shared(void **state)
{
    struct s3_retry r = {.max_attempts = 3};
    struct s3_retry_bucket one, other;
    uint32_t spent = S3_RETRY_TOKENS - S3_RETRY_COST;
    uint64_t delay;

    (void)state;
    s3_retry_bucket_init(&one, &spent, uniform);
    s3_retry_bucket_init(&other, &spent, uniform);
    assert_true(s3_retry_again(&r, &one, S3_RETRY_ANSWERED, NS_PER_S, 0, &delay));
    r = (struct s3_retry){.max_attempts = 3};
    assert_false(s3_retry_again(&r, &other, S3_RETRY_ANSWERED, NS_PER_S, 0, &delay));
    for (unsigned i = 0; i < S3_RETRY_COST; i++)
        s3_retry_success(&r, &one);
    r = (struct s3_retry){.max_attempts = 3};
    assert_true(s3_retry_again(&r, &other, S3_RETRY_ANSWERED, NS_PER_S, 0, &delay));
    spent = UINT32_MAX; /* nonsense: no retry, and a success mends it */
    r = (struct s3_retry){.max_attempts = 3};
    assert_false(s3_retry_again(&r, &one, S3_RETRY_ANSWERED, NS_PER_S, 0, &delay));
    s3_retry_success(&r, &one);
    assert_int_equal(spent, S3_RETRY_TOKENS - 1);
}

/* Without an answer only the deadline ends it, and every wait ends before it, for any chance. */
static void test_outage(void **state)
{
    (void)state;
    for (uint32_t permille = 0; permille <= 1000; permille += 50) {
        struct s3_retry r;
        struct s3_retry_bucket b;
        uint64_t left = 30 * NS_PER_S, delay;
        unsigned n = 0;

        begin(&r, &b, 3, permille);
        *b.spent = S3_RETRY_TOKENS; /* they are not needed */
        while (s3_retry_again(&r, &b, S3_RETRY_CONNECTION, left, 0, &delay)) {
            assert_true(delay < left);
            left -= delay;
            left -= left < NS_PER_MS ? left : NS_PER_MS; /* the attempt */
            n++;
            assert_true(n < 40000);
        }
        assert_true(left < 2 * S3_RETRY_BASE_NS);
        assert_true(n > 5);
    }
}

static void test_no_retry_at_all(void **state)
{
    struct s3_retry r;
    struct s3_retry_bucket b;
    uint64_t delay;

    (void)state;
    begin(&r, &b, 1, 0);
    assert_false(s3_retry_again(&r, &b, S3_RETRY_CONNECTION, NS_PER_S, 0, &delay));
    assert_false(s3_retry_again(&r, &b, S3_RETRY_ANSWERED, NS_PER_S, 0, &delay));
}

static void test_progress_and_skew(void **state)
{
    struct s3_retry r;
    struct s3_retry_bucket b;
    uint64_t delay = 1;

    (void)state;
    begin(&r, &b, 3, 1000);
    for (int i = 0; i < 5; i++)
        assert_true(s3_retry_again(&r, &b, S3_RETRY_CONNECTION, 60 * NS_PER_S, 0, &delay));
    assert_true(delay > 700 * NS_PER_MS);
    s3_retry_progress(&r);
    assert_true(s3_retry_again(&r, &b, S3_RETRY_CONNECTION, 60 * NS_PER_S, 0, &delay));
    assert_true(delay <= S3_RETRY_BASE_NS);
    assert_true(s3_retry_again(&r, &b, S3_RETRY_SKEW, NS_PER_S, 0, &delay));
    assert_int_equal(delay, 0);
    assert_false(s3_retry_again(&r, &b, S3_RETRY_SKEW, NS_PER_S, 0, &delay));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answered),        cmocka_unit_test(test_cap_and_jitter),
        cmocka_unit_test(test_retry_after),     cmocka_unit_test(test_tokens),
        cmocka_unit_test(test_shared),          cmocka_unit_test(test_outage),
        cmocka_unit_test(test_no_retry_at_all), cmocka_unit_test(test_progress_and_skew),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
