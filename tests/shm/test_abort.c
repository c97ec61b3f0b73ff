/* Uploads that are to be aborted: whose they are, and that they are found again. */
#include <errno.h>
#include <string.h>

#include "shm/shm_abort.h"
#include "tests/shm/fixture.h"

static void test_of_each_worker(void **state)
{
    struct shm *shm = *state;
    uint32_t a, b, c;

    fx_lock(shm);
    assert_int_equal(shm_abort_next(shm, 0, 0), 0);
    a = shm_abort_note(shm, 0, "k", "1");
    b = shm_abort_note(shm, 1, "k", "2");
    c = shm_abort_note(shm, 0, "l", "3");
    assert_true(a && b && c);
    assert_int_equal(shm_abort_next(shm, 0, 0), a);
    assert_int_equal(shm_abort_next(shm, 0, a), c);
    assert_int_equal(shm_abort_next(shm, 0, c), 0);
    assert_int_equal(shm_abort_next(shm, 1, 0), b);
    assert_string_equal(shm_abort_at(shm, c)->key, "l");
    assert_string_equal(shm_abort_at(shm, c)->id, "3");
    shm_abort_done(shm, a);
    shm_abort_done(shm, 0);
    assert_int_equal(shm_abort_next(shm, 0, 0), c);
    fx_unlock(shm);
}

static void test_all_in_use(void **state)
{
    struct shm *shm = *state;
    char key[2 * SHM_UPLOAD_KEY_MAX];

    memset(key, 'k', sizeof(key));
    key[sizeof(key) - 1] = '\0';
    for (unsigned i = 0; i < SHM_ABORTS; i++) {
        fx_lock(shm);
        assert_int_equal(shm_abort_note(shm, 3, key, key), i + 1);
        fx_unlock(shm);
    }
    fx_lock(shm);
    assert_int_equal(shm_abort_note(shm, 3, "k", "1"), 0);
    assert_int_equal(strlen(shm_abort_at(shm, 1)->key), SHM_UPLOAD_KEY_MAX - 1);
    shm_abort_done(shm, 7);
    assert_int_equal(shm_abort_note(shm, 2, "k", "1"), 7);
    fx_unlock(shm);
}

static void test_rolled_back(void **state)
{
    struct shm *shm = *state;
    uint32_t note;

    fx_lock(shm);
    note = shm_abort_note(shm, 0, "k", "1");
    fx_unlock(shm);
    fx_lock(shm);
    shm_abort_done(shm, note);
    (void)shm_abort_note(shm, 1, "l", "2");
    shm_rollback(shm, shm->meta);
    assert_int_equal(shm_abort_next(shm, 0, 0), note);
    assert_int_equal(shm_abort_next(shm, 1, 0), 0);
    assert_string_equal(shm_abort_at(shm, note)->key, "k");
    fx_unlock(shm);
}

static void test_abort_check(void **state)
{
    struct shm *shm = *state;
    uint32_t *owner = &shm->aborts->owner[5];
    struct shm_abort *a = &shm->aborts->slot[5];
    struct err err;

    assert_int_equal(shm_abort_check(shm, &err), 0);
    *owner = shm->header->sizes.workers + 1;
    assert_int_equal(shm_abort_check(shm, &err), -EUCLEAN);
    *owner = 1;
    memset(a->id, 'i', sizeof(a->id));
    assert_int_equal(shm_abort_check(shm, &err), -EUCLEAN);
    *owner = 0;
    assert_int_equal(shm_abort_check(shm, &err), 0);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, fx_setup, fx_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_of_each_worker),
        TEST(test_all_in_use),
        TEST(test_rolled_back),
        TEST(test_abort_check),
    };

    return cmocka_run_group_tests_name("shm_abort", tests, NULL, NULL);
}
