/* Baselines: cases, what is dropped is never taken for never read, random operations against a
 * model, a death at each instruction. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "shm/shm_baseline.h"
#include "shm/shm_trace.h"
#include "tests/shm/crash.h"
#include "tests/shm/fixture.h"

#define ENTRIES 32u
#define TRACES (ENTRIES * SHM_TRACES_EACH)

static const struct shm_sizes few = {
    .workers = 1,
    .nodes = 64,
    .long_names = 8,
    .handles = 4,
    .sessions = 1,
    .records = 4,
    .baselines = ENTRIES,
    .blocks = 8,
    .payload = SHM_PAYLOAD_MIN,
};

static const struct shm_baseline_who mount;

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

static struct shm_baseline_value version(unsigned i)
{
    struct shm_baseline_value v = {.flags = i ? SHM_BASELINE_READ : SHM_BASELINE_ABSENT};

    if (i) {
        snprintf(v.etag, sizeof(v.etag), "\"%u\"", i);
        snprintf(v.lineage, sizeof(v.lineage), "lineage of %u", i);
    }
    return v;
}

static int setup(void **state)
{
    *state = fx_new(&few);
    return 0;
}

static uint32_t entries_of(const struct shm *shm)
{
    return shm->header->sizes.baselines;
}

static uint32_t now = 7;

static void set(struct shm *shm, unsigned key, int tgid, unsigned v)
{
    struct shm_baseline_key k = key_no(shm, key);
    struct shm_baseline_who who = tgid ? process(tgid) : mount;
    struct shm_baseline_value value = version(v);

    fx_lock(shm);
    shm_baseline_set(shm, &k, &who, &value, now);
    fx_unlock(shm);
}

static enum shm_baseline_state get(struct shm *shm, unsigned key, int tgid,
                                   struct shm_baseline_value *ret)
{
    struct shm_baseline_key k = key_no(shm, key);
    struct shm_baseline_who who = tgid ? process(tgid) : mount;
    enum shm_baseline_state r;

    fx_lock(shm);
    r = shm_baseline_get(shm, &k, &who, ret);
    fx_unlock(shm);
    return r;
}

static void forget(struct shm *shm, unsigned key, int tgid)
{
    struct shm_baseline_key k = key_no(shm, key);
    struct shm_baseline_who who = tgid ? process(tgid) : mount;

    fx_lock(shm);
    shm_baseline_forget(shm, &k, &who);
    fx_unlock(shm);
}

static enum shm_baseline_state get_at(struct shm *shm, unsigned key, int tgid, uint32_t ticks)
{
    struct shm_baseline_key k = key_no(shm, key);
    struct shm_baseline_who who = process(tgid);
    struct shm_baseline_value v;
    enum shm_baseline_state r;

    fx_lock(shm);
    r = shm_baseline_get_at(shm, &k, &who, ticks, &v);
    fx_unlock(shm);
    return r;
}

static void must_be(struct shm *shm, unsigned key, int tgid, unsigned v)
{
    struct shm_baseline_value have, want = version(v);

    assert_int_equal(get(shm, key, tgid, &have), SHM_BASELINE_KNOWN);
    assert_int_equal(have.flags, want.flags);
    assert_string_equal(have.etag, want.etag);
    assert_string_equal(have.lineage, want.lineage);
}

static void test_each_has_its_own(void **state)
{
    struct shm *shm = *state;
    struct shm_baseline_value v;

    assert_int_equal(get(shm, 1, 0, &v), SHM_BASELINE_NONE);
    set(shm, 1, 0, 5);
    set(shm, 1, 7, 6);
    set(shm, 2, 7, 0);
    must_be(shm, 1, 0, 5);
    must_be(shm, 1, 7, 6);
    must_be(shm, 2, 7, 0);
    assert_int_equal(get(shm, 2, 0, &v), SHM_BASELINE_NONE);
    assert_int_equal(get(shm, 1, 8, &v), SHM_BASELINE_NONE);
    set(shm, 1, 7, 9);
    must_be(shm, 1, 7, 9);
    must_be(shm, 1, 0, 5);
    forget(shm, 1, 7);
    assert_int_equal(get(shm, 1, 7, &v), SHM_BASELINE_NONE);
    must_be(shm, 1, 0, 5);
}

/* Another process that has got the same pid. */
/* What a process expected when its child began, after it has read other versions. */
static void test_of_earlier(void **state)
{
    struct shm *shm = *state;
    const uint32_t begin = UINT32_MAX - 5; /* it wraps around while we look */

    assert_int_equal(get_at(shm, 1, 10, begin), SHM_BASELINE_NONE);
    now = begin;
    set(shm, 1, 10, 1);
    assert_int_equal(get_at(shm, 1, 10, begin - 1), SHM_BASELINE_NONE);
    assert_int_equal(get_at(shm, 1, 10, begin), SHM_BASELINE_KNOWN);
    now = begin + 10;
    set(shm, 1, 10, 1); /* the same one again is no news */
    assert_int_equal(get_at(shm, 1, 10, begin), SHM_BASELINE_KNOWN);
    set(shm, 1, 10, 2);
    assert_int_equal(get_at(shm, 1, 10, begin - 1), SHM_BASELINE_NONE);
    assert_int_equal(get_at(shm, 1, 10, begin), SHM_BASELINE_DROPPED);
    assert_int_equal(get_at(shm, 1, 10, begin + 9), SHM_BASELINE_DROPPED);
    assert_int_equal(get_at(shm, 1, 10, begin + 10), SHM_BASELINE_KNOWN);
    for (unsigned i = 0; i < entries_of(shm); i++)
        set(shm, 100 + i, 11, 1);
    assert_int_equal(get_at(shm, 1, 10, begin + 10), SHM_BASELINE_DROPPED);
    now = begin + 20;
    set(shm, 1, 10, 3); /* dropped, and learned anew */
    assert_int_equal(get_at(shm, 1, 10, begin + 10), SHM_BASELINE_DROPPED);
    now = 7;
}

