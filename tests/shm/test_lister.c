/* Threads that have just listed a directory. */
#include "shm/shm_lister.h"
#include "tests/shm/fixture.h"

#define PID 5
#define FH 3
#define GAP SHM_LISTER_GAP_NS
#define TTL (1000 * GAP)
#define PIDS_MAX (64 * SHM_LISTERS) /* one of them shares a slot with PID */

static void opened(struct shm *shm, uint32_t pid, uint32_t dir, uint64_t fh, uint64_t now)
{
    fx_lock(shm);
    shm_lister_reads(shm, pid, dir, fh, now);
    fx_unlock(shm);
}

static void closed(struct shm *shm, uint32_t pid, uint32_t dir, uint64_t fh)
{
    fx_lock(shm);
    shm_lister_closed(shm, pid, dir, fh);
    fx_unlock(shm);
}

static int looks(struct shm *shm, uint32_t pid, uint32_t dir, bool is_open, uint64_t now)
{
    int r;

    fx_lock(shm);
    r = shm_lister_looks(shm, pid, dir, is_open, now, TTL);
    fx_unlock(shm);
    return r;
}

static void assert_looks(struct shm *shm, uint32_t pid, uint32_t dir, uint64_t now)
{
    assert_int_equal(looks(shm, pid, dir, false, now), SHM_LISTER_YES);
}

static void assert_looks_if_open(struct shm *shm, uint32_t pid, uint32_t dir, uint64_t now)
{
    assert_int_equal(looks(shm, pid, dir, false, now), SHM_LISTER_IF_OPEN);
}

static void assert_does_not_look(struct shm *shm, uint32_t pid, uint32_t dir, uint64_t now)
{
    assert_int_equal(looks(shm, pid, dir, true, now), SHM_LISTER_NO);
}

/* While it has the directory open it may take its time: then it is to be seen that it has. */
static void test_open(void **state)
{
    struct shm *shm = *state;
    uint64_t now = 101 + GAP;

    assert_does_not_look(shm, PID, SHM_ROOT, 100); /* nobody has listed anything */
    opened(shm, PID, SHM_ROOT, FH, 100);
    assert_looks(shm, PID, SHM_ROOT, 100);
    assert_looks_if_open(shm, PID, SHM_ROOT, now);
    assert_looks_if_open(shm, PID, SHM_ROOT, now); /* that was no look of its listing */
    assert_int_equal(looks(shm, PID, SHM_ROOT, true, now), SHM_LISTER_YES);
    assert_looks(shm, PID, SHM_ROOT, now + GAP);
    assert_looks_if_open(shm, PID, SHM_ROOT, now + GAP + TTL);
    assert_does_not_look(shm, PID, SHM_ROOT, now + GAP + TTL + 1);
}

/* Later only as long as each look follows the one before, or the last read, at once, however many
 * there are. */
static void test_closed(void **state)
{
    struct shm *shm = *state;
    uint64_t now = 100;

    opened(shm, PID, SHM_ROOT, FH, now);
    closed(shm, PID, SHM_ROOT, FH);
    for (int i = 0; i < 10; i++) {
        now += GAP;
        assert_looks(shm, PID, SHM_ROOT, now);
    }
    assert_does_not_look(shm, PID, SHM_ROOT, now + GAP + 1);
    assert_does_not_look(shm, PID, SHM_ROOT, now + 2 * GAP); /* that was no look of its listing */
    opened(shm, PID, SHM_ROOT, FH + 1, now + 3 * GAP);
    assert_looks(shm, PID, SHM_ROOT, now + 4 * GAP);
}

/* The kernel tells of a close when it comes to it: that begins nothing anew. */
static void test_closed_late(void **state)
{
    struct shm *shm = *state;

    opened(shm, PID, SHM_ROOT, FH, 100);
    assert_looks_if_open(shm, PID, SHM_ROOT, 101 + GAP);
    closed(shm, PID, SHM_ROOT, FH);
    assert_does_not_look(shm, PID, SHM_ROOT, 101 + GAP);
}

static void test_others(void **state)
{
    struct shm *shm = *state;
    uint32_t dir = fx_mkdir(shm, SHM_ROOT, "dir");

    opened(shm, PID, dir, FH, 100);
    assert_does_not_look(shm, PID + 1, dir, 100);
    assert_does_not_look(shm, PID, SHM_ROOT, 100);
    assert_does_not_look(shm, 0, dir, 100);
    closed(shm, PID + 1, dir, FH); /* what others close is not its own */
    closed(shm, PID, SHM_ROOT, FH);
    closed(shm, 0, dir, FH);
    assert_looks_if_open(shm, PID, dir, 101 + GAP);
}

/* A thread that has the directory open twice goes by the handle that it opened last. */
static void test_two_handles(void **state)
{
    struct shm *shm = *state;

    opened(shm, PID, SHM_ROOT, FH, 100);
    opened(shm, PID, SHM_ROOT, FH + 1, 200);
    closed(shm, PID, SHM_ROOT, FH);
    assert_looks_if_open(shm, PID, SHM_ROOT, 201 + GAP);
    closed(shm, PID, SHM_ROOT, FH + 1);
    assert_looks(shm, PID, SHM_ROOT, 200 + GAP);
    assert_does_not_look(shm, PID, SHM_ROOT, 201 + 2 * GAP);
}

