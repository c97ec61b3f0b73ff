/* The judgement of one conditional PUT: every row of what may be found, and what follows. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "workers/cas/cas_put.h"
#include "workers/op/settle.h"

#define OURS "OOOOOOOO"
#define OLD "LLLLLLLL"
#define BASE "BBBBBBBB"
#define THEIRS "TTTTTTTT"
#define E0 "\"0\""
#define E1 "\"1\""

/* A session that expects version E0 of lineage BASE. */
enum what { EXPECTS, TRIED, OURS_EMPTY };

static struct shm_session session(enum what what)
{
    struct shm_session s = {.expect = {.must = true,
                                       .lineage_known = true,
                                       .tried = what == TRIED,
                                       .ours = what == OURS_EMPTY},
                            .write_seq = 5,
                            .publishing_seq = 5};

    strcpy(s.expect.etag, E0);
    strcpy(s.lineage, BASE ".");
    memcpy(s.expect.write_id, OLD, SHM_ID_LEN);
    return s;
}

static struct cas_put begun(struct shm_session *s)
{
    struct cas_put c = {.settle_ns = S3_SETTLE_NS};

    strcpy(c.id, OURS);
    cas_put_begin(&c, s, false);
    return c;
}

/* What HEAD says: error, ETag, lineage (NULL = none). */
static enum put_next found(struct cas_put *c, int error, const char *etag, const char *lineage,
                           const char *expected, bool *absent)
{
    static struct s3_result res;
    static char now[SHM_ETAG_MAX];

    memset(&res, 0, sizeof(res));
    memset(now, 0, sizeof(now));
    strcpy(now, expected);
    res.error = error;
    strcpy(res.obj.etag, etag);
    if (lineage) {
        strcpy(res.obj.meta, LINEAGE_META);
        strcpy(res.obj.meta + sizeof(LINEAGE_META), lineage);
        res.obj.meta_len = sizeof(LINEAGE_META) + strlen(lineage) + 1;
    }
    return cas_put_found(c, &res, now, absent);
}

static enum put_next ends(struct cas_put c, const char *etag, const char *lineage)
{
    bool absent = false;

    return found(&c, 0, etag, lineage, E0, &absent);
}

static void test_first(void **state)
{
    struct shm_session s = session(EXPECTS);
    struct cas_put c = begun(&s);

    (void)state;
    assert_int_equal(cas_put_first(&c), PUT_SEND);
    assert_string_equal(c.lineage, OURS BASE ".");
    assert_true(s.expect.tried);
    assert_memory_equal(s.expect.write_id, OURS, SHM_ID_LEN);

    s = session(OURS_EMPTY); /* over an empty file: whose is it? */
    c = begun(&s);
    assert_int_equal(cas_put_first(&c), PUT_LOOK);
    s = session(EXPECTS);
    s.expect.lineage_known = false;
    c = begun(&s);
    assert_int_equal(cas_put_first(&c), PUT_LOOK);
    assert_false(s.expect.tried); /* nothing is sent yet */
    s = session(EXPECTS);
    cas_put_begin(&c, &s, true); /* nor while other metadata are asked for */
    assert_false(s.expect.tried);
    s = session(EXPECTS);
    s.expect.must = false;
    c = begun(&s);
    assert_int_equal(cas_put_first(&c), PUT_SEND);
    assert_string_equal(c.lineage, OURS ".");
}

/* An upload that is opened before its publish carries what that will send. */
static void test_opened_early(void **state)
{
    struct shm_session s = session(EXPECTS), before = s;
    struct cas_put early = {0}, c;

    (void)state;
    strcpy(early.id, OURS);
    cas_put_open(&early, &s);
    assert_memory_equal(&s, &before, sizeof(s)); /* nothing is sent */
    c = begun(&s);
    assert_string_equal(early.lineage, c.lineage);
    assert_string_equal(early.expected, c.expected);
    s = session(EXPECTS);
    s.expect.must = false;
    cas_put_open(&early, &s);
    assert_string_equal(early.lineage, OURS ".");
}