static void copied(struct shm *shm, unsigned key, unsigned from, unsigned to)
{
    struct shm_baseline_key k = key_no(shm, key);

    fx_lock(shm);
    shm_baseline_copied(shm, &k, version(from).etag, version(to).etag);
    fx_unlock(shm);
}

static void test_copies(void **state)
{
    struct shm *shm = *state;
    struct shm_baseline_value v;

    set(shm, 1, 0, 2);
    set(shm, 1, 10, 1);
    set(shm, 1, 11, 1);
    set(shm, 2, 10, 1);
    copied(shm, 1, 1, 3);
    for (int tgid = 10; tgid <= 11; tgid++) {
        assert_int_equal(get(shm, 1, tgid, &v), SHM_BASELINE_KNOWN);
        assert_string_equal(v.etag, version(3).etag);
        assert_string_equal(v.lineage, version(1).lineage);
    }
    must_be(shm, 1, 0, 2);
    must_be(shm, 2, 10, 1);
    copied(shm, 3, 1, 3); /* of which nobody knows */
    assert_int_equal(get(shm, 3, 10, &v), SHM_BASELINE_NONE);
}

static void test_reused_pid(void **state)
{
    struct shm *shm = *state;
    struct shm_baseline_key k = key_no(shm, 1);
    struct shm_baseline_who other = process(7);
    struct shm_baseline_value v;

    set(shm, 1, 7, 5);
    other.start++;
    fx_lock(shm);
    assert_int_equal(shm_baseline_get(shm, &k, &other, &v), SHM_BASELINE_NONE);
    fx_unlock(shm);
}

/* The key has version `v` now. */
static void recall(struct shm *shm, unsigned key, int tgid, unsigned v, const char *id)
{
    struct shm_baseline_key k = key_no(shm, key);
    struct shm_baseline_who who = tgid ? process(tgid) : mount;
    struct shm_baseline_value now_is = version(v);

    now_is.flags = v ? 0 : SHM_BASELINE_ABSENT;
    memset(now_is.lineage, 0, sizeof(now_is.lineage));
    if (id) {
        now_is.flags |= SHM_BASELINE_LINEAGE;
        strcpy(now_is.lineage, id);
    }
    fx_lock(shm);
    shm_baseline_recall(shm, &k, &who, &now_is, id);
    fx_unlock(shm);
}

static void fill_with_others(struct shm *shm)
{
    for (unsigned i = 0; i < ENTRIES; i++)
        set(shm, 1000 + i, 9, 1);
}

