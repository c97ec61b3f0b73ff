/* read_plan: windows of sequential readers, and that random ones fetch no more than they read. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "workers/read/read_plan.h"

#define MIB (UINT64_C(1) << 20)
#define STEP ((uint32_t)(256u << 10))

static const struct read_limits limits = {.whole = 8 * MIB, .window = 8 * MIB};

static void assert_range(struct read_range r, uint64_t from, uint64_t to)
{
    assert_int_equal(r.from, from);
    assert_int_equal(r.to, to);
}

static void assert_nothing(struct read_range r)
{
    assert_true(r.from >= r.to);
}

static void test_first_read_that_is_cached_fetches_nothing_ahead(void **state)
{
    struct shm_handle h = {0};

    (void)state;
    assert_true(read_plan_note(&h, 0, 4096));
    assert_nothing(read_plan_ahead(&h, 64 * MIB, &limits));
}

static void test_small_file_is_fetched_whole(void **state)
{
    struct shm_handle h = {0};

    (void)state;
    assert_true(read_plan_note(&h, 0, STEP));
    assert_range(read_plan_miss(&h, 0, STEP, true, 3 * MIB, &limits), 0, 3 * MIB);
    assert_true(read_plan_note(&h, STEP, STEP));
    assert_nothing(read_plan_ahead(&h, 3 * MIB, &limits));
}

/* Reads a file in order, all that was asked for being there at once. Each byte is asked for once.
 * */
static void test_sequential_window_doubles_without_gaps(void **state)
{
    struct shm_handle h = {0};
    uint64_t size = 100 * MIB, asked = 0, largest = 0;

    (void)state;
    for (uint64_t off = 0; off < size; off += STEP) {
        bool sequential = read_plan_note(&h, off, STEP);
        struct read_range r = read_plan_ahead(&h, size, &limits);

        assert_true(sequential);
        if (r.from >= r.to && off + STEP > asked)
            r = read_plan_miss(&h, off, STEP, sequential, size, &limits);
        if (r.from >= r.to)
            continue;
        assert_int_equal(r.from, asked);
        if (r.to - r.from > largest)
            largest = r.to - r.from;
        asked = r.to;
    }
    assert_int_equal(asked, size);
    assert_int_equal(largest, limits.window);
}

static void test_random_reads_fetch_what_they_read(void **state)
{
    static const uint64_t offs[] = {30 * MIB, 1 * MIB, 60 * MIB, 61 * MIB, 0};
    struct shm_handle h = {0};

    (void)state;
    for (size_t i = 0; i < sizeof(offs) / sizeof(offs[0]); i++) {
        bool sequential = read_plan_note(&h, offs[i], 4096);

        assert_false(sequential);
        assert_nothing(read_plan_ahead(&h, 64 * MIB, &limits));
        assert_range(read_plan_miss(&h, offs[i], 4096, sequential, 64 * MIB, &limits), offs[i],
                     offs[i] + 4096);
    }
}

static void test_random_read_closes_the_window(void **state)
{
    struct shm_handle h = {0};

    (void)state;
    (void)read_plan_note(&h, 0, STEP);
    (void)read_plan_miss(&h, 0, STEP, true, 64 * MIB, &limits);
    assert_int_equal(h.seq_window, MIB);
    assert_false(read_plan_note(&h, 40 * MIB, 4096));
    assert_int_equal(h.seq_window, 0);
}

/* Two workers take one READ of the kernel's read-ahead each, and look at them in the wrong order.
 * */
static void test_overtaking_reads_stay_a_sequence(void **state)
{
    struct shm_handle h = {0};

    (void)state;
    assert_true(read_plan_note(&h, 0, STEP));
    assert_true(read_plan_note(&h, 2 * STEP, STEP));
    assert_true(read_plan_note(&h, STEP, STEP));
    assert_int_equal(h.seq_next, 3 * STEP);
    assert_true(read_plan_note(&h, 3 * STEP, STEP));
}

/* What was fetched ahead is gone before it was read: there are too many readers for the pool. */
static void test_evicted_read_ahead_halves_the_window(void **state)
{
    struct shm_handle h = {.seq_next = 20 * MIB, .seq_ahead = 30 * MIB, .seq_window = 8 * MIB};

    (void)state;
    assert_true(read_plan_note(&h, 20 * MIB, STEP));
    assert_range(read_plan_miss(&h, 20 * MIB, STEP, true, 100 * MIB, &limits), 20 * MIB, 24 * MIB);
    assert_int_equal(h.seq_window, 4 * MIB);
}

static void test_small_pool_has_small_windows(void **state)
{
    const struct read_limits small = {.whole = MIB / 2, .window = MIB / 2};
    struct shm_handle h = {0};

    (void)state;
    (void)read_plan_note(&h, 0, STEP);
    assert_range(read_plan_miss(&h, 0, STEP, true, 64 * MIB, &small), 0, MIB / 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_first_read_that_is_cached_fetches_nothing_ahead),
        cmocka_unit_test(test_small_file_is_fetched_whole),
        cmocka_unit_test(test_sequential_window_doubles_without_gaps),
        cmocka_unit_test(test_random_reads_fetch_what_they_read),
        cmocka_unit_test(test_random_read_closes_the_window),
        cmocka_unit_test(test_overtaking_reads_stay_a_sequence),
        cmocka_unit_test(test_evicted_read_ahead_halves_the_window),
        cmocka_unit_test(test_small_pool_has_small_windows),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