/* What was learned before the PUT was sent outlives the worker that sent it. */
static void test_lineage_learned(void **state)
{
    struct shm_session s = session(EXPECTS);
    bool absent = false;
    struct cas_put c;

    (void)state;
    s.expect.lineage_known = false;
    memset(s.lineage, 0, sizeof(s.lineage));
    c = begun(&s);
    assert_int_equal(found(&c, 0, E0, BASE ".", E0, &absent), PUT_SEND);
    cas_put_sends(&c, &s);
    assert_true(s.expect.tried);
    assert_true(s.expect.lineage_known);
    assert_string_equal(s.lineage, BASE ".");

    c = begun(&s); /* by the replacement */
    assert_int_equal(cas_put_first(&c), PUT_LOOK);
    assert_int_equal(ends(c, E1, THEIRS BASE), PUT_CONFLICT);
    assert_int_equal(ends(c, E1, THEIRS OURS BASE), PUT_OURS);
}

/* The worker of the first attempt died: the same content keeps its id, other content gets one. */
static void test_begun_again(void **state)
{
    struct shm_session s = session(TRIED);
    struct cas_put c = begun(&s);

    (void)state;
    assert_string_equal(c.id, OLD);
    assert_string_equal(c.old_id, "");
    assert_int_equal(cas_put_first(&c), PUT_LOOK);

    s = session(TRIED);
    s.write_seq++;
    c = begun(&s);
    assert_string_equal(c.id, OURS);
    assert_string_equal(c.old_id, OLD);
    assert_int_equal(cas_put_first(&c), PUT_LOOK);
    s.write_seq++;
    s.publishing_seq++;
    s.write_seq++;
    c = begun(&s); /* two of unknown ends */
    assert_int_equal(cas_put_first(&c), PUT_UNKNOWN);
}

static void test_refused(void **state)
{
    struct shm_session s = session(EXPECTS);
    struct cas_put c = begun(&s);
    struct s3_result clear = {.error = -EEXIST, .http_status = 412};
    struct s3_result lost = {.error = -EEXIST, .http_status = 412, .may_have_acted = true};
    struct s3_result gone = {.error = -ENOENT, .http_status = 404};

    (void)state;
    assert_int_equal(cas_put_refused(&c, &clear), PUT_CONFLICT);
    assert_false(c.gone);
    assert_int_equal(cas_put_refused(&c, &gone), PUT_CONFLICT);
    assert_true(c.gone);
    assert_int_equal(cas_put_refused(&c, &lost), PUT_LOOK);
    assert_true(c.ambiguous);
}

static void test_found(void **state)
{
    struct shm_session s = session(TRIED);
    struct cas_put c = begun(&s); /* its id is OLD, ambiguous */
    struct cas_put sure;

    (void)state;
    assert_int_equal(ends(c, E1, OLD BASE "."), PUT_OURS);
    assert_int_equal(ends(c, E1, THEIRS OLD BASE "."), PUT_OURS);
    assert_int_equal(ends(c, E1, THEIRS BASE "."), PUT_CONFLICT);
    assert_int_equal(ends(c, E1, THEIRS BASE), PUT_CONFLICT);
    assert_int_equal(ends(c, E1, THEIRS "."), PUT_CONFLICT);
    assert_int_equal(ends(c, E1, THEIRS), PUT_UNKNOWN);
    assert_int_equal(ends(c, E1, NULL), PUT_UNKNOWN);
    assert_int_equal(ends(c, E0, BASE "."), PUT_SEND); /* nobody has acted */
    sure = c;
    sure.ambiguous = false;
    assert_int_equal(ends(sure, E1, NULL), PUT_CONFLICT);
}

/* HEAD put together of two versions: asked once more. */
static void test_found_in_between(void **state)
{
    struct shm_session s = session(TRIED);
    struct cas_put c = begun(&s), copied = c;
    bool absent = false;

    (void)state;
    assert_int_equal(found(&c, 0, E1, BASE ".", E0, &absent), PUT_LOOK);
    assert_int_equal(found(&c, 0, E1, OLD BASE ".", E0, &absent), PUT_OURS);
    assert_int_equal(found(&copied, 0, E1, BASE ".", E0, &absent), PUT_LOOK);
    assert_int_equal(found(&copied, 0, E1, BASE ".", E0, &absent), PUT_CONFLICT);
}

