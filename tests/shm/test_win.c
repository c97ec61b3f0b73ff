/* Two writes of one version, both taken: when that is said, and when not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "fixture.h"
#include "shm/shm_win.h"

static bool add(struct shm *shm, const char *key, const char *from, const char *to, uint64_t sent,
                uint64_t now)
{
    bool alone;

    shm_lock(shm, shm->meta);
    alone = shm_win_add(shm, key, from, to, sent, now);
    shm_unlock(shm, shm->meta);
    return alone;
}

static void forget(struct shm *shm, const char *key)
{
    shm_lock(shm, shm->meta);
    shm_win_forget(shm, key);
    shm_unlock(shm, shm->meta);
}

static void test_at_once(void **state)
{
    struct shm *shm = *state;

    assert_true(add(shm, "k", "\"a\"", "\"b\"", 10, 20));
    /* was under way when the first was taken */
    assert_false(add(shm, "k", "\"a\"", "\"c\"", 15, 25));
    assert_true(add(shm, "other", "\"a\"", "\"c\"", 15, 25));
    assert_true(add(shm, "k", "\"b\"", "\"c\"", 15, 25));
}

static void test_one_after_the_other(void **state)
{
    struct shm *shm = *state;

    assert_true(add(shm, "k", "\"a\"", "\"b\"", 10, 20));
    assert_true(add(shm, "k", "\"a\"", "\"b\"", 21, 30)); /* somebody else has put "a" back */
}

static void test_the_same_again(void **state)
{
    struct shm *shm = *state;

    assert_true(add(shm, "k", "\"a\"", "\"a\"", 10, 20));
    assert_true(add(shm, "k", "\"a\"", "\"b\"", 15, 25));
}

static void test_deleted(void **state)
{
    struct shm *shm = *state;

    assert_true(add(shm, "lock", "", "\"e\"", 10, 20));
    forget(shm, "lock");
    assert_true(add(shm, "lock", "", "\"e\"", 15, 25));
    assert_false(add(shm, "lock", "", "\"f\"", 15, 25));
}

static void test_a_ring(void **state)
{
    struct shm *shm = *state;
    char key[16];

    assert_true(add(shm, "k", "\"a\"", "\"b\"", 10, 20));
    for (unsigned i = 0; i < SHM_WINS; i++) {
        snprintf(key, sizeof(key), "k%u", i);
        assert_true(add(shm, key, "", "\"b\"", 10, 20));
    }
    assert_true(add(shm, "k", "\"a\"", "\"c\"", 15, 25)); /* forgotten */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_at_once, fx_setup, fx_teardown),
        cmocka_unit_test_setup_teardown(test_one_after_the_other, fx_setup, fx_teardown),
        cmocka_unit_test_setup_teardown(test_the_same_again, fx_setup, fx_teardown),
        cmocka_unit_test_setup_teardown(test_deleted, fx_setup, fx_teardown),
        cmocka_unit_test_setup_teardown(test_a_ring, fx_setup, fx_teardown),
    };

    return cmocka_run_group_tests_name("shm_win", tests, NULL, NULL);
}
