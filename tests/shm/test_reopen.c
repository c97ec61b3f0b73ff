/* Opens that come back after ESTALE. */
#include "shm/shm_reopen.h"
#include "tests/shm/fixture.h"

#define INO 77
#define MAX 1000

static void note(struct shm *shm, uint32_t pid, uint64_t since)
{
    fx_lock(shm);
    shm_reopen_note(shm, pid, INO, since);
    fx_unlock(shm);
}

static bool take(struct shm *shm, uint32_t pid, uint64_t ino, uint64_t checked, uint64_t now)
{
    bool good;

    fx_lock(shm);
    good = shm_reopen_take(shm, pid, ino, checked, now, MAX);
    fx_unlock(shm);
    return good;
}

static void test_asked_since(void **state)
{
    struct shm *shm = *state;

    assert_false(take(shm, 5, INO, 100, 100)); /* nothing noted */
    note(shm, 5, 100);
    assert_false(take(shm, 6, INO, 100, 200));
    assert_false(take(shm, 5, INO + 1, 100, 200));
    assert_true(shm_reopen_waits(shm, 5, INO));
    assert_false(shm_reopen_waits(shm, 5, INO + 1));
    assert_true(take(shm, 5, INO, 100, 200));
    assert_false(take(shm, 5, INO, 100, 200)); /* once */
    assert_false(shm_reopen_waits(shm, 5, INO));
}

/* What was asked before it came in may be older than the open(2) itself. */
static void test_asked_before(void **state)
{
    struct shm *shm = *state;

    note(shm, 5, 100);
    assert_false(take(shm, 5, INO, 99, 200));
    assert_false(take(shm, 5, INO, 300, 300)); /* of another open(2) */
    note(shm, 5, 400);
    assert_true(take(shm, 5, INO, 400, 400));
}

/* The repetition fails too: the next open(2) begins later than what was noted. */
static void test_repetition_fails(void **state)
{
    struct shm *shm = *state;

    note(shm, 5, 100);
    assert_false(take(shm, 5, INO, 99, 200));
    note(shm, 5, 200);
    assert_false(take(shm, 5, INO, 250, 300));
    note(shm, 5, 300);
    assert_true(take(shm, 5, INO, 350, 400));
}

static void test_too_late(void **state)
{
    struct shm *shm = *state;

    note(shm, 5, 100);
    assert_true(take(shm, 5, INO, 100 + MAX, 100 + MAX)); /* not yet */
    note(shm, 5, 100);
    assert_false(take(shm, 5, INO, 100 + MAX, 101 + MAX));
    assert_false(take(shm, 5, INO, 100 + MAX, 100 + MAX));
}

static void test_slots(void **state)
{
    struct shm *shm = *state;

    note(shm, 0, 100); /* the kernel does not know who it is */
    assert_false(take(shm, 0, INO, 100, 100));
    note(shm, 5, 100);
    note(shm, 5 + SHM_REOPENS, 100);
    assert_false(take(shm, 5, INO, 100, 100));
    assert_true(take(shm, 5 + SHM_REOPENS, INO, 100, 100));
    fx_check(shm);
}

/* ---- for writing, compare-and-set ---- */

static void note_private(struct shm *shm, uint32_t pid, uint64_t since)
{
    fx_lock(shm);
    shm_reopen_note_private(shm, pid, INO, since);
    fx_unlock(shm);
}

static void has_private(struct shm *shm, uint32_t pid, uint64_t ino)
{
    fx_lock(shm);
    shm_reopen_has_private(shm, pid, ino);
    fx_unlock(shm);
}

static bool wants(struct shm *shm, uint32_t pid, uint64_t ino, uint64_t now)
{
    bool r;

    fx_lock(shm);
    r = shm_reopen_wants_private(shm, pid, ino, now, MAX);
    fx_unlock(shm);
    return r;
}