static void test_dropped_is_never_forgotten(void **state)
{
    struct shm *shm = *state;
    struct shm_baseline_value v;

    for (unsigned i = 0; i < 2 * TRACES; i++) {
        set(shm, i, 1, i + 1);
        if (i >= 1)
            must_be(shm, 0, 1, 1); /* in use all the time: it stays */
    }
    fx_check(shm);
    assert_int_equal(shm->baselines->live, ENTRIES);
    assert_int_equal(shm->baselines->traces, TRACES);
    assert_int_equal(shm->baselines->dropped, TRACES - ENTRIES);
    for (unsigned i = 1; i <= 2 * TRACES - ENTRIES; i++)
        assert_int_equal(get(shm, i, 1, &v), SHM_BASELINE_DROPPED);
    for (unsigned i = 2 * TRACES - ENTRIES + 1; i < 2 * TRACES; i++)
        must_be(shm, i, 1, i + 1);
    recall(shm, 1, 1, 2, NULL); /* its trace has gone too */
    assert_int_equal(get(shm, 1, 1, &v), SHM_BASELINE_DROPPED);
    set(shm, 1, 1, 77); /* read again */
    must_be(shm, 1, 1, 77);
}

static void test_recalled(void **state)
{
    struct shm *shm = *state;
    struct shm_baseline_value v;

    now = 10;
    set(shm, 1, 1, 5);
    now = 20;
    set(shm, 1, 1, 6);
    set(shm, 1, 0, 6);
    set(shm, 2, 1, 0);
    now = 30;
    fill_with_others(shm);
    assert_int_equal(get(shm, 1, 1, &v), SHM_BASELINE_DROPPED);
    assert_int_equal(v.flags, SHM_BASELINE_READ);
    assert_int_equal(*v.etag, '\0');
    /* another version, another key, another process: nothing */
    recall(shm, 1, 1, 5, NULL);
    recall(shm, 3, 1, 6, NULL);
    recall(shm, 1, 2, 6, NULL);
    recall(shm, 2, 1, 6, NULL);
    assert_int_equal(get(shm, 1, 1, &v), SHM_BASELINE_DROPPED);
    assert_int_equal(get(shm, 1, 2, &v), SHM_BASELINE_NONE);
    assert_int_equal(get(shm, 2, 1, &v), SHM_BASELINE_DROPPED);
    /* this one, with all that it was */
    recall(shm, 1, 1, 6, NULL);
    assert_int_equal(get(shm, 1, 1, &v), SHM_BASELINE_KNOWN);
    assert_string_equal(v.etag, version(6).etag);
    assert_int_equal(v.flags, SHM_BASELINE_READ);
    assert_int_equal(get_at(shm, 1, 1, 20), SHM_BASELINE_KNOWN);
    assert_int_equal(get_at(shm, 1, 1, 19), SHM_BASELINE_DROPPED);
    assert_int_equal(get_at(shm, 1, 1, 9), SHM_BASELINE_NONE);
    assert_int_equal(get(shm, 1, 0, &v), SHM_BASELINE_DROPPED);
    recall(shm, 2, 1, 0, NULL);
    assert_int_equal(get(shm, 2, 1, &v), SHM_BASELINE_KNOWN);
    assert_int_equal(v.flags, SHM_BASELINE_ABSENT);
    /* and evicted once more */
    fill_with_others(shm);
    fill_with_others(shm);
    recall(shm, 1, 1, 6, NULL);
    assert_int_equal(get_at(shm, 1, 1, 20), SHM_BASELINE_KNOWN);
    now = 7;
}

