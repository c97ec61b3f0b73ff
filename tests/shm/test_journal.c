/* Where arenas and records lie. What becomes of the requests in them: tests/workers/. */
#include <errno.h>
#include <string.h>

#include "shm/shm_journal.h"
#include "shm/shm_stats.h"
#include "tests/shm/fixture.h"

static void test_read_area(void **state)
{
    struct shm *shm = *state;

    for (uint32_t w = 0; w < shm->header->sizes.workers; w++) {
        uint8_t *area = shm_arena_read_area(shm, w), *start;
        size_t len;

        start = shm_arena_span(shm, w, &len);
        assert_int_equal((uintptr_t)start % shm->header->sizes.page, 0);
        assert_int_equal(len % shm->header->sizes.page, 0);
        /* The payload is at a page, its head right before it. */
        assert_int_equal((uintptr_t)(area + SHM_READ_HEAD) % shm->header->sizes.page, 0);
        assert_true(area >= start);
        assert_true(area + SHM_READ_HEAD + shm->header->sizes.payload <=
                    (uint8_t *)shm_arena_of(shm, w));
        assert_int_equal((uintptr_t)shm_arena_of(shm, w) % 64, 0);
    }
}

/* Whatever is written into one worker's arena touches nothing else. */
static void test_nothing_overlaps(void **state)
{
    struct shm *shm = *state;
    uint32_t workers = shm->header->sizes.workers;

    for (uint32_t w = 0; w < workers; w++) {
        uint8_t *start, *end, *beside = NULL;
        size_t len;

        start = shm_arena_span(shm, w, &len);
        end = start + len;
        assert_true((uint8_t *)(shm_arena_of(shm, w) + 1) <= end);
        for (uint32_t i = 0; i < shm->header->sizes.records; i++) {
            uint8_t *r = (uint8_t *)shm_arena_record(shm, w, i);

            assert_true(r >= (uint8_t *)(shm_arena_of(shm, w) + 1));
            assert_true(r + sizeof(struct shm_record) <= end);
            assert_int_equal((uintptr_t)r % 8, 0);
            r = shm_arena_request(shm, w, i, SHM_RECORD_REQUEST);
            assert_ptr_equal(r, shm_arena_record(shm, w, i)->request);
            r = shm_arena_request(shm, w, i, SHM_REQUEST_MAX);
            assert_true(r >= end && r >= beside);
            assert_int_equal((uintptr_t)r % 8, 0);
            beside = r + SHM_REQUEST_MAX;
        }
        if (w + 1 < workers)
            assert_true((uint8_t *)shm_arena_span(shm, w + 1, &len) >= beside);
        else
            assert_in_range(beside - (uint8_t *)shm->arenas, 1,
                            shm_arena_size(&shm->header->sizes));
        memset(shm_arena_read_area(shm, w), 0xff, SHM_READ_HEAD + shm->header->sizes.payload);
        assert_int_equal(shm_arena_of(shm, w)->pid, 0);
    }
    fx_check(shm);
}

static void test_record(void **state)
{
    struct shm *shm = *state;
    struct shm_record *r = shm_arena_record(shm, 0, 0);

    assert_int_equal(sizeof(*r) % 64, 0); /* cache lines */
    assert_int_equal((uint8_t *)shm_arena_record(shm, 0, 1) - (uint8_t *)r, sizeof(*r));
    assert_int_equal(r->state, SHM_RECORD_FREE);
    /* A rename of two longest names: header, its argument, both with NUL. */
    assert_true(SHM_RECORD_REQUEST >= 40 + 16 + 2 * (SHM_NAME_LONG + 1));
    assert_true(SHM_REQUEST_MAX >= 40 + 16 + 2 * (SHM_NAME_MAX + 1));
    assert_true(SHM_RECORD_REPLY >= 128 + 16); /* entry and open */
}

static void test_tags(void **state)
{
    (void)state;
    assert_int_not_equal(shm_record_tag(0, 0), 0);
    assert_int_not_equal(shm_record_tag(0, 1), shm_record_tag(1, 0));
    assert_int_equal(shm_record_tag(SHM_WORKERS_MAX - 1, SHM_RECORDS_MAX - 1),
                     SHM_WORKERS_MAX << 16 | SHM_RECORDS_MAX);
    assert_int_not_equal(shm_record_tag(0, SHM_RECORDS_MAX), /* `current` */
                         shm_record_tag(1, 0));
    assert_int_equal(shm_record_tag(0, SHM_RECORDS_MAX) >> 16, 1);
}

