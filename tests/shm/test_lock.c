/* The lock and its undo log: commit, rollback, the death of an owner. What each table does with
 * it: test_crash.c; how much of the log each call needs: test_undo.c. */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shm/shm_journal.h"
#include "tests/shm/fixture.h"

/* Bytes of the segment to play with: the payload of the first read area. */
static uint8_t *bytes(struct shm *shm)
{
    return shm_arena_read_area(shm, 0) + SHM_READ_HEAD;
}

static void save(struct shm *shm, void *p, size_t len)
{
    shm_save(shm, shm->meta, p, len);
}

static void test_commit(void **state)
{
    struct shm *shm = *state;
    uint8_t *b = bytes(shm);

    fx_lock(shm);
    save(shm, b, 3);
    memcpy(b, "abc", 3);
    assert_int_equal(shm->meta->log_used, 8 + 16);
    fx_unlock(shm);
    assert_int_equal(shm->meta->log_used, 0);
    assert_memory_equal(b, "abc", 3);
}

static void test_rollback_order(void **state)
{
    struct shm *shm = *state;
    uint8_t *b = bytes(shm);

    memcpy(b, "01234567", 8);
    fx_lock(shm);
    save(shm, b, 1); /* overlapping pieces: the oldest bytes win */
    memcpy(b, "x", 1);
    save(shm, b, 8);
    memcpy(b, "yyyyyyyy", 8);
    save(shm, b + 3, 2);
    memcpy(b + 3, "zz", 2);
    shm_rollback(shm, shm->meta);
    assert_memory_equal(b, "01234567", 8);
    assert_int_equal(shm->meta->log_used, 0);
    fx_unlock(shm);
}

static void test_rollback_to_mark(void **state)
{
    struct shm *shm = *state;
    uint8_t *b = bytes(shm);
    uint32_t mark;

    memcpy(b, "0123", 4);
    fx_lock(shm);
    save(shm, b, 4);
    memcpy(b, "aaaa", 4);
    mark = shm->meta->log_used;
    save(shm, b + 1, 2);
    memcpy(b + 1, "bb", 2);
    shm_rollback_to(shm, shm->meta, mark);
    assert_memory_equal(b, "aaaa", 4);
    shm_rollback(shm, shm->meta);
    assert_memory_equal(b, "0123", 4);
    fx_unlock(shm);
}

static void test_any_rollback(void **state)
{
    struct shm *shm = *state;
    uint8_t *b = bytes(shm);
    uint8_t before[256], marked[256];
    uint64_t seed = fx_seed();

    for (int round = 0; round < 2000; round++) {
        uint32_t mark = 0, at_mark = fx_below(&seed, 20);

        for (size_t i = 0; i < sizeof(before); i++)
            b[i] = (uint8_t)fx_rand(&seed);
        memcpy(before, b, sizeof(before));
        fx_lock(shm);
        for (uint32_t step = 0; step < 20; step++) {
            uint32_t off = fx_below(&seed, 200), len = fx_below(&seed, 56);

            if (step == at_mark) {
                mark = shm->meta->log_used;
                memcpy(marked, b, sizeof(marked));
            }
            save(shm, b + off, len);
            memset(b + off, (int)fx_below(&seed, 256), len);
        }
        shm_rollback_to(shm, shm->meta, mark);
        assert_memory_equal(b, marked, sizeof(marked));
        shm_rollback(shm, shm->meta);
        assert_memory_equal(b, before, sizeof(before));
        fx_unlock(shm);
    }
}

static void die_inside(struct shm *shm)
{
    fx_lock(shm);
    save(shm, bytes(shm), 4);
    memcpy(bytes(shm), "dead", 4);
    kill(getpid(), SIGKILL);
}

static void die_rolling_back(struct shm *shm)
{
    /* Takes over from die_inside(), which is undone, and dies as well. */
    die_inside(shm);
}

static void die_committed(struct shm *shm)
{
    fx_lock(shm);
    save(shm, bytes(shm), 4);
    memcpy(bytes(shm), "done", 4);
    fx_unlock(shm);
    fx_lock(shm);
    kill(getpid(), SIGKILL);
}

static void test_owner_dies(void **state)
{
    struct shm *shm = *state;
    uint64_t deaths = shm->meta->owner_deaths, rollbacks = shm->meta->rollbacks;

    memcpy(bytes(shm), "life", 4);
    assert_true(WIFSIGNALED(fx_in_child(die_inside, shm)));
    assert_memory_equal(bytes(shm), "dead", 4);
    assert_true(WIFSIGNALED(fx_in_child(die_rolling_back, shm)));
    fx_lock(shm);
    assert_memory_equal(bytes(shm), "life", 4);
    fx_unlock(shm);
    assert_int_equal(shm->meta->owner_deaths, deaths + 2);
    assert_int_equal(shm->meta->rollbacks, rollbacks + 2);

    assert_true(WIFSIGNALED(fx_in_child(die_committed, shm)));
    fx_lock(shm);
    assert_memory_equal(bytes(shm), "done", 4);
    fx_unlock(shm);
    assert_int_equal(shm->meta->owner_deaths, deaths + 3);
    assert_int_equal(shm->meta->rollbacks, rollbacks + 2);
}

static void overflow(struct shm *shm)
{
    fx_lock(shm);
    for (;;) {
        save(shm, bytes(shm), 1024);
        bytes(shm)[0]++;
    }
}

static void corrupt_log(struct shm *shm)
{
    fx_lock(shm);
    save(shm, bytes(shm), 8);
    memset(shm->meta->log, 0xff, 64);
    shm_rollback(shm, shm->meta);
}

