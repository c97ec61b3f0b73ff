/* Who reads ahead: how many count, and where one runs into another. */
#include "shm/shm_reader.h"
#include "tests/shm/fixture.h"

#define MIB (UINT64_C(1) << 20)
#define SEC UINT64_C(1000000000)

static uint32_t note(struct shm *shm, uint32_t node, uint64_t start, uint64_t off, uint64_t now,
                     uint64_t *ret_end)
{
    struct shm_reader r = {.node = node, .content = 1, .start = start, .off = off, .seen_ns = now};
    uint32_t n;

    fx_lock(shm);
    n = shm_reader_note(shm, &r, 8 * MIB, ret_end);
    fx_unlock(shm);
    return n;
}

static void test_readers_are_counted_while_they_read(void **state)
{
    uint64_t end;

    assert_int_equal(note(*state, 1, 0, MIB, SEC, &end), 1);
    assert_int_equal(note(*state, 2, 0, MIB, SEC + 1, &end), 2);
    assert_int_equal(note(*state, 1, 0, 2 * MIB, SEC + 2, &end), 2);
    assert_int_equal(note(*state, 1, 0, 4 * MIB, 2 * SEC + 1, &end), 2);
    assert_int_equal(note(*state, 1, 0, 4 * MIB, 2 * SEC + 2, &end), 1); /* 2 rests */
}

static void test_readers_at_one_place_count_as_one(void **state)
{
    uint64_t end;

    for (uint64_t i = 0; i < 1000; i++)
        assert_int_equal(note(*state, 1, 0, i % 7 * MIB, SEC + i, &end), 1);
    assert_int_equal(note(*state, 1, 40 * MIB, 41 * MIB, 2 * SEC, &end), 2);
}

static void test_end_is_where_another_has_begun(void **state)
{
    uint64_t end;

    (void)note(*state, 1, 50 * MIB, 60 * MIB, SEC, &end);
    assert_int_equal(end, UINT64_MAX);
    (void)note(*state, 1, 100 * MIB, 110 * MIB, SEC, &end);
    (void)note(*state, 1, 0, 10 * MIB, SEC, &end);
    assert_int_equal(end, 50 * MIB);
    (void)note(*state, 1, 50 * MIB, 61 * MIB, SEC, &end);
    assert_int_equal(end, 100 * MIB);
    (void)note(*state, 2, 0, 10 * MIB, SEC, &end); /* another file */
    assert_int_equal(end, UINT64_MAX);
    assert_int_equal(note(*state, 1, 0, 11 * MIB, 30 * SEC, &end), 1); /* they rest */
    assert_int_equal(end, 50 * MIB);
    (void)note(*state, 1, 0, 12 * MIB, 90 * SEC, &end); /* long ago */
    assert_int_equal(end, UINT64_MAX);
}

static void test_more_readers_than_can_be_told_apart(void **state)
{
    uint64_t end;

    for (uint32_t i = 0; i < SHM_READERS; i++)
        assert_int_equal(note(*state, i, 0, 0, SEC, &end), i + 1);
    assert_int_equal(note(*state, SHM_READERS, 0, 0, SEC, &end), SHM_READERS);
    assert_int_equal(note(*state, 3, 0, 0, SEC, &end), SHM_READERS);
    assert_int_equal(note(*state, 99, 0, 0, 3 * SEC, &end), 1);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, fx_setup, fx_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_readers_are_counted_while_they_read),
        TEST(test_readers_at_one_place_count_as_one),
        TEST(test_end_is_where_another_has_begun),
        TEST(test_more_readers_than_can_be_told_apart),
    };

    return cmocka_run_group_tests_name("shm_reader", tests, NULL, NULL);
}
