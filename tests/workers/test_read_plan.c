/* read_plan: what readers of every kind are given ahead, and that each byte is asked for once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "workers/read/read_plan.h"

#define MIB (UINT64_C(1) << 20)
#define KIB (UINT64_C(1) << 10)
#define STEP ((uint32_t)(256u << 10))
#define SIZE_MAX_MIB 256

static const struct read_limits limits = {
    .whole = 8 * MIB, .window = 32 * MIB, .part = 8 * MIB, .gets = 32, .random = 128 * KIB};

/* Which blocks of a file were asked for, and how often. */
struct asked {
    uint8_t times[SIZE_MAX_MIB * 8];
    uint64_t bytes, size;
    uint32_t gets;
};

static void ask(struct asked *a, struct read_range r)
{
    uint64_t end = (r.to + SHM_BLOCK_SIZE - 1) / SHM_BLOCK_SIZE;
    bool any = false;

    assert_true(r.from < r.to && r.to <= a->size);
    for (uint64_t i = r.from / SHM_BLOCK_SIZE; i < end; i++) {
        any = any || !a->times[i];
        a->bytes += a->times[i] ? 0 : SHM_BLOCK_SIZE;
        a->times[i]++;
    }
    a->gets += any;
}

static bool has(const struct asked *a, uint64_t off, uint32_t len)
{
    for (uint64_t i = off / SHM_BLOCK_SIZE; i * SHM_BLOCK_SIZE < off + len; i++) {
        if (!a->times[i])
            return false;
    }
    return true;
}

/* One READ. True if its bytes had been asked for before it came. */
static bool read_once(struct shm_handle *h, struct asked *a, uint64_t off, uint32_t len,
                      const struct read_limits *lim)
{
    struct read_place place = read_plan_note(h, off, len);
    bool hit = has(a, off, len);

    if (!hit)
        ask(a, read_plan_miss(h, place, off, len, a->size, lim));
    assert_true(has(a, off, len));
    for (;;) {
        bool wants = read_plan_wants(h, place.stream, a->size, lim);
        struct read_range r = read_plan_ahead(h, place.stream, a->size, lim);

        assert_int_equal(wants, r.from < r.to);
        if (!wants)
            return hit;
        ask(a, r);
    }
}

static struct asked *asked_new(uint64_t size)
{
    struct asked *a = calloc(1, sizeof(*a));

    assert_non_null(a);
    assert_true(size <= SIZE_MAX_MIB * MIB);
    a->size = size;
    return a;
}

static void assert_each_once(const struct asked *a)
{
    for (uint64_t i = 0; i * SHM_BLOCK_SIZE < a->size; i++)
        assert_int_equal(a->times[i], 1);
}

static void test_first_small_read_fetches_nothing_ahead(void **state)
{
    struct shm_handle h = {0};

    (void)state;
    assert_true(read_plan_note(&h, 0, 4096).sequential);
    assert_false(read_plan_wants(&h, 0, 64 * MIB, &limits));
}

static void test_small_file_is_fetched_whole(void **state)
{
    struct asked *a = asked_new(3 * MIB);
    struct shm_handle h = {0};

    (void)state;
    for (uint64_t off = 0; off < a->size; off += STEP)
        assert_int_equal(read_once(&h, a, off, STEP, &limits), off > 0);
    assert_int_equal(a->gets, 1);
    assert_each_once(a);
    free(a);
}

/* Whatever the sizes of READs, each byte is asked for once, and soon long before it is read. */
static void test_in_order(void **state)
{
    static const uint32_t lens[] = {64 << 10, 128 << 10, 100 << 10, 1 << 20, 300000};

    (void)state;
    for (size_t i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
        struct asked *a = asked_new(100 * MIB + 12345);
        struct shm_handle h = {0};
        uint32_t misses = 0;

        for (uint64_t off = 0; off < a->size; off += lens[i]) {
            uint64_t left = a->size - off;
            uint32_t len = left < lens[i] ? (uint32_t)left : lens[i];

            misses += !read_once(&h, a, off, len, &limits);
            if (off >= 20 * MIB && a->size - off > 40 * MIB)
                assert_true(has(a, off, (uint32_t)(30 * MIB)));
        }
        assert_true(misses <= 3);
        assert_true(a->bytes < a->size + SHM_BLOCK_SIZE);
        assert_true(a->gets < 120);
        free(a);
    }
}