/* Where the ETag says nothing, the write-id does. */
static void test_recalled_by_id(void **state)
{
    struct shm *shm = *state;
    struct shm_baseline_key k = key_no(shm, 1), other = key_no(shm, 2);
    struct shm_baseline_who who = process(1);
    struct shm_baseline_value v = version(6);

    fx_lock(shm);
    shm_baseline_set(shm, &other, &who, &v, 1); /* not known */
    v.flags |= SHM_BASELINE_LINEAGE;
    strcpy(v.lineage, "AAAAAAAABBBBBBBB");
    shm_baseline_set(shm, &k, &who, &v, 1);
    fx_unlock(shm);
    fill_with_others(shm);
    recall(shm, 1, 1, 6, "BBBBBBBB");
    recall(shm, 1, 1, 6, "");
    recall(shm, 2, 1, 6, "BBBBBBBB");
    assert_int_equal(get(shm, 1, 1, &v), SHM_BASELINE_DROPPED);
    assert_int_equal(get(shm, 2, 1, &v), SHM_BASELINE_DROPPED);
    recall(shm, 1, 1, 6, "AAAAAAAA");
    assert_int_equal(get(shm, 1, 1, &v), SHM_BASELINE_KNOWN);
    assert_int_equal(v.flags, SHM_BASELINE_READ | SHM_BASELINE_LINEAGE);
}

static void test_traces_follow(void **state)
{
    struct shm *shm = *state;
    struct shm_baseline_key k = key_no(shm, 3);
    struct shm_baseline_who who = process(1);
    struct shm_baseline_value v = version(4);

    set(shm, 1, 1, 5);
    set(shm, 2, 1, 5);
    v.flags = 0; /* only written */
    fx_lock(shm);
    shm_baseline_set(shm, &k, &who, &v, 1);
    fx_unlock(shm);
    fill_with_others(shm);
    copied(shm, 1, 5, 8);
    recall(shm, 1, 1, 5, NULL);
    assert_int_equal(get(shm, 1, 1, &v), SHM_BASELINE_DROPPED);
    recall(shm, 1, 1, 8, NULL);
    assert_int_equal(get(shm, 1, 1, &v), SHM_BASELINE_KNOWN);
    assert_int_equal(get(shm, 3, 1, &v), SHM_BASELINE_DROPPED);
    assert_int_equal(v.flags, 0);
    fx_lock(shm);
    assert_true(shm_baseline_evicted(shm, &k, &who));
    k = key_no(shm, 1); /* recalled */
    assert_false(shm_baseline_evicted(shm, &k, &who));
    fx_unlock(shm);
    forget(shm, 2, 1);
    assert_int_equal(get(shm, 2, 1, &v), SHM_BASELINE_NONE);
    fx_check(shm);
}

/* 96 drops in 65,536 bits: hardly any never-read key is taken for dropped. */
static void test_filter_is_precise(void **state)
{
    struct shm *shm = *state;
    struct shm_baseline_value v;
    unsigned wrong = 0;

    for (unsigned i = 0; i < TRACES + 4 * ENTRIES; i++)
        set(shm, i, 1, 1);
    assert_int_equal(shm->baselines->dropped, 3 * ENTRIES);
    for (unsigned i = 0; i < 10000; i++)
        wrong += get(shm, 1000 + i, 1, &v) != SHM_BASELINE_NONE;
    for (unsigned i = 0; i < 100; i++) /* what one process read another has not */
        wrong += get(shm, i, 2, &v) != SHM_BASELINE_NONE;
    assert_true(wrong < 10);
}

static void test_no_entries(void **state)
{
    struct shm *shm = fx_new(&fx_small);
    struct shm_baseline_value v;

    (void)state;
    set(shm, 1, 1, 1);
    forget(shm, 1, 1);
    assert_int_equal(get(shm, 1, 1, &v), SHM_BASELINE_NONE);
    fx_check(shm);
    shm_close(shm);
}

static void test_check_finds(void **state)
{
    struct shm *shm = *state;
    struct shm_baseline *b = (void *)(shm->baselines + 1);
    struct err err;

    set(shm, 1, 1, 1);
    set(shm, 2, 1, 1);
    b[0].value.etag[0] = '\0';
    assert_int_equal(shm_baseline_check(shm, &err), -EUCLEAN);
    b[0].value.etag[0] = '"';
    b[0].lru_prev = 0;
    assert_int_equal(shm_baseline_check(shm, &err), -EUCLEAN);
    b[0].lru_prev = 2;
    shm->baselines->live++;
    assert_int_equal(shm_baseline_check(shm, &err), -EUCLEAN);
    shm->baselines->live--;
    fx_check(shm);
}

/* ---- a model: what each may expect ---- */

#define KEYS 24u
#define WHOS 4