static void wrong_order(struct shm *shm)
{
    struct shm_mutex *high = (void *)bytes(shm);

    shm_lock(shm, high);
    fx_lock(shm);
}

static void twice(struct shm *shm)
{
    fx_lock(shm);
    fx_lock(shm);
}

static bool aborts(void (*fn)(struct shm *shm), struct shm *shm)
{
    int status = fx_in_child(fn, shm);

    return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}

/* Our own bugs end the process, and what it did is undone. */
static void test_bugs_abort(void **state)
{
    struct shm_sizes sizes = fx_small;
    struct shm *shm;

    (void)state;
    sizes.payload = 128u << 10; /* room for another lock */
    shm = fx_new(&sizes);
    bytes(shm)[0] = 7;
    assert_true(aborts(overflow, shm));
    fx_lock(shm);
    assert_int_equal(bytes(shm)[0], 7);
    fx_unlock(shm);
    assert_true(aborts(twice, shm));
    shm_mutex_init((void *)bytes(shm), SHM_RANK_BLOCK);
    assert_true(aborts(wrong_order, shm));
    shm_close(shm);
    shm = fx_new(&sizes);
    assert_true(aborts(corrupt_log, shm)); /* and no one can go on with it */
    shm_close(shm);
}

#define COUNTERS 4
#define ROUNDS 20000

/* Two numbers that differ inside a section only. */
static void count_up(struct shm *shm)
{
    uint64_t *n = (uint64_t *)bytes(shm);

    for (int i = 0; i < ROUNDS; i++) {
        fx_lock(shm);
        if (n[0] != n[1])
            _exit(1);
        shm_set(shm, shm->meta, n[0], n[0] + 1);
        shm_set(shm, shm->meta, n[1], n[1] + 1);
        fx_unlock(shm);
    }
}

static void test_contention(void **state)
{
    struct shm *shm = *state;
    pid_t pids[COUNTERS];

    memset(bytes(shm), 0, 16);
    for (int i = 0; i < COUNTERS; i++) {
        pids[i] = fork();
        assert_true(pids[i] >= 0);
        if (pids[i] == 0) {
            count_up(shm);
            _exit(0);
        }
    }
    for (int i = 0; i < COUNTERS; i++) {
        int status;

        assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
        assert_int_equal(status, 0);
    }
    assert_int_equal(*(uint64_t *)bytes(shm), COUNTERS * ROUNDS);
}

/* A waiter gets the lock of an owner that dies while it waits. */
static void test_waiter_inherits(void **state)
{
    struct shm *shm = *state;
    int pipes[2];
    pid_t owner;
    char c;

    memcpy(bytes(shm), "life", 4);
    assert_int_equal(pipe(pipes), 0);
    owner = fork();
    assert_true(owner >= 0);
    if (owner == 0) {
        fx_lock(shm);
        save(shm, bytes(shm), 4);
        memcpy(bytes(shm), "dead", 4);
        (void)!write(pipes[1], "x", 1);
        usleep(100 * 1000); /* longer than a waiter sleeps at once */
        kill(getpid(), SIGKILL);
    }
    assert_int_equal(read(pipes[0], &c, 1), 1);
    fx_lock(shm);
    assert_memory_equal(bytes(shm), "life", 4);
    fx_unlock(shm);
    assert_int_equal(waitpid(owner, NULL, 0), owner);
    close(pipes[0]);
    close(pipes[1]);
}

/* A waiter that was woken and killed before it had the lock takes the wake-up with it; if a third
 * process has taken the lock by then, the mutex no longer says that somebody waits. Seen from the
 * next waiter it is this: the mark (FUTEX_WAITERS, in the first word of the mutex) is gone, and
 * nobody will wake it. */
static void test_lost_wakeup(void **state)
{
    struct shm *shm = *state;
    _Atomic uint32_t *word = (_Atomic uint32_t *)&shm->meta->mutex;
    int pipes[2], status;
    pid_t waiter;
    char c;

    assert_int_equal(pipe(pipes), 0);
    waiter = fork();
    assert_true(waiter >= 0);
    if (waiter == 0) {
        alarm(10);
        (void)!read(pipes[0], &c, 1);
        fx_lock(shm);
        fx_unlock(shm);
        _exit(0);
    }
    fx_lock(shm);
    assert_int_equal(write(pipes[1], "x", 1), 1);
    usleep(10 * 1000);
    *word &= UINT32_C(0x7fffffff);
    fx_unlock(shm);
    assert_int_equal(waitpid(waiter, &status, 0), waiter);
    assert_int_equal(status, 0);
    close(pipes[0]);
    close(pipes[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_commit, fx_setup, fx_teardown),
        cmocka_unit_test_setup_teardown(test_rollback_order, fx_setup, fx_teardown),
        cmocka_unit_test_setup_teardown(test_rollback_to_mark, fx_setup, fx_teardown),
        cmocka_unit_test_setup_teardown(test_any_rollback, fx_setup, fx_teardown),
        cmocka_unit_test_setup_teardown(test_owner_dies, fx_setup, fx_teardown),
        cmocka_unit_test(test_bugs_abort),
        cmocka_unit_test_setup_teardown(test_contention, fx_setup, fx_teardown),
        cmocka_unit_test_setup_teardown(test_waiter_inherits, fx_setup, fx_teardown),
        cmocka_unit_test_setup_teardown(test_lost_wakeup, fx_setup, fx_teardown),
    };

    return cmocka_run_group_tests_name("shm_lock", tests, NULL, NULL);
}