static void test_found_is_bounded(void **state)
{
    struct shm_session s = session(TRIED);
    struct cas_put c = begun(&s);
    enum put_next next = PUT_SEND;
    bool absent = false;
    int n = 0;

    (void)state;
    for (; next == PUT_SEND && n < 100; n++)
        next = found(&c, 0, E0, BASE ".", E0, &absent);
    assert_int_equal(next, PUT_UNKNOWN);
    assert_int_equal(n, CAS_PUTS_MAX + 1);
}

static void test_found_gone(void **state)
{
    struct shm_session s = session(TRIED);
    struct cas_put c = begun(&s);
    bool absent = false;

    (void)state;
    assert_int_equal(found(&c, -ENOENT, "", NULL, E0, &absent), PUT_UNKNOWN);
    c.ambiguous = false;
    assert_int_equal(found(&c, -ENOENT, "", NULL, E0, &absent), PUT_CONFLICT);
    absent = true;
    assert_int_equal(found(&c, -ENOENT, "", NULL, "", &absent), PUT_SEND);
}

/* What condition the one under way has, and whether it may come to hold once more. */
static void test_waits_for_what_may_still_act(void **state)
{
    struct shm_session s = session(TRIED);
    bool absent = true, empty = false;
    struct cas_put c;
    unsigned n = 0;

    (void)state;
    s.expect.sent_ns = clock_mono_ns();
    c = begun(&s);
    assert_int_equal(found(&c, -ENOENT, "", NULL, "", &absent), PUT_WAIT);
    assert_in_range(c.wait_ns, 1, SETTLE_FIRST_NS);
    assert_int_equal(found(&c, 0, S3_ETAG_EMPTY, BASE ".", S3_ETAG_EMPTY, &empty), PUT_WAIT);
    assert_int_equal(ends(c, E0, BASE "."), PUT_SEND); /* will not hold again */
    c.since_ns -= S3_SETTLE_NS;
    assert_int_equal(found(&c, -ENOENT, "", NULL, "", &absent), PUT_SEND);
    cas_put_sends(&c, &s);
    assert_int_equal(found(&c, -ENOENT, "", NULL, "", &absent), PUT_WAIT); /* the second one */
    c.ambiguous = false;
    assert_int_equal(found(&c, -ENOENT, "", NULL, "", &absent), PUT_SEND);

    s.expect.must = false;
    s.expect.sent_ns = clock_mono_ns();
    c = begun(&s);
    assert_int_equal(found(&c, -ENOENT, "", NULL, "", &absent), PUT_WAIT);

    /* Looks become rarer, and end in time. */
    for (uint64_t at = 1000, wait = 1, last = 0; wait; at += wait, last = wait) {
        wait = settle_wait_ns(S3_SETTLE_NS, 1000, at, n++);
        assert_true(n < 12 && at + wait <= 1000 + S3_SETTLE_NS);
        assert_true(wait >= last || at + wait == 1000 + S3_SETTLE_NS || wait == 0);
    }
    assert_int_equal(settle_wait_ns(S3_SETTLE_NS, 0, clock_mono_ns(), 0), 0); /* never sent */
}

/* An earlier write of ours with other content is there: this one goes on top of it. */
static void test_found_an_earlier_one_of_ours(void **state)
{
    struct shm_session s = session(TRIED);
    struct cas_put c;
    bool absent = true;

    (void)state;
    s.write_seq++;
    c = begun(&s);
    assert_int_equal(ends(c, E1, THEIRS OLD BASE "."), PUT_CONFLICT);
    assert_int_equal(found(&c, 0, E1, OLD BASE ".", "", &absent), PUT_SEND);
    assert_false(absent);
    assert_string_equal(c.lineage, OURS OLD BASE ".");
    assert_string_equal(c.expected, OLD);
}

/* All empty files have one ETag. */
static void test_found_another_empty_file(void **state)
{
    struct shm_session s = session(OURS_EMPTY);
    struct cas_put c = begun(&s);

    (void)state;
    assert_int_equal(ends(c, E0, BASE "."), PUT_SEND);
    assert_int_equal(ends(c, E0, THEIRS "."), PUT_CONFLICT);
}

