/* Histograms: which bucket, which outcome, and sums. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "shm/shm_stats.h"

static void test_bounds_rise(void **state)
{
    (void)state;
    for (unsigned i = 1; i < SHM_TIMING_BOUNDS; i++)
        assert_true(shm_timing_bounds[i] > shm_timing_bounds[i - 1]);
}

static unsigned bucket_of(uint64_t ns)
{
    struct shm_timing t = {0};
    unsigned i = 0;

    shm_timing_add(&t, ns, SHM_OUTCOME_OK);
    assert_int_equal(shm_timing_count(&t), 1);
    assert_int_equal(t.ns, ns);
    while (!t.bucket[i])
        i++;
    return i;
}

static void test_a_bucket_includes_its_bound(void **state)
{
    (void)state;
    assert_int_equal(bucket_of(0), 0);
    for (unsigned i = 0; i < SHM_TIMING_BOUNDS; i++) {
        assert_int_equal(bucket_of(shm_timing_bounds[i]), i);
        assert_int_equal(bucket_of(shm_timing_bounds[i] + 1), i + 1);
    }
    assert_int_equal(bucket_of(UINT64_MAX), SHM_TIMING_BOUNDS);
}

static void test_outcomes(void **state)
{
    (void)state;
    assert_int_equal(shm_outcome_of(0), SHM_OUTCOME_OK);
    assert_int_equal(shm_outcome_of(-ENOENT), SHM_OUTCOME_ABSENT);
    assert_int_equal(shm_outcome_of(-EEXIST), SHM_OUTCOME_CONFLICT);
    assert_int_equal(shm_outcome_of(-EACCES), SHM_OUTCOME_DENIED);
    assert_int_equal(shm_outcome_of(-ENOSPC), SHM_OUTCOME_FULL);
    assert_int_equal(shm_outcome_of(-ETIMEDOUT), SHM_OUTCOME_TIMEOUT);
    assert_int_equal(shm_outcome_of(-EINTR), SHM_OUTCOME_INTERRUPTED);
    assert_int_equal(shm_outcome_of(-ENOSYS), SHM_OUTCOME_REFUSED);
    assert_int_equal(shm_outcome_of(-EIO), SHM_OUTCOME_FAILED);
    assert_int_equal(shm_outcome_of(-ECONNREFUSED), SHM_OUTCOME_FAILED);
}

static void test_statuses(void **state)
{
    static const struct {
        int status;
        enum shm_outcome outcome;
    } all[] = {
        {0, SHM_OUTCOME_INTERRUPTED}, {200, SHM_OUTCOME_OK},       {206, SHM_OUTCOME_OK},
        {304, SHM_OUTCOME_OK},        {400, SHM_OUTCOME_REFUSED},  {403, SHM_OUTCOME_DENIED},
        {404, SHM_OUTCOME_ABSENT},    {409, SHM_OUTCOME_CONFLICT}, {413, SHM_OUTCOME_FULL},
        {416, SHM_OUTCOME_REFUSED},   {500, SHM_OUTCOME_FAILED},   {501, SHM_OUTCOME_REFUSED},
        {503, SHM_OUTCOME_FAILED},    {504, SHM_OUTCOME_TIMEOUT},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        assert_int_equal(shm_outcome_of_status(all[i].status), all[i].outcome);
}

static void test_sums(void **state)
{
    struct shm_timing a = {0}, b = {0}, sum = {0};

    (void)state;
    shm_timing_add(&a, 3 * NS_PER_MS, SHM_OUTCOME_OK);
    shm_timing_add(&b, 3 * NS_PER_MS, SHM_OUTCOME_FAILED);
    shm_timing_add(&b, 90 * NS_PER_S, SHM_OUTCOME_TIMEOUT);
    shm_timing_sum(&sum, &a);
    shm_timing_sum(&sum, &b);
    assert_int_equal(shm_timing_count(&sum), 3);
    assert_int_equal(sum.ns, 90 * NS_PER_S + 6 * NS_PER_MS);
    assert_int_equal(sum.bucket[SHM_TIMING_BOUNDS], 1);
    assert_int_equal(sum.outcome[SHM_OUTCOME_OK], 1);
    assert_int_equal(sum.outcome[SHM_OUTCOME_FAILED], 1);
    assert_int_equal(sum.outcome[SHM_OUTCOME_TIMEOUT], 1);
}

static void test_everything_has_a_name(void **state)
{
    (void)state;
    for (unsigned i = 0; i < SHM_OUTCOMES; i++)
        assert_non_null(shm_outcome_names[i]);
    for (unsigned i = 0; i < SHM_STATS_COUNT; i++)
        assert_non_null(shm_stat_names[i]);
    for (unsigned i = 0; i < SHM_HTTP_KINDS; i++)
        assert_non_null(shm_stat_http_names[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bounds_rise), cmocka_unit_test(test_a_bucket_includes_its_bound),
        cmocka_unit_test(test_outcomes),    cmocka_unit_test(test_statuses),
        cmocka_unit_test(test_sums),        cmocka_unit_test(test_everything_has_a_name),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
