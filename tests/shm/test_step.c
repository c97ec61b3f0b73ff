/* Steps of children: what is found, what is overwritten, what a new baseline forgets, a death at
 * each instruction. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "shm/shm_step.h"
#include "tests/shm/crash.h"
#include "tests/shm/fixture.h"

static const struct shm_sizes few = {
    .workers = 1,
    .nodes = 64,
    .long_names = 8,
    .handles = 4,
    .sessions = 1,
    .records = 4,
    .baselines = 8,
    .blocks = 8,
    .payload = SHM_PAYLOAD_MIN,
};

static struct shm_baseline_who process(int tgid)
{
    return (struct shm_baseline_who){.tgid = tgid, .start = (uint64_t)tgid * 100};
}

static struct shm_baseline_key key_no(struct shm *shm, unsigned i)
{
    char text[32];
    int len = snprintf(text, sizeof(text), "key %u", i);

    return shm_baseline_key(shm, text, (size_t)len);
}

static int setup(void **state)
{
    *state = fx_new(&few);
    return 0;
}

static void note(struct shm *shm, unsigned key, int who, int child, const char *to)
{
    struct shm_step s = {.key = key_no(shm, key), .who = process(who), .child = process(child)};

    strcpy(s.from, "\"old\"");
    strcpy(s.to, to);
    shm_lock(shm, shm->meta);
    shm_step_note(shm, &s);
    shm_unlock(shm, shm->meta);
}

/* The version that the step leads to, "" if there is none. */
static const char *found(struct shm *shm, unsigned key, int who)
{
    struct shm_baseline_key k = key_no(shm, key);
    struct shm_baseline_who p = process(who);
    const struct shm_step *s;

    shm_lock(shm, shm->meta);
    s = shm_step_find(shm, &k, &p);
    shm_unlock(shm, shm->meta);
    return s ? s->to : "";
}

static bool take(struct shm *shm, int child, struct shm_step *ret)
{
    struct shm_baseline_who c = process(child);
    bool r;

    shm_lock(shm, shm->meta);
    r = shm_step_take(shm, &c, ret);
    shm_unlock(shm, shm->meta);
    return r;
}

static void test_one_for_a_key_and_a_process(void **state)
{
    struct shm *shm = *state;
    struct shm_step s;

    assert_false(take(shm, 5, &s));
    note(shm, 1, 4, 5, "\"a\"");
    note(shm, 2, 4, 5, "\"b\"");
    note(shm, 1, 3, 5, "\"c\"");
    note(shm, 1, 4, 6, "\"d\"");
    assert_string_equal(found(shm, 1, 4), "\"d\"");
    assert_string_equal(found(shm, 2, 4), "\"b\"");
    assert_string_equal(found(shm, 1, 3), "\"c\"");
    assert_string_equal(found(shm, 1, 5), "");
    fx_check(shm);
    assert_true(take(shm, 5, &s));
    assert_true(take(shm, 5, &s));
    assert_false(take(shm, 5, &s));
    assert_true(take(shm, 6, &s));
    assert_string_equal(s.to, "\"d\"");
    assert_string_equal(s.from, "\"old\"");
    assert_int_equal(s.who.tgid, 4);
    assert_false(take(shm, 0, &s)); /* (free slots have no child) */
    assert_int_equal(shm->baselines->steps, 0);
    fx_check(shm);
}

static void test_children(void **state)
{
    struct shm *shm = *state;
    struct shm_baseline_who ret[4], who = process(4), nobody = {0};
    unsigned n = 0;

    note(shm, 1, 4, 5, "\"a\"");
    note(shm, 2, 4, 5, "\"a\"");
    for (unsigned i = 3; i < 8; i++)
        note(shm, i, 4, (int)i + 10, "\"a\"");
    shm_lock(shm, shm->meta);
    shm_step_children(shm, &nobody, ret, &n, 4);
    assert_int_equal(n, 0);
    shm_step_children(shm, &who, ret, &n, 4);
    shm_unlock(shm, shm->meta);
    assert_int_equal(n, 4);
    for (unsigned i = 0; i < n; i++)
        assert_int_equal(ret[i].tgid, i ? 12 + i : 5);
}

static void test_the_oldest_goes(void **state)
{
    struct shm *shm = *state;

    for (unsigned i = 0; i < SHM_STEPS + 3; i++)
        note(shm, i, 4, 5, "\"a\"");
    for (unsigned i = 0; i < SHM_STEPS + 3; i++)
        assert_string_equal(found(shm, i, 4), i < 3 ? "" : "\"a\"");
    assert_int_equal(shm->baselines->steps, SHM_STEPS);
    fx_check(shm);
}

