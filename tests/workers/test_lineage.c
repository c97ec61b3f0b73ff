/* Lineages: their text, the rule table of lineage_judge, and a model of writers whose answers get
 * lost: whoever is told "ours" or "conflict" is told the truth. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <sodium.h>

#include "workers/objmeta/lineage.h"

#define A "AAAAAAAA"
#define B "BBBBBBBB"
#define C "CCCCCCCC"
#define D "-_012345"

static void test_ids(void **state)
{
    char one[LINEAGE_ID_CAP], two[LINEAGE_ID_CAP];

    (void)state;
    lineage_new_id(one);
    lineage_new_id(two);
    assert_int_equal(strlen(one), SHM_ID_LEN);
    assert_string_not_equal(one, two);
    assert_true(lineage_is_valid(one));
}

static void test_valid(void **state)
{
    static const char *const good[] = {A, A ".", A B, A B ".", D C "."};
    static const char *const bad[] = {
        NULL, "", ".", "AAAA", A "..", A "." B, A B "C", A " " B, A "=", "AAAAAAA/",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        assert_true(lineage_is_valid(good[i]));
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(lineage_is_valid(bad[i]));
}

static void test_extend(void **state)
{
    char out[LINEAGE_CAP], head[LINEAGE_ID_CAP];

    (void)state;
    lineage_extend(NULL, A, out);
    assert_string_equal(out, A ".");
    lineage_extend("no lineage", A, out);
    assert_string_equal(out, A ".");
    lineage_extend(A ".", B, out);
    assert_string_equal(out, B A ".");
    lineage_extend(B A, C, out);
    assert_string_equal(out, C B A);
    assert_true(lineage_head(out, head));
    assert_string_equal(head, C);
    assert_false(lineage_head(".", head));
    assert_string_equal(head, "");
}

/* One write more than ids fit drops the root, and it stays within the bound for ever. */
static void test_cut(void **state)
{
    char text[2][LINEAGE_CAP] = {"", ""}, id[LINEAGE_ID_CAP];

    (void)state;
    for (unsigned i = 1; i <= 3 * LINEAGE_IDS_MAX; i++) {
        lineage_new_id(id);
        lineage_extend(text[0], id, text[1]);
        strcpy(text[0], text[1]);
        assert_true(lineage_is_valid(text[0]));
        assert_int_equal(strchr(text[0], LINEAGE_ROOT) != NULL, i <= LINEAGE_IDS_MAX);
        assert_true(strlen(text[0]) < LINEAGE_CAP);
    }
    assert_int_equal(strlen(text[0]), LINEAGE_IDS_MAX * SHM_ID_LEN);
}

static void test_cut_to_the_room(void **state)
{
    static const struct {
        size_t room;
        const char *left;
    } rows[] = {{100, A B C "."}, {25, A B C "."}, {24, A B C}, {23, A B}, {8, A}, {7, A}, {0, A}};

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char text[LINEAGE_CAP] = A B C ".";

        lineage_cut(text, rows[i].room);
        assert_string_equal(text, rows[i].left);
    }
}