static void test_in_flight(void **state)
{
    struct shm *shm = *state;
    uint32_t last = shm->header->sizes.workers - 1;
    struct shm_in_flight at = {0};

    assert_null(shm_in_flight_next(shm, &at));
    assert_null(shm_in_flight_next(shm, &at));
    shm_arena_record(shm, 0, 1)->state = SHM_RECORD_IN_FLIGHT;
    shm_arena_record(shm, 0, 2)->state = SHM_RECORD_READING;
    shm_arena_record(shm, 1, 0)->state = SHM_RECORD_APPLIED;
    shm_arena_of(shm, last)->current.state = SHM_RECORD_IN_FLIGHT;
    at = (struct shm_in_flight){0};
    assert_ptr_equal(shm_in_flight_next(shm, &at), shm_arena_record(shm, 0, 1));
    assert_int_equal(at.worker, 0);
    assert_ptr_equal(shm_in_flight_next(shm, &at), shm_arena_record(shm, 1, 0));
    assert_int_equal(at.worker, 1);
    assert_ptr_equal(shm_in_flight_next(shm, &at), &shm_arena_of(shm, last)->current);
    assert_int_equal(at.worker, last);
    assert_null(shm_in_flight_next(shm, &at));
}

static void test_check(void **state)
{
    struct shm *shm = *state;
    struct shm_record *records[] = {shm_arena_record(shm, 3, 3), &shm_arena_of(shm, 2)->current};
    struct shm_arena *a = shm_arena_of(shm, 1);
    struct err err;

    for (int i = 0; i < 2; i++) {
        struct shm_record *r = records[i];

        r->state = SHM_RECORD_APPLIED + 1;
        assert_int_equal(shm_arena_check(shm, &err), -EUCLEAN);
        r->state = SHM_RECORD_APPLIED;
        assert_int_equal(shm_arena_check(shm, &err), 0);
        r->request_len = SHM_REQUEST_MAX;
        assert_int_equal(shm_arena_check(shm, &err), 0);
        r->request_len = SHM_REQUEST_MAX + 1;
        assert_int_equal(shm_arena_check(shm, &err), -EUCLEAN);
        r->request_len = 0;
        r->reply_len = SHM_RECORD_REPLY + 1;
        assert_int_equal(shm_arena_check(shm, &err), -EUCLEAN);
        r->reply_len = SHM_REPLY_IN_ARENA;
        assert_int_equal(shm_arena_check(shm, &err), 0);
    }
    a->counted_n = SHM_COUNTED_MAX + 1;
    assert_int_equal(shm_arena_check(shm, &err), -EUCLEAN);
    a->counted_n = 0;
    a->reply_len = SHM_REPLY_MAX + 1;
    assert_int_equal(shm_arena_check(shm, &err), -EUCLEAN);
    a->reply_len = 0;
}

static void test_check_holds(void **state)
{
    struct shm *shm = *state;
    struct shm_record *r = shm_arena_record(shm, 1, 2);
    struct err err;

    r->state = SHM_RECORD_IN_FLIGHT;
    r->node = r->target = SHM_NIL;
    assert_int_equal(shm_arena_check_holds(shm, &err), 0);
    shm_lock(shm, shm->meta);
    shm_node_set_busy(shm, SHM_ROOT, shm_record_tag(1, 2));
    shm_unlock(shm, shm->meta);
    assert_int_equal(shm_arena_check_holds(shm, &err), -EUCLEAN);
    r->target = SHM_ROOT;
    assert_int_equal(shm_arena_check_holds(shm, &err), 0);
    r->state = SHM_RECORD_FREE;
    assert_int_equal(shm_arena_check_holds(shm, &err), -EUCLEAN);
    shm_lock(shm, shm->meta);
    shm_node_set_busy(shm, SHM_ROOT, shm_record_tag(60000, 2));
    shm_unlock(shm, shm->meta);
    assert_int_equal(shm_arena_check_holds(shm, &err), -EUCLEAN);
}

/* ---- the counters next door ---- */

static void test_stats(void **state)
{
    struct shm *shm = *state;

    for (uint32_t w = 0; w < shm->header->sizes.workers; w++) {
        assert_int_equal((uintptr_t)shm_stats_of(shm, w) % 64, 0);
        assert_true((uint8_t *)(shm_stats_of(shm, w) + 1) <= shm->base + shm->size);
    }
    for (int i = 0; i < SHM_STATS_COUNT; i++)
        assert_non_null(shm_stat_names[i]);
    for (int i = 0; i < SHM_STATS_S3_OPS; i++)
        assert_non_null(shm_stat_s3_names[i]);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, fx_setup, fx_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_read_area),   TEST(test_nothing_overlaps),
        TEST(test_record),      cmocka_unit_test(test_tags),
        TEST(test_in_flight),   TEST(test_check),
        TEST(test_check_holds), TEST(test_stats),
    };

    return cmocka_run_group_tests_name("shm_journal", tests, NULL, NULL);
}
