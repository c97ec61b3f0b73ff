/* Opens that come back after ESTALE. */
#include "shm/shm_reopen.h"
#include "tests/shm/fixture.h"

#define NAME 77
#define MAX 1000

static uint32_t request = 1; /* the OPEN that came last */

static void note(struct shm *shm, uint32_t pid, uint64_t since)
{
    fx_lock(shm);
    shm_reopen_note(shm, pid, NAME, request, since);
    fx_unlock(shm);
}

/* That OPEN is looked at (again, if its worker has died). */
static bool take_again(struct shm *shm, uint32_t pid, uint64_t name, uint64_t checked, uint64_t now)
{
    bool good;

    fx_lock(shm);
    good = shm_reopen_take(shm, pid, name, request, checked, now, MAX);
    fx_unlock(shm);
    return good;
}

static bool take(struct shm *shm, uint32_t pid, uint64_t name, uint64_t checked, uint64_t now)
{
    request += 2;
    return take_again(shm, pid, name, checked, now);
}

static void test_asked_since(void **state)
{
    struct shm *shm = *state;

    assert_false(take(shm, 5, NAME, 100, 100)); /* nothing noted */
    note(shm, 5, 100);
    assert_false(take(shm, 6, NAME, 100, 200));
    assert_false(take(shm, 5, NAME + 1, 100, 200));
    assert_true(shm_reopen_waits(shm, 5, NAME));
    assert_false(shm_reopen_waits(shm, 5, NAME + 1));
    assert_true(take(shm, 5, NAME, 100, 200));
    assert_false(take(shm, 5, NAME, 100, 200)); /* once */
    assert_false(shm_reopen_waits(shm, 5, NAME));
}

/* What was asked before it came in may be older than the open(2) itself. */
static void test_asked_before(void **state)
{
    struct shm *shm = *state;

    note(shm, 5, 100);
    assert_false(take(shm, 5, NAME, 99, 200));
    assert_false(take(shm, 5, NAME, 300, 300)); /* of another open(2) */
    note(shm, 5, 400);
    assert_true(take(shm, 5, NAME, 400, 400));
}

/* The repetition fails too: the next open(2) begins later than what was noted. */
static void test_repetition_fails(void **state)
{
    struct shm *shm = *state;

    note(shm, 5, 100);
    assert_false(take(shm, 5, NAME, 99, 200));
    note(shm, 5, 200);
    assert_false(take(shm, 5, NAME, 250, 300));
    note(shm, 5, 300);
    assert_true(take(shm, 5, NAME, 350, 400));
}

/* A worker may die at any time, and what it has begun is handled once more. */
static void test_handled_again(void **state)
{
    struct shm *shm = *state;

    note(shm, 5, 100);
    assert_false(take_again(shm, 5, NAME, 99, 200)); /* this one is no repetition */
    note(shm, 5, 100);
    assert_true(take(shm, 5, NAME, 150, 200));
    assert_true(take_again(shm, 5, NAME, 150, 210));
    assert_false(take_again(shm, 5, NAME, 99, 220));
    note(shm, 5, 200); /* it fails after all, twice told */
    note(shm, 5, 200);
    request += 2;
    note(shm, 5, 300);
    assert_true(take(shm, 5, NAME, 350, 400));
}

static void test_too_late(void **state)
{
    struct shm *shm = *state;

    note(shm, 5, 100);
    assert_true(take(shm, 5, NAME, 100 + MAX, 100 + MAX)); /* not yet */
    request += 2;
    note(shm, 5, 100);
    assert_false(take(shm, 5, NAME, 100 + MAX, 101 + MAX));
    assert_false(take(shm, 5, NAME, 100 + MAX, 100 + MAX));
}