static void test_private(void **state)
{
    struct shm *shm = *state;

    assert_false(wants(shm, 5, INO, 100)); /* nothing noted */
    note_private(shm, 5, 100);
    assert_true(wants(shm, 5, INO, 100));
    assert_true(wants(shm, 5, INO, 200)); /* until it has one */
    assert_false(wants(shm, 6, INO, 200));
    assert_false(wants(shm, 0, INO, 200));
    assert_false(wants(shm, 5, INO + 1, 200));
    has_private(shm, 6, INO);
    has_private(shm, 0, INO);
    has_private(shm, 5, INO + 1);
    assert_true(wants(shm, 5, INO, 200));
    has_private(shm, 5, INO);
    assert_false(wants(shm, 5, INO, 200));
    assert_false(take(shm, 5, INO, 200, 200)); /* nor is anything left of it */
}

static void test_private_too_late(void **state)
{
    struct shm *shm = *state;

    note_private(shm, 5, 100);
    assert_true(wants(shm, 5, INO, 100 + MAX));
    assert_false(wants(shm, 5, INO, 101 + MAX));
    note_private(shm, 5, 200); /* told so again: from now on */
    assert_true(wants(shm, 5, INO, 200 + MAX));
    assert_false(wants(shm, 5, INO, 201 + MAX));
}

/* A thread that is not known is all of those that are not known, and none that is. */
static void test_private_of_anybody(void **state)
{
    struct shm *shm = *state;

    note_private(shm, 0, 100);
    assert_true(wants(shm, 0, INO, 200));
    assert_false(wants(shm, 0, INO + 1, 200));
    assert_false(wants(shm, 5, INO, 200));
    assert_false(wants(shm, 0, INO, 101 + MAX));
    has_private(shm, 5, INO);
    has_private(shm, 0, INO + 1);
    assert_true(wants(shm, 0, INO, 200));
    has_private(shm, 0, INO);
    assert_false(wants(shm, 0, INO, 200));
}

/* What asks for a node is one thing, what goes by another's answer the other. */
static void test_private_and_plain(void **state)
{
    struct shm *shm = *state;

    note(shm, 5, 100);
    assert_false(wants(shm, 5, INO, 100)); /* an OPEN for reading */
    has_private(shm, 5, INO);
    assert_true(shm_reopen_waits(shm, 5, INO));
    note_private(shm, 5, 200); /* over it */
    assert_true(wants(shm, 5, INO, 200));
    note(shm, 5, 300);
    assert_false(wants(shm, 5, INO, 300));
    assert_true(take(shm, 5, INO, 300, 300));
    note_private(shm, 0, 100); /* nobody's open(2) goes by what anybody's was told */
    assert_false(shm_reopen_waits(shm, 0, INO));
    assert_false(take(shm, 0, INO, 100, 100));
    assert_true(wants(shm, 0, INO, 100));
}

static void test_private_slots(void **state)
{
    struct shm *shm = *state;

    note_private(shm, 5, 100);
    note_private(shm, 5 + SHM_REOPENS, 100);
    assert_false(wants(shm, 5, INO, 100));
    has_private(shm, 5, INO); /* the slot is another's by now */
    assert_true(wants(shm, 5 + SHM_REOPENS, INO, 100));
    fx_lock(shm);
    shm_reopen_has_private(shm, 5 + SHM_REOPENS, INO);
    shm_rollback(shm, shm->meta);
    fx_unlock(shm);
    assert_true(wants(shm, 5 + SHM_REOPENS, INO, 100));
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, fx_setup, fx_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_asked_since),
        TEST(test_asked_before),
        TEST(test_repetition_fails),
        TEST(test_too_late),
        TEST(test_slots),
        TEST(test_private),
        TEST(test_private_too_late),
        TEST(test_private_of_anybody),
        TEST(test_private_and_plain),
        TEST(test_private_slots),
    };

    return cmocka_run_group_tests_name("shm_reopen", tests, NULL, NULL);
}
