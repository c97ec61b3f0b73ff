/* The respawn policy, with a clock of the test's own. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "daemon/respawn.h"

#define MS NS_PER_MS
#define EXITED(code) ((code) << 8) /* as waitpid(2) tells it */

static void test_judge(void **state)
{
    static const int faults[] = {SIGSEGV, SIGBUS, SIGABRT, SIGILL, SIGFPE, SIGSYS};

    (void)state;
    for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
        assert_int_equal(respawn_judge(faults[i], false), RESPAWN_CRASHED);
        assert_int_equal(respawn_judge(faults[i] | 0x80, false),
                         RESPAWN_CRASHED); /* with a core file */
    }
    assert_int_equal(respawn_judge(SIGKILL, false), RESPAWN_KILLED);
    assert_int_equal(respawn_judge(SIGTERM, false), RESPAWN_KILLED);
    assert_int_equal(respawn_judge(EXITED(0), false), RESPAWN_KILLED);
    assert_int_equal(respawn_judge(EXITED(1), false), RESPAWN_CRASHED);
    assert_int_equal(respawn_judge(EXITED(4), false), RESPAWN_CRASHED);
    assert_int_equal(respawn_judge(SIGKILL, true), RESPAWN_CRASHED);
}

/* Dies `lived_ns` after its start; the next start comes after the delay. */
static uint64_t die(struct respawn *r, uint64_t *now, uint64_t lived_ns, enum respawn_death death)
{
    uint64_t delay;

    *now += lived_ns;
    delay = respawn_delay(r, death, *now);
    *now += delay;
    respawn_started(r, *now);
    return delay;
}

static void test_crashes_back_off(void **state)
{
    static const uint64_t want_ms[] = {0, 100, 200, 400, 800, 1600, 3200, 5000, 5000};
    struct respawn r = {0};
    uint64_t now = 1000 * NS_PER_S;

    (void)state;
    respawn_started(&r, now);
    for (size_t i = 0; i < sizeof(want_ms) / sizeof(want_ms[0]); i++)
        assert_int_equal(die(&r, &now, 5 * MS, RESPAWN_CRASHED), want_ms[i] * MS);
}

static void test_endless_crashes_do_not_overflow(void **state)
{
    struct respawn r = {.crashes = UINT32_MAX - 2};
    uint64_t now = NS_PER_S;

    (void)state;
    respawn_started(&r, now);
    assert_int_equal(die(&r, &now, MS, RESPAWN_CRASHED), RESPAWN_CRASH_MAX_NS);
}

static void test_being_well_clears_the_sheet(void **state)
{
    struct respawn r = {0};
    uint64_t now = 0;

    (void)state;
    for (int i = 0; i < 5; i++)
        die(&r, &now, MS, RESPAWN_CRASHED);
    assert_int_equal(die(&r, &now, RESPAWN_WELL_NS - 1, RESPAWN_CRASHED), 1600 * MS);
    assert_int_equal(die(&r, &now, RESPAWN_WELL_NS, RESPAWN_CRASHED), 0);
    assert_int_equal(die(&r, &now, MS, RESPAWN_CRASHED), 100 * MS);
}

/* Workers that are killed every now and then, for ever, are replaced at once, each of them. */
static void test_kills_are_no_crashes(void **state)
{
    struct respawn r = {0};
    uint64_t now = 0;

    (void)state;
    respawn_started(&r, now);
    for (int i = 0; i < 1000; i++)
        assert_int_equal(die(&r, &now, RESPAWN_EARLY_NS, RESPAWN_KILLED), 0);
}

static void test_a_kill_does_not_clear_crashes(void **state)
{
    struct respawn r = {0};
    uint64_t now = 0;

    (void)state;
    die(&r, &now, MS, RESPAWN_CRASHED);
    assert_int_equal(die(&r, &now, MS, RESPAWN_KILLED), 0);
    assert_int_equal(die(&r, &now, MS, RESPAWN_CRASHED), 100 * MS);
}

static void test_early_kills_have_a_far_limit(void **state)
{
    struct respawn r = {0};
    uint64_t now = 0;

    (void)state;
    respawn_started(&r, now);
    for (int i = 0; i < RESPAWN_EARLY_KILLS; i++)
        assert_int_equal(die(&r, &now, MS, RESPAWN_KILLED), 0);
    assert_int_equal(die(&r, &now, MS, RESPAWN_KILLED), 100 * MS);
    assert_int_equal(die(&r, &now, MS, RESPAWN_KILLED), 200 * MS);
    for (int i = 0; i < 10; i++)
        die(&r, &now, MS, RESPAWN_KILLED);
    assert_int_equal(die(&r, &now, MS, RESPAWN_KILLED), RESPAWN_KILL_MAX_NS);
    assert_int_equal(die(&r, &now, RESPAWN_EARLY_NS, RESPAWN_KILLED), 0);
    assert_int_equal(die(&r, &now, MS, RESPAWN_KILLED), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_judge),
        cmocka_unit_test(test_crashes_back_off),
        cmocka_unit_test(test_endless_crashes_do_not_overflow),
        cmocka_unit_test(test_being_well_clears_the_sheet),
        cmocka_unit_test(test_kills_are_no_crashes),
        cmocka_unit_test(test_a_kill_does_not_clear_crashes),
        cmocka_unit_test(test_early_kills_have_a_far_limit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