/* A reader that stops has cost no more than four times what it has read. */
static void test_window_follows_what_was_read(void **state)
{
    (void)state;
    for (uint64_t end = MIB; end < 40 * MIB; end += MIB) {
        struct asked *a = asked_new(200 * MIB);
        struct shm_handle h = {0};

        for (uint64_t off = 0; off < end; off += MIB)
            (void)read_once(&h, a, off, MIB, &limits);
        assert_true(a->bytes <= 5 * end && a->bytes <= end + limits.window);
        free(a);
    }
}

static void test_random_reads_fetch_one_block_each(void **state)
{
    struct asked *a = asked_new(256 * MIB);
    struct shm_handle h = {0};
    uint32_t misses = 0;

    (void)state;
    srandom(1);
    for (int i = 0; i < 2000; i++) {
        uint64_t off = (uint64_t)random() % (a->size / 4096) * 4096;

        misses += !read_once(&h, a, off, 4096, &limits);
    }
    assert_int_equal(a->gets, misses);
    assert_int_equal(a->bytes, misses * (uint64_t)SHM_BLOCK_SIZE);
    free(a);
}

static void test_random_size(void **state)
{
    struct read_limits lim = limits;
    struct asked *a = asked_new(100 * MIB + 1);
    struct shm_handle h = {0};

    (void)state;
    lim.random = (uint32_t)MIB;
    assert_false(read_once(&h, a, 50 * MIB + 12345, 4096, &lim));
    assert_true(has(a, 50 * MIB, (uint32_t)MIB));
    assert_int_equal(a->bytes, MIB);
    assert_false(read_once(&h, a, 100 * MIB, 1, &lim)); /* not beyond the end */
    free(a);
}

static void test_random_pieces_fetch_nothing_ahead(void **state)
{
    struct asked *a = asked_new(256 * MIB);
    struct shm_handle h = {0};
    uint64_t wanted = 0;

    (void)state;
    srandom(2);
    for (int i = 0; i < 100; i++) {
        uint64_t off = (uint64_t)random() % 256 * MIB;

        wanted += has(a, off, (uint32_t)MIB) ? 0 : MIB;
        (void)read_once(&h, a, off, (uint32_t)MIB, &limits);
    }
    assert_true(a->bytes <= wanted + 8 * MIB); /* some happen to follow each other */
    free(a);
}

/* Two workers take one READ of the kernel's read-ahead each, and look at them in the wrong
 * order. */
static void test_overtaking_reads_stay_a_sequence(void **state)
{
    struct shm_handle h = {0};

    (void)state;
    assert_true(read_plan_note(&h, 0, STEP).sequential);
    assert_true(read_plan_note(&h, 2 * STEP, STEP).sequential);
    assert_true(read_plan_note(&h, STEP, STEP).sequential);
    assert_int_equal(h.stream[0].next, 3 * STEP);
    assert_int_equal(h.stream[0].holes, 0);
    assert_true(read_plan_note(&h, 3 * STEP, STEP).sequential);
}

/* What was fetched ahead is gone before it was read: too much is fetched for the pool. */
static void test_evicted_read_ahead_halves_the_window(void **state)
{
    struct asked *a = asked_new(200 * MIB);
    struct shm_handle h = {0};
    uint64_t off;

    (void)state;
    for (off = 0; off < 40 * MIB; off += MIB)
        (void)read_once(&h, a, off, MIB, &limits);
    assert_int_equal(h.stream[0].window, 32 * MIB);
    memset(a->times, 0, sizeof(a->times));
    (void)read_once(&h, a, off, MIB, &limits);
    assert_int_equal(h.stream[0].window, 16 * MIB);
    free(a);
}