/* The kernel does not know who it is: nothing is noted, and nothing of others is lost. */
static void test_nobody(void **state)
{
    struct shm *shm = *state;

    for (uint32_t pid = 1; pid <= PIDS_MAX; pid++) {
        opened(shm, pid, SHM_ROOT, FH, 100);
        opened(shm, 0, SHM_ROOT, FH, 100);
        assert_looks(shm, pid, SHM_ROOT, 100);
        closed(shm, 0, SHM_ROOT, FH);
        assert_looks_if_open(shm, pid, SHM_ROOT, 101 + GAP);
        assert_does_not_look(shm, 0, SHM_ROOT, 100);
    }
}

/* A thread that takes the slot of PID and `dir` when it opens `other`. */
static uint32_t rival(struct shm *shm, uint32_t dir, uint32_t other)
{
    for (uint32_t pid = PID + 1; pid < PID + PIDS_MAX; pid++) {
        opened(shm, PID, dir, FH, 100);
        opened(shm, pid, other, FH, 100);
        if (!looks(shm, PID, dir, true, 100))
            return pid;
    }
    fail_msg("no two of %d threads share a slot", PIDS_MAX);
    return 0;
}

/* Lost, never mixed up. */
static void test_slot_lost(void **state)
{
    struct shm *shm = *state;
    uint32_t dir = fx_mkdir(shm, SHM_ROOT, "dir"), pid;

    for (int same = 0; same < 2; same++) {
        uint32_t other = same ? dir : SHM_ROOT;

        pid = rival(shm, dir, other);
        assert_looks(shm, pid, other, 100);
        closed(shm, PID, dir, FH); /* the slot is another's by now */
        assert_looks_if_open(shm, pid, other, 101 + GAP);
        assert_does_not_look(shm, PID, dir, 100);
    }
}

/* Two directories of one thread. */
static void test_slot_lost_to_itself(void **state)
{
    struct shm_sizes sizes = fx_small;
    uint32_t first = SHM_NIL, dir = SHM_NIL;
    struct shm *shm;
    char name[16];

    (void)state;
    sizes.nodes = 4 * SHM_LISTERS;
    shm = fx_new(&sizes);
    for (unsigned i = 0; i < 2 * SHM_LISTERS; i++) {
        fx_name(name, 8, 'd', i);
        dir = fx_mkdir(shm, SHM_ROOT, name);
        first = i ? first : dir;
        opened(shm, PID, first, FH, 100);
        opened(shm, PID, dir, FH, 100);
        if (!looks(shm, PID, first, true, 100))
            break;
    }
    assert_does_not_look(shm, PID, first, 100);
    closed(shm, PID, first, FH);
    assert_looks_if_open(shm, PID, dir, 101 + GAP);
    fx_check(shm);
    shm_close(shm);
}

/* Another directory in the same place of the node table. */
static void test_reused_node(void **state)
{
    struct shm *shm = *state;
    uint32_t dir = fx_mkdir(shm, SHM_ROOT, "dir");
    char name[16];

    opened(shm, PID, dir, FH, 100);
    for (unsigned i = 0; shm->nodes->live < shm->header->sizes.nodes; i++) {
        fx_name(name, 8, 'f', i);
        fx_put(shm, SHM_ROOT, name, "1");
    }
    fx_lock(shm);
    shm_node_gone(shm, dir);
    fx_unlock(shm);
    assert_looks(shm, PID, dir, 100);
    assert_int_equal(fx_mkdir(shm, SHM_ROOT, "new"), dir);
    assert_does_not_look(shm, PID, dir, 100);
}

static void test_rolled_back(void **state)
{
    struct shm *shm = *state;

    opened(shm, PID, SHM_ROOT, FH, 100);
    fx_lock(shm);
    shm_lister_closed(shm, PID, SHM_ROOT, FH);
    shm_rollback(shm, shm->meta);
    fx_unlock(shm);
    assert_looks_if_open(shm, PID, SHM_ROOT, 101 + GAP);
    closed(shm, PID, SHM_ROOT, FH);
    fx_lock(shm);
    assert_int_equal(shm_lister_looks(shm, PID, SHM_ROOT, false, 100 + GAP, TTL), SHM_LISTER_YES);
    shm_rollback(shm, shm->meta);
    shm_lister_reads(shm, PID, SHM_ROOT, FH, 100 + GAP);
    shm_rollback(shm, shm->meta);
    fx_unlock(shm);
    assert_does_not_look(shm, PID, SHM_ROOT, 101 + GAP);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, fx_setup, fx_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_open),        TEST(test_closed),
        TEST(test_closed_late), TEST(test_others),
        TEST(test_two_handles), TEST(test_nobody),
        TEST(test_slot_lost),   cmocka_unit_test(test_slot_lost_to_itself),
        TEST(test_reused_node), TEST(test_rolled_back),
    };

    return cmocka_run_group_tests_name("shm_lister", tests, NULL, NULL);
}