static void test_lineage_is_learned(void **state)
{
    struct shm_session s = session(EXPECTS);
    struct cas_put c;
    bool absent = false;

    (void)state;
    s.expect.lineage_known = false;
    memset(s.lineage, 0, sizeof(s.lineage));
    c = begun(&s);
    assert_int_equal(found(&c, 0, E0, THEIRS BASE ".", E0, &absent), PUT_SEND);
    assert_string_equal(c.lineage, OURS THEIRS BASE ".");
    c = begun(&s);
    c.ambiguous = false;
    assert_int_equal(ends(c, E1, THEIRS BASE "."), PUT_CONFLICT);
}

static void test_done(void **state)
{
    struct shm_session s = session(OURS_EMPTY);
    struct cas_put c = begun(&s);

    (void)state;
    cas_put_done(&c, &s, 10);
    assert_string_equal(s.lineage, OURS BASE ".");
    assert_false(s.expect.tried || s.expect.ours);
    cas_put_done(&c, &s, 0);
    assert_true(s.expect.ours);
}

/* The server says that it has stored other bytes: what is there under the write-id is no write of
 * this content, for this publish, its repetition by another worker, and the next one. */
static void test_spoilt(void **state)
{
    struct shm_session s = session(EXPECTS);
    struct cas_put c = begun(&s), again;
    bool absent = false;

    (void)state;
    assert_int_equal(cas_put_first(&c), PUT_SEND);
    assert_int_equal(cas_put_spoilt(&c, &s, "22222222"), PUT_LOOK);
    assert_string_equal(s.expect.old_id, OURS);
    assert_string_equal(s.expect.write_id, "22222222");
    again = (struct cas_put){.settle_ns = S3_SETTLE_NS, .id = "99999999"};
    cas_put_begin(&again, &s, false);
    assert_string_equal(again.id, "22222222");
    assert_int_equal(cas_put_first(&again), PUT_LOOK);
    assert_int_equal(found(&again, 0, E1, OURS BASE ".", E0, &absent), PUT_SEND);
    assert_int_equal(found(&c, 0, E1, OURS BASE ".", E0, &absent), PUT_SEND);
    assert_memory_equal(c.lineage, "22222222" OURS, 16);
    cas_put_sends(&c, &s);
    assert_int_equal(cas_put_spoilt(&c, &s, "33333333"), PUT_LOOK);
    assert_int_equal(found(&c, 0, E1, "22222222" OURS BASE ".", E0, &absent), PUT_SEND);
    cas_put_sends(&c, &s);
    assert_int_equal(cas_put_spoilt(&c, &s, "44444444"), PUT_FAILED);
    cas_put_failed(&c, &s);
    assert_true(s.expect.tried);
    s.write_seq++; /* more is written */
    again = (struct cas_put){.settle_ns = S3_SETTLE_NS, .id = "99999999"};
    cas_put_begin(&again, &s, false);
    assert_int_equal(cas_put_first(&again), PUT_LOOK);
    assert_int_equal(found(&again, 0, E1, "33333333" OURS BASE ".", E0, &absent), PUT_SEND);
    assert_memory_equal(again.lineage,
                        "99999999"
                        "33333333",
                        16);
}

/* What it said was of another's write, which was built on ours: nothing is replaced, and nobody can
 * tell how ours was. Nor can a replacement of the worker, nor the next fsync. */
