/* The ring of conflicts: order, wrap-around, nothing where nothing is compared. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "shm/shm_conflict.h"
#include "tests/shm/fixture.h"

static int setup(void **state)
{
    struct shm_sizes sizes = fx_small;

    sizes.baselines = 16;
    *state = fx_new(&sizes);
    return 0;
}

static void add(struct shm *shm, unsigned i)
{
    struct shm_conflict c = {.wall_ns = i, .tgid = (int32_t)i};

    snprintf(c.key, sizeof(c.key), "key%u", i);
    fx_lock(shm);
    shm_conflict_add(shm, &c);
    fx_unlock(shm);
}

static void test_wraps_around(void **state)
{
    struct shm *shm = *state;
    char key[16];

    for (unsigned i = 0; i < 2 * SHM_CONFLICTS + 5; i++)
        add(shm, i);
    assert_int_equal(shm->conflicts->count, 2 * SHM_CONFLICTS + 5);
    for (unsigned i = SHM_CONFLICTS + 5; i < 2 * SHM_CONFLICTS + 5; i++) {
        const struct shm_conflict *c = &shm->conflicts->slot[i % SHM_CONFLICTS];

        snprintf(key, sizeof(key), "key%u", i);
        assert_string_equal(c->key, key);
        assert_int_equal(c->tgid, i);
    }
    fx_check(shm);
}

static void test_rolled_back(void **state)
{
    struct shm *shm = *state;
    struct shm_conflict c = {.tgid = 7};

    add(shm, 1);
    fx_lock(shm);
    shm_conflict_add(shm, &c);
    shm_rollback(shm, shm->meta);
    fx_unlock(shm);
    assert_int_equal(shm->conflicts->count, 1);
    assert_int_equal(shm->conflicts->slot[1].tgid, 0);
}

static void test_check(void **state)
{
    struct shm *shm = *state;
    struct err err;

    add(shm, 1);
    memset(shm->conflicts->slot[0].key, 'k', sizeof(shm->conflicts->slot[0].key));
    assert_int_equal(shm_conflict_check(shm, &err), -EUCLEAN);
    memset(shm->conflicts->slot[0].key, 0, sizeof(shm->conflicts->slot[0].key));
}

static void test_none_without_compare_and_set(void **state)
{
    struct shm *shm = fx_new(&fx_small);

    (void)state;
    add(shm, 1);
    assert_int_equal(shm->conflicts->count, 0);
    fx_check(shm);
    shm_close(shm);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, fx_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_wraps_around),
        TEST(test_rolled_back),
        TEST(test_check),
        TEST(test_none_without_compare_and_set),
    };

    return cmocka_run_group_tests_name("shm_conflict", tests, NULL, NULL);
}