static void test_judge(void **state)
{
    static const struct {
        const char *found, *ours, *expected;
        enum lineage_verdict verdict;
    } rows[] = {
        {A ".", A, NULL, LINEAGE_OURS},
        {C B A, A, NULL, LINEAGE_OURS}, /* others on top */
        {C B A, A, B, LINEAGE_OURS},
        {C A, B, A, LINEAGE_CONFLICT},   /* another was built on what we expected */
        {A, B, A, LINEAGE_CONFLICT},     /* the same version with another ETag */
        {C ".", B, A, LINEAGE_CONFLICT}, /* whole, and neither is in it */
        {C ".", B, NULL, LINEAGE_CONFLICT},
        {C D, B, A, LINEAGE_UNKNOWN}, /* cut */
        {C D, B, "", LINEAGE_UNKNOWN},
        {NULL, B, A, LINEAGE_UNKNOWN}, /* another program wrote */
        {"", B, A, LINEAGE_UNKNOWN},
        {"junk", B, A, LINEAGE_UNKNOWN},
        {A "." B, B, A, LINEAGE_UNKNOWN},
        {"xAAAAAAA.", "AAAAAAA.", NULL, LINEAGE_CONFLICT}, /* no match across a border */
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        assert_int_equal(lineage_judge(rows[i].found, rows[i].ours, rows[i].expected),
                         rows[i].verdict);
}

/* ---- the model: one key, versions numbered from 1, writers that read and then write ---- */

#define WRITERS 4
#define STEPS 400
#define VERSIONS_MAX (STEPS * 3)

struct version {
    unsigned base; /* version it was built on, 0 = none known */
    char lineage[LINEAGE_CAP];
};

struct world {
    struct version v[VERSIONS_MAX + 1];
    unsigned n; /* newest = what is there */
    unsigned seed;
};

static unsigned draw(struct world *w, unsigned below)
{
    return (unsigned)rand_r(&w->seed) % below;
}

static void put(struct world *w, unsigned base, const char *lineage)
{
    assert_true(w->n < VERSIONS_MAX);
    w->n++;
    w->v[w->n].base = base;
    strcpy(w->v[w->n].lineage, lineage);
}

/* What is there was built on version `v`, or is it. */
static bool is_built_on(const struct world *w, unsigned v)
{
    unsigned at = w->n;

    while (at && at != v)
        at = w->v[at].base;
    return at == v;
}

static void somebody_writes(struct world *w)
{
    char id[LINEAGE_ID_CAP], text[LINEAGE_CAP] = "";
    unsigned base = draw(w, 8) ? w->n : 0; /* 0: a blind writer */

    lineage_new_id(id);
    if (draw(w, 10)) /* else another program, which knows nothing of lineages */
        lineage_extend(base ? w->v[base].lineage : NULL, id, text);
    put(w, *text ? base : 0, text);
}

/* A writer read the newest version, others may have written since, its PUT may act and its answer
 * be lost, others write on top; then its repetition is refused, and it judges. */
static void one_write(struct world *w)
{
    unsigned base = w->n, ours = 0;
    char id[LINEAGE_ID_CAP], text[LINEAGE_CAP], expected[LINEAGE_ID_CAP];
    enum lineage_verdict verdict;

    lineage_head(w->v[base].lineage, expected);
    lineage_new_id(id);
    lineage_extend(w->v[base].lineage, id, text);
    if (draw(w, 3) == 0)
        somebody_writes(w);
    if (w->n == base) {
        put(w, base, text);
        ours = w->n;
    }
    for (unsigned i = draw(w, 3); i; i--)
        somebody_writes(w);
    verdict = lineage_judge(w->v[w->n].lineage, id, expected);
    if (verdict == LINEAGE_OURS)
        assert_true(ours && is_built_on(w, ours));
    if (verdict == LINEAGE_CONFLICT)
        assert_false(ours && is_built_on(w, ours));
    if (ours == w->n)
        assert_int_equal(verdict, LINEAGE_OURS);
}

static void test_model(void **state)
{
    (void)state;
    for (unsigned seed = 1; seed <= 200; seed++) {
        struct world *w = calloc(1, sizeof(*w));

        assert_non_null(w);
        w->seed = seed;
        put(w, 0, "");
        for (unsigned i = 0; i < STEPS / 4; i++)
            one_write(w);
        free(w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ids),
        cmocka_unit_test(test_valid),
        cmocka_unit_test(test_extend),
        cmocka_unit_test(test_cut),
        cmocka_unit_test(test_cut_to_the_room),
        cmocka_unit_test(test_judge),
        cmocka_unit_test(test_model),
    };

    if (sodium_init() < 0)
        return 1;
    return cmocka_run_group_tests_name("lineage", tests, NULL, NULL);
}
