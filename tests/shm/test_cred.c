/* Credentials in the segment: what is in force, what a reader gets beside a writer, and a writer
 * that is killed. */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "fixture.h"
#include "shm/shm_cred.h"

#define DAY 20300101u

/* All of its parts tell the generation. */
static void put(struct shm *shm, uint64_t generation)
{
    struct shm_cred *c = shm_cred_next(shm);

    c->generation = generation;
    c->expires_ns = generation;
    snprintf(c->access_key, sizeof(c->access_key), "K%llu", (unsigned long long)generation);
    c->token_len = (uint32_t)(generation % (SHM_CRED_TOKEN_MAX - 1));
    memset(c->token, 'a' + (int)(generation % 26), c->token_len);
    for (unsigned i = 0; i < SHM_CRED_DAYS; i++) {
        c->keys[i].day = DAY + i;
        memset(c->keys[i].key, (int)(generation % 251), SHM_CRED_KEY_LEN);
    }
    shm_cred_publish(shm);
}

static void check_whole(const struct shm_cred_view *v)
{
    char want[32];

    snprintf(want, sizeof(want), "K%llu", (unsigned long long)v->generation);
    assert_string_equal(v->access_key, want);
    assert_int_equal(v->expires_ns, v->generation);
    assert_int_equal(strlen(v->token), v->generation % (SHM_CRED_TOKEN_MAX - 1));
    for (const char *p = v->token; *p; p++)
        assert_int_equal(*p, 'a' + v->generation % 26);
    for (size_t i = 0; i < sizeof(v->key); i++)
        assert_int_equal(v->key[i], v->generation % 251);
}

static void test_in_force(void **state)
{
    struct shm *shm = *state;
    static struct shm_cred_view v;

    assert_int_equal(shm_cred_get(shm, DAY, &v), -ENOKEY);
    assert_int_equal(shm_cred_generation(shm), 0);
    assert_null(shm_cred_current(shm));
    put(shm, 7);
    assert_int_equal(shm_cred_get(shm, DAY, &v), 0);
    check_whole(&v);
    assert_int_equal(shm_cred_get(shm, DAY + SHM_CRED_DAYS - 1, &v), 0);
    assert_int_equal(shm_cred_get(shm, DAY + SHM_CRED_DAYS, &v), -EAGAIN);
    assert_int_equal(shm_cred_get(shm, 0, &v), -EAGAIN);
    assert_true(shm_cred_has_day(shm, DAY) && !shm_cred_has_day(shm, 1));
    /* what is being written is not in force */
    memset(shm_cred_next(shm), 0xff, sizeof(struct shm_cred));
    assert_int_equal(shm_cred_get(shm, DAY, &v), 0);
    assert_int_equal(v.generation, 7);
    put(shm, 8);
    assert_int_equal(shm_cred_get(shm, DAY, &v), 0);
    check_whole(&v);
    assert_int_equal(shm_cred_generation(shm), 8);
    fx_check(shm);
}

static void test_wanted(void **state)
{
    struct shm *shm = *state;
    uint64_t generation;
    uint32_t day;

    assert_false(shm_cred_wanted(shm, &generation, &day));
    shm_cred_want(shm, 5, 0);
    shm_cred_want(shm, 0, DAY);
    assert_true(shm_cred_wanted(shm, &generation, &day));
    assert_int_equal(generation, 5);
    assert_int_equal(day, DAY);
    shm_cred_want(shm, 6, 0); /* meanwhile */
    shm_cred_wanted_done(shm, generation, day);
    assert_true(shm_cred_wanted(shm, &generation, &day));
    assert_int_equal(generation, 6);
    assert_int_equal(day, 0);
    shm_cred_wanted_done(shm, generation, day);
    assert_false(shm_cred_wanted(shm, &generation, &day));
    assert_int_equal(shm_cred_tries(shm), 0);
    shm_cred_tried(shm);
    assert_int_equal(shm_cred_tries(shm), 1);
}

static void test_news(void **state)
{
    struct shm *shm = *state;
    struct shm_cred_news news;

    assert_false(shm_cred_read_news(shm, &news));
    strcpy(shm_cred_news_next(shm)->provider, "web identity");
    assert_false(shm_cred_read_news(shm, &news));
    shm_cred_news_publish(shm);
    shm_cred_news_next(shm)->failures = 3;
    shm_cred_news_publish(shm);
    assert_true(shm_cred_read_news(shm, &news));
    assert_string_equal(news.provider, "web identity");
    assert_int_equal(news.failures, 3);
}

/* Does not return. */
static void write_on(struct shm *shm, uint64_t from)
{
    for (uint64_t g = from;; g++)
        put(shm, g);
}

/* A reader beside a writer that does nothing else, and that is killed at any place again and again:
 * it always gets one whole. */
static void test_killed_writers(void **state)
{
    struct shm *shm = *state;
    static struct shm_cred_view v;
    uint64_t last = 1;

    put(shm, 1);
    for (int round = 0; round < 200; round++) {
        uint64_t until = clock_mono_ns() + 2 * NS_PER_MS;
        pid_t pid = fork();

        assert_true(pid >= 0);
        if (pid == 0)
            write_on(shm, last + 1);
        while (clock_mono_ns() < until) {
            assert_int_equal(shm_cred_get(shm, DAY, &v), 0);
            check_whole(&v);
            assert_true(v.generation >= last);
            last = v.generation;
        }
        kill(pid, SIGKILL);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
        assert_int_equal(shm_cred_get(shm, DAY, &v), 0);
        check_whole(&v);
        last = v.generation;
        fx_check(shm);
    }
}

/* The pages of the table, and all of them, have "dd" (left out of dumps) in smaps. */
static void test_left_out_of_dumps(void **state)
{
    struct shm *shm = *state;
    uintptr_t at = (uintptr_t)shm->creds, end = at + sizeof(*shm->creds), covered = at;
    unsigned long from = 0, to = 0, a, b;
    FILE *f = fopen("/proc/self/smaps", "re");
    char line[512];

    assert_non_null(f);
    while (fgets(line, sizeof(line), f)) {
        if (sscanf(line, "%lx-%lx ", &a, &b) == 2) {
            from = a;
            to = b;
        }
        if (strncmp(line, "VmFlags:", 8) == 0 && covered < end && from <= covered && covered < to) {
            assert_non_null(strstr(line, " dd"));
            covered = to;
        }
    }
    fclose(f);
    assert_true(covered >= end);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_in_force, fx_setup, fx_teardown),
        cmocka_unit_test_setup_teardown(test_wanted, fx_setup, fx_teardown),
        cmocka_unit_test_setup_teardown(test_news, fx_setup, fx_teardown),
        cmocka_unit_test_setup_teardown(test_killed_writers, fx_setup, fx_teardown),
        cmocka_unit_test_setup_teardown(test_left_out_of_dumps, fx_setup, fx_teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