static void test_slots(void **state)
{
    struct shm *shm = *state;

    note(shm, 0, 100); /* the kernel does not know who it is */
    assert_false(take(shm, 0, NAME, 100, 100));
    for (uint32_t i = 0; i <= SHM_REOPEN_WAYS; i++)
        note(shm, 5 + i * SHM_REOPEN_SETS, 100 + i);
    assert_false(take(shm, 5, NAME, 200, 200)); /* the oldest of its set */
    for (uint32_t i = 1; i <= SHM_REOPEN_WAYS; i++)
        assert_true(take(shm, 5 + i * SHM_REOPEN_SETS, NAME, 200, 200));
    fx_check(shm);
}

/* A thread may wait for several files at once: it may have been told of one, and gone on to the
 * next. */
static void test_files(void **state)
{
    struct shm *shm = *state;

    note(shm, 5, 100);
    fx_lock(shm);
    shm_reopen_note(shm, 5, NAME + 1, request, 110);
    fx_unlock(shm);
    assert_true(take(shm, 5, NAME + 1, 150, 200));
    assert_true(take(shm, 5, NAME, 150, 200));
}

static bool since(struct shm *shm, uint64_t name, uint64_t checked, uint64_t now)
{
    bool r;

    fx_lock(shm);
    r = shm_reopen_since(shm, name, checked, now, MAX);
    fx_unlock(shm);
    return r;
}

/* What is answered to one thread's LOOKUP may be answered to another one's. */
static void test_since(void **state)
{
    struct shm *shm = *state;

    assert_false(since(shm, NAME, 0, 100)); /* nothing noted */
    note(shm, 5, 100);
    note(shm, 6, 120);
    assert_true(since(shm, NAME, 99, 200));
    assert_true(since(shm, NAME, 119, 200));
    assert_false(since(shm, NAME, 120, 200));
    assert_false(since(shm, NAME + 1, 99, 200));
    assert_false(since(shm, NAME, 99, 121 + MAX));
    assert_true(take(shm, 6, NAME, 130, 200));
    assert_false(since(shm, NAME, 100, 200));
    assert_true(since(shm, NAME, 99, 200));
    assert_true(take(shm, 5, NAME, 130, 200));
    assert_false(since(shm, NAME, 99, 200));
}

/* ---- for writing, compare-and-set ---- */

static void note_private(struct shm *shm, uint32_t pid, uint64_t since)
{
    fx_lock(shm);
    shm_reopen_note_private(shm, pid, NAME, request, since);
    fx_unlock(shm);
}

static void has_private(struct shm *shm, uint32_t pid, uint64_t name)
{
    fx_lock(shm);
    shm_reopen_has_private(shm, pid, name);
    fx_unlock(shm);
}

static bool wants(struct shm *shm, uint32_t pid, uint64_t name, uint64_t now)
{
    bool r;

    fx_lock(shm);
    r = shm_reopen_wants_private(shm, pid, name, now, MAX);
    fx_unlock(shm);
    return r;
}

static void test_private(void **state)
{
    struct shm *shm = *state;

    assert_false(wants(shm, 5, NAME, 100)); /* nothing noted */
    note_private(shm, 5, 100);
    assert_true(wants(shm, 5, NAME, 100));
    assert_true(wants(shm, 5, NAME, 200)); /* until it has one */
    assert_false(wants(shm, 6, NAME, 200));
    assert_false(wants(shm, 0, NAME, 200));
    assert_false(wants(shm, 5, NAME + 1, 200));
    has_private(shm, 6, NAME);
    has_private(shm, 0, NAME);
    has_private(shm, 5, NAME + 1);
    assert_true(wants(shm, 5, NAME, 200));
    has_private(shm, 5, NAME);
    assert_false(wants(shm, 5, NAME, 200));
    assert_false(take(shm, 5, NAME, 200, 200)); /* nor is anything left of it */
}