static void test_a_free_slot_before_the_oldest(void **state)
{
    struct shm *shm = *state;
    struct shm_step s;

    note(shm, 1000, 4, 5, "\"a\"");
    for (unsigned i = 0; i < 3 * SHM_STEPS; i++) {
        note(shm, i, 4, 6, "\"a\"");
        assert_true(take(shm, 6, &s));
    }
    assert_string_equal(found(shm, 1000, 4), "\"a\"");
    fx_check(shm);
}

static void learn(struct shm *shm, unsigned key, int who, bool forgets)
{
    struct shm_baseline_value v = {.flags = SHM_BASELINE_READ, .etag = "\"new\""};
    struct shm_baseline_key k = key_no(shm, key);
    struct shm_baseline_who p = process(who);

    shm_lock(shm, shm->meta);
    if (forgets)
        shm_baseline_forget(shm, &k, &p);
    else
        shm_baseline_set(shm, &k, &p, &v, 1);
    shm_unlock(shm, shm->meta);
}

static void test_what_the_process_learns_itself_counts(void **state)
{
    struct shm *shm = *state;

    for (unsigned i = 0; i < 3; i++)
        note(shm, i, 4, 5, "\"a\"");
    learn(shm, 0, 4, false);
    learn(shm, 1, 4, true);
    learn(shm, 2, 3, false);
    assert_string_equal(found(shm, 0, 4), "");
    assert_string_equal(found(shm, 1, 4), "");
    assert_string_equal(found(shm, 2, 4), "\"a\"");
    fx_check(shm);
}

static void test_no_baselines_no_steps(void **state)
{
    struct shm_sizes none = few;
    struct shm *shm;

    none.baselines = 0;
    shm = fx_new(&none);
    note(shm, 1, 4, 5, "\"a\"");
    assert_string_equal(found(shm, 1, 4), "");
    fx_check(shm);
    shm_close(shm);
    (void)state;
}

/* ---- the check, deaths ---- */

static void is_found(struct shm *shm, const char *what)
{
    struct err err;

    assert_int_equal(shm_baseline_check(shm, &err), -EUCLEAN);
    assert_non_null(strstr(err.text, what));
}

static void test_check_finds(void **state)
{
    struct shm *shm = *state;

    note(shm, 1, 4, 5, "\"a\"");
    shm->baselines->steps++;
    is_found(shm, "1 steps noted, 2 counted");
    shm->baselines->steps--;
    shm->baselines->next_step = SHM_STEPS;
    is_found(shm, "the next is 64");
    shm->baselines->next_step = 1;
    memset(shm->baselines->step[0].to, 'x', SHM_ETAG_MAX);
    is_found(shm, "step 0 makes no sense");
    shm->baselines->step[0].to[1] = '\0';
    fx_check(shm);
}

static void prepare(struct shm *shm)
{
    for (unsigned i = 0; i < SHM_STEPS; i++)
        note(shm, i, 4, 5, "\"a\"");
}

static void note_in_full(struct shm *shm)
{
    note(shm, SHM_STEPS, 4, 5, "\"a\"");
}

static void note_again(struct shm *shm)
{
    note(shm, 7, 4, 6, "\"b\"");
}

static void take_one(struct shm *shm)
{
    struct shm_step s;

    (void)take(shm, 5, &s);
}

static void learn_one(struct shm *shm)
{
    learn(shm, 9, 4, false);
}

static void test_deaths(void **state)
{
    const struct crash_op ops[] = {
        {.name = "note, the oldest goes", .prepare = prepare, .run = note_in_full},
        {.name = "note again", .prepare = prepare, .run = note_again},
        {.name = "take", .prepare = prepare, .run = take_one},
        {.name = "set a baseline", .prepare = prepare, .run = learn_one},
    };

    (void)state;
    crash_all(ops, sizeof(ops) / sizeof(ops[0]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_one_for_a_key_and_a_process, setup, fx_teardown),
        cmocka_unit_test_setup_teardown(test_children, setup, fx_teardown),
        cmocka_unit_test_setup_teardown(test_the_oldest_goes, setup, fx_teardown),
        cmocka_unit_test_setup_teardown(test_a_free_slot_before_the_oldest, setup, fx_teardown),
        cmocka_unit_test_setup_teardown(test_what_the_process_learns_itself_counts, setup,
                                        fx_teardown),
        cmocka_unit_test(test_no_baselines_no_steps),
        cmocka_unit_test_setup_teardown(test_check_finds, setup, fx_teardown),
        cmocka_unit_test(test_deaths),
    };

    return cmocka_run_group_tests_name("step", tests, NULL, NULL);
}