static void test_spoilt_by_another(void **state)
{
    struct shm_session s = session(EXPECTS);
    struct cas_put c = begun(&s), again = {.settle_ns = S3_SETTLE_NS, .id = "99999999"};
    bool absent = false;

    (void)state;
    assert_int_equal(cas_put_spoilt(&c, &s, "22222222"), PUT_LOOK);
    cas_put_begin(&again, &s, false);
    assert_int_equal(found(&again, 0, E1, THEIRS OURS BASE ".", E0, &absent), PUT_UNKNOWN);
    assert_int_equal(found(&c, 0, E1, THEIRS OURS BASE ".", E0, &absent), PUT_UNKNOWN);
    cas_put_failed(&c, &s);
    again = (struct cas_put){.settle_ns = S3_SETTLE_NS, .id = "99999999"};
    cas_put_begin(&again, &s, false);
    assert_int_equal(cas_put_first(&again), PUT_LOOK);
    assert_int_equal(found(&again, 0, E1, THEIRS OURS BASE ".", E0, &absent), PUT_UNKNOWN);
    cas_put_failed(&again, &s);
    s.write_seq++; /* it is another write now, and the one before has a follower */
    again = (struct cas_put){.settle_ns = S3_SETTLE_NS, .id = "99999999"};
    cas_put_begin(&again, &s, false);
    assert_int_equal(found(&again, 0, E1, THEIRS OURS BASE ".", E0, &absent), PUT_CONFLICT);
    /* theirs comes between the look and the repetition */
    s = session(EXPECTS);
    c = begun(&s);
    assert_int_equal(cas_put_spoilt(&c, &s, "22222222"), PUT_LOOK);
    assert_int_equal(found(&c, 0, E1, OURS BASE ".", E0, &absent), PUT_SEND);
    cas_put_sends(&c, &s);
    assert_int_equal(found(&c, 0, "\"2\"", THEIRS OURS BASE ".", E1, &absent), PUT_UNKNOWN);
    /* it is gone: somebody has taken it */
    s = session(EXPECTS);
    c = begun(&s);
    absent = true;
    assert_int_equal(cas_put_spoilt(&c, &s, "22222222"), PUT_LOOK);
    assert_int_equal(found(&c, -ENOENT, "", NULL, "", &absent), PUT_UNKNOWN);
    s = session(EXPECTS);
    c = begun(&s);
    assert_int_equal(cas_put_spoilt(&c, &s, "22222222"), PUT_LOOK);
    assert_int_equal(found(&c, 0, E1, THEIRS BASE ".", E0, &absent), PUT_CONFLICT);
}

/* The same for a file that was never read, whose write expects nothing. */
static void test_spoilt_without_expectation(void **state)
{
    struct shm_session s = session(EXPECTS);
    struct cas_put c;
    bool absent = false;

    (void)state;
    s.expect.must = s.expect.lineage_known = false;
    c = begun(&s);
    assert_int_equal(cas_put_spoilt(&c, &s, "22222222"), PUT_LOOK);
    assert_int_equal(found(&c, 0, E1, THEIRS OURS ".", "", &absent), PUT_UNKNOWN);
    assert_int_equal(found(&c, -ENOENT, "", NULL, "", &absent), PUT_UNKNOWN);
    assert_int_equal(found(&c, 0, E1, OURS ".", "", &absent), PUT_SEND);
}

/* Two attempts with other content in doubt: nothing is sent, and the one after it looks. */
static void test_lost_is_not_for_ever(void **state)
{
    struct shm_session s = session(TRIED);
    struct cas_put c = {.settle_ns = S3_SETTLE_NS, .id = "33333333"};

    (void)state;
    strcpy(s.expect.old_id, "22222222");
    s.write_seq++;
    cas_put_begin(&c, &s, false);
    assert_int_equal(cas_put_first(&c), PUT_UNKNOWN);
    cas_put_failed(&c, &s);
    s.publishing_seq = s.write_seq;
    s.write_seq++;
    c = (struct cas_put){.settle_ns = S3_SETTLE_NS, .id = "44444444"};
    cas_put_begin(&c, &s, false);
    assert_int_equal(cas_put_first(&c), PUT_LOOK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_first),
        cmocka_unit_test(test_opened_early),
        cmocka_unit_test(test_lineage_learned),
        cmocka_unit_test(test_begun_again),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_found),
        cmocka_unit_test(test_found_in_between),
        cmocka_unit_test(test_found_is_bounded),
        cmocka_unit_test(test_found_gone),
        cmocka_unit_test(test_waits_for_what_may_still_act),
        cmocka_unit_test(test_found_an_earlier_one_of_ours),
        cmocka_unit_test(test_found_another_empty_file),
        cmocka_unit_test(test_lineage_is_learned),
        cmocka_unit_test(test_spoilt),
        cmocka_unit_test(test_spoilt_by_another),
        cmocka_unit_test(test_spoilt_without_expectation),
        cmocka_unit_test(test_lost_is_not_for_ever),
        cmocka_unit_test(test_done),
    };

    return cmocka_run_group_tests_name("cas_put", tests, NULL, NULL);
}