static void test_private_too_late(void **state)
{
    struct shm *shm = *state;

    note_private(shm, 5, 100);
    assert_true(wants(shm, 5, NAME, 100 + MAX));
    assert_false(wants(shm, 5, NAME, 101 + MAX));
    note_private(shm, 5, 200); /* told so again: from now on */
    assert_true(wants(shm, 5, NAME, 200 + MAX));
    assert_false(wants(shm, 5, NAME, 201 + MAX));
}

/* A thread that is not known is all of those that are not known, and none that is. */
static void test_private_of_anybody(void **state)
{
    struct shm *shm = *state;

    note_private(shm, 0, 100);
    assert_true(wants(shm, 0, NAME, 200));
    assert_false(wants(shm, 0, NAME + 1, 200));
    assert_false(wants(shm, 5, NAME, 200));
    assert_false(wants(shm, 0, NAME, 101 + MAX));
    has_private(shm, 5, NAME);
    has_private(shm, 0, NAME + 1);
    assert_true(wants(shm, 0, NAME, 200));
    has_private(shm, 0, NAME);
    assert_false(wants(shm, 0, NAME, 200));
}

/* What asks for a node is one thing, what goes by another's answer the other. */
static void test_private_and_plain(void **state)
{
    struct shm *shm = *state;

    note(shm, 5, 100);
    assert_false(wants(shm, 5, NAME, 100)); /* an OPEN for reading */
    has_private(shm, 5, NAME);
    assert_true(shm_reopen_waits(shm, 5, NAME));
    note_private(shm, 5, 200); /* over it */
    assert_true(wants(shm, 5, NAME, 200));
    note(shm, 5, 300);
    assert_false(wants(shm, 5, NAME, 300));
    assert_true(take(shm, 5, NAME, 300, 300));
    note_private(shm, 0, 100); /* nobody's open(2) goes by what anybody's was told */
    assert_false(shm_reopen_waits(shm, 0, NAME));
    assert_false(take(shm, 0, NAME, 100, 100));
    assert_true(wants(shm, 0, NAME, 100));
}

static void test_private_slots(void **state)
{
    struct shm *shm = *state;
    uint32_t last = 5 + SHM_REOPEN_WAYS * SHM_REOPEN_SETS;

    for (uint32_t i = 0; i <= SHM_REOPEN_WAYS; i++)
        note_private(shm, 5 + i * SHM_REOPEN_SETS, 100 + i);
    assert_false(wants(shm, 5, NAME, 200));
    has_private(shm, 5, NAME); /* the slot is another's by now */
    assert_true(wants(shm, last, NAME, 200));
    fx_lock(shm);
    shm_reopen_has_private(shm, last, NAME);
    shm_rollback(shm, shm->meta);
    fx_unlock(shm);
    assert_true(wants(shm, last, NAME, 200));
}

/* The repetition goes by what S3 was asked since, and still is to get a node of its own. */
static void test_private_stays_wanted(void **state)
{
    struct shm *shm = *state;

    note_private(shm, 5, 100);
    assert_true(take(shm, 5, NAME, 150, 200));
    assert_true(wants(shm, 5, NAME, 200));
    has_private(shm, 5, NAME);
    assert_false(wants(shm, 5, NAME, 200));
    note_private(shm, 5, 300);
    assert_true(take(shm, 5, NAME, 350, 400));
    assert_false(take(shm, 5, NAME, 450, 500)); /* another open(2) */
    assert_false(wants(shm, 5, NAME, 500));
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, fx_setup, fx_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_asked_since),
        TEST(test_asked_before),
        TEST(test_repetition_fails),
        TEST(test_handled_again),
        TEST(test_too_late),
        TEST(test_slots),
        TEST(test_files),
        TEST(test_since),
        TEST(test_private),
        TEST(test_private_too_late),
        TEST(test_private_of_anybody),
        TEST(test_private_and_plain),
        TEST(test_private_slots),
        TEST(test_private_stays_wanted),
    };

    return cmocka_run_group_tests_name("shm_reopen", tests, NULL, NULL);
}