static void test_model(void **state)
{
    struct shm *shm = *state;
    uint64_t seed = fx_seed();
    unsigned have[KEYS][WHOS] = {{0}}; /* version + 1; 0 = never */
    bool forgotten[KEYS][WHOS] = {{0}};

    for (unsigned i = 0; i < 20000; i++) {
        unsigned k = fx_below(&seed, KEYS), v = fx_below(&seed, 50);
        int who = (int)fx_below(&seed, WHOS);
        struct shm_baseline_value found;

        switch (fx_below(&seed, 8)) {
        case 0:
            forget(shm, k, who);
            have[k][who] = 0;
            forgotten[k][who] = true; /* it may have been dropped before */
            break;
        case 1:
        case 2:
            set(shm, k, who, v);
            have[k][who] = v + 1;
            break;
        case 3:
            recall(shm, k, who, v, NULL);
            if (have[k][who] == v + 1)
                assert_int_equal(get(shm, k, who, &found), SHM_BASELINE_KNOWN);
            break;
        default:
            switch (get(shm, k, who, &found)) {
            case SHM_BASELINE_KNOWN:
                assert_true(have[k][who]);
                assert_string_equal(found.etag, version(have[k][who] - 1).etag);
                break;
            case SHM_BASELINE_NONE:
                assert_false(have[k][who]); /* the rule that everything hangs on */
                break;
            case SHM_BASELINE_DROPPED:
                assert_true(have[k][who] || forgotten[k][who] || shm->baselines->dropped);
                break;
            }
        }
        if (i % 500 == 0)
            fx_check(shm);
    }
    fx_check(shm);
}

/* ---- deaths ---- */

static void fill(struct shm *shm)
{
    for (unsigned i = 0; i < ENTRIES; i++)
        set(shm, i, 1, i + 1);
}

static void set_in_full(struct shm *shm)
{
    set(shm, 5000, 1, 9);
}

static void use_oldest(struct shm *shm)
{
    struct shm_baseline_value v;

    (void)get(shm, 0, 1, &v);
}

static void forget_one(struct shm *shm)
{
    forget(shm, 5, 1);
}

static void fill_twice(struct shm *shm)
{
    fill(shm);
    fill_with_others(shm);
}

static void recall_one(struct shm *shm)
{
    recall(shm, 5, 1, 6, NULL);
}

static void fill_all(struct shm *shm)
{
    for (unsigned i = 0; i < TRACES + ENTRIES; i++)
        set(shm, i, 1, i + 1);
}

static void test_deaths(void **state)
{
    const struct crash_op ops[] = {
        {.name = "set, the oldest goes", .prepare = fill, .run = set_in_full},
        {.name = "get", .prepare = fill, .run = use_oldest},
        {.name = "forget", .prepare = fill, .run = forget_one},
        {.name = "forget a trace", .prepare = fill_twice, .run = forget_one},
        {.name = "recall", .prepare = fill_twice, .run = recall_one},
        {.name = "set, the oldest trace goes", .prepare = fill_all, .run = set_in_full},
    };

    (void)state;
    crash_all(ops, sizeof(ops) / sizeof(ops[0]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_each_has_its_own, setup, fx_teardown),
        cmocka_unit_test_setup_teardown(test_of_earlier, setup, fx_teardown),
        cmocka_unit_test_setup_teardown(test_copies, setup, fx_teardown),
        cmocka_unit_test_setup_teardown(test_reused_pid, setup, fx_teardown),
        cmocka_unit_test_setup_teardown(test_dropped_is_never_forgotten, setup, fx_teardown),
        cmocka_unit_test_setup_teardown(test_recalled, setup, fx_teardown),
        cmocka_unit_test_setup_teardown(test_recalled_by_id, setup, fx_teardown),
        cmocka_unit_test_setup_teardown(test_traces_follow, setup, fx_teardown),
        cmocka_unit_test_setup_teardown(test_filter_is_precise, setup, fx_teardown),
        cmocka_unit_test(test_no_entries),
        cmocka_unit_test_setup_teardown(test_check_finds, setup, fx_teardown),
        cmocka_unit_test_setup_teardown(test_model, setup, fx_teardown),
        cmocka_unit_test(test_deaths),
    };

    return cmocka_run_group_tests_name("baseline", tests, NULL, NULL);
}