static void test_small_pool_has_small_windows(void **state)
{
    struct read_limits small = limits;
    struct asked *a = asked_new(64 * MIB);
    struct shm_handle h = {0};

    (void)state;
    small.whole = small.window = MIB / 2;
    for (uint64_t off = 0; off < 20 * MIB; off += STEP) {
        (void)read_once(&h, a, off, STEP, &small);
        assert_true(a->bytes <= off + STEP + small.window + SHM_BLOCK_SIZE);
    }
    free(a);
}

static void test_backwards(void **state)
{
    struct asked *a = asked_new(100 * MIB);
    struct shm_handle h = {0};
    uint32_t misses = 0;

    (void)state;
    for (uint64_t end = a->size; end > 0; end -= MIB)
        misses += !read_once(&h, a, end - MIB, MIB, &limits);
    assert_true(misses <= 4);
    assert_each_once(a);
    free(a);
}

/* Steps far apart: the pieces, and nothing between them; forwards and backwards. */
static void test_steps(void **state)
{
    (void)state;
    for (int back = 0; back <= 1; back++) {
        struct asked *a = asked_new(200 * MIB);
        struct shm_handle h = {0};
        uint32_t misses = 0, n = 0;

        for (uint64_t at = MIB; at + STEP <= a->size; at += 2 * MIB, n++)
            misses += !read_once(&h, a, back ? a->size - at : at, STEP, &limits);
        assert_true(misses <= 4);
        assert_int_equal(a->bytes, n * (uint64_t)STEP);
        free(a);
    }
}

/* Small steps: the bytes between them are not worth a request. */
static void test_small_steps_are_a_sequence(void **state)
{
    struct asked *a = asked_new(100 * MIB);
    struct shm_handle h = {0};
    uint32_t misses = 0;

    (void)state;
    for (uint64_t at = 10 * MIB; at < 60 * MIB; at += 16 * KIB)
        misses += !read_once(&h, a, at, 4096, &limits);
    assert_true(misses <= 6);
    assert_true(a->gets < 100);
    free(a);
}

/* Threads that read one descriptor at several places. */
static void test_places_of_one_handle(void **state)
{
    struct asked *a = asked_new(200 * MIB);
    struct shm_handle h = {0};
    uint32_t misses = 0;

    (void)state;
    for (uint64_t off = 0; off < 40 * MIB; off += MIB) {
        for (uint64_t place = 0; place < 4; place++)
            misses += !read_once(&h, a, place * 50 * MIB + off, MIB, &limits);
    }
    assert_true(misses <= 20);
    free(a);
}

/* A program that looks here and there, and then reads on from somewhere. */
static void test_sequence_after_random_reads(void **state)
{
    struct asked *a = asked_new(200 * MIB);
    struct shm_handle h = {0};
    uint32_t misses = 0;

    (void)state;
    srandom(3);
    for (int i = 0; i < 50; i++)
        (void)read_once(&h, a, (uint64_t)random() % (100 * MIB), 4096, &limits);
    for (uint64_t off = 120 * MIB; off < 200 * MIB; off += MIB)
        misses += !read_once(&h, a, off, MIB, &limits);
    assert_true(misses <= 4);
    free(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_first_small_read_fetches_nothing_ahead),
        cmocka_unit_test(test_small_file_is_fetched_whole),
        cmocka_unit_test(test_in_order),
        cmocka_unit_test(test_window_follows_what_was_read),
        cmocka_unit_test(test_random_reads_fetch_one_block_each),
        cmocka_unit_test(test_random_size),
        cmocka_unit_test(test_random_pieces_fetch_nothing_ahead),
        cmocka_unit_test(test_overtaking_reads_stay_a_sequence),
        cmocka_unit_test(test_evicted_read_ahead_halves_the_window),
        cmocka_unit_test(test_small_pool_has_small_windows),
        cmocka_unit_test(test_backwards),
        cmocka_unit_test(test_steps),
        cmocka_unit_test(test_small_steps_are_a_sequence),
        cmocka_unit_test(test_places_of_one_handle),
        cmocka_unit_test(test_sequence_after_random_reads),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
