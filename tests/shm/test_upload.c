/* The table of multipart uploads: which part is where, and which is to be sent. */
#include "shm/shm_upload.h"

#include <errno.h>
#include <string.h>

#include "shm/shm_session.h"
#include "tests/shm/fixture.h"
#include "tests/shm/stores.h"

#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)
#define TIB (UINT64_C(1) << 40)
#define SIZE_MOST (SHM_UPLOAD_PARTS * SHM_UPLOAD_PART_MAX) /* S3's limit */

static uint32_t open_one(struct shm *shm, uint64_t part_size, bool grows)
{
    uint32_t node = fx_put(shm, SHM_ROOT, "f", "1");
    int64_t session;

    fx_lock(shm);
    session = shm_session_new(shm, node);
    assert_true(session >= 0);
    shm_upload_open(shm, (uint32_t)session,
                    &(struct shm_upload_new){.key = "p/f",
                                             .id = "upload",
                                             .plan = shm_upload_plan(part_size, grows, 0),
                                             .digest = 7,
                                             .seq = 3});
    fx_unlock(shm);
    fx_check(shm);
    return (uint32_t)session;
}

static uint32_t take(struct shm *shm, uint32_t session, uint32_t owner, uint32_t limit)
{
    uint32_t no;

    fx_lock(shm);
    no = shm_upload_take(shm, session, owner, limit, UINT64_MAX, SHM_UPLOAD_NEW);
    fx_unlock(shm);
    fx_check(shm);
    return no;
}

static void sent(struct shm *shm, uint32_t session, uint32_t no)
{
    fx_lock(shm);
    shm_upload_sent(shm, session, no, "\"part\"", no);
    fx_unlock(shm);
    fx_check(shm);
}

static void unsent(struct shm *shm, uint32_t session, uint32_t no, int error)
{
    fx_lock(shm);
    shm_upload_unsent(shm, session, no, error);
    fx_unlock(shm);
    fx_check(shm);
}

static void test_parts_are_taken_in_order_and_once(void **state)
{
    struct shm *shm = *state;
    uint32_t s = open_one(shm, 8 * MIB, false);
    const struct shm_upload *u = shm_upload_at(shm, s);

    assert_string_equal(u->key, "p/f");
    assert_string_equal(u->id, "upload");
    assert_int_equal(take(shm, s, 0, 3), 0);
    assert_int_equal(take(shm, s, 1, 3), 1);
    assert_int_equal(take(shm, s, 0, 2), SHM_NIL); /* the limit */
    assert_int_equal(take(shm, s, 0, 3), 2);
    assert_int_equal(take(shm, s, 0, 3), SHM_NIL);
    assert_int_equal(u->sending, 3);
    sent(shm, s, 1);
    assert_int_equal(u->prefix, 0);
    sent(shm, s, 0);
    assert_int_equal(u->prefix, 2);
    unsent(shm, s, 2, 0);
    assert_int_equal(u->sending, 0);
    assert_int_equal(take(shm, s, 0, 3), 2);
    sent(shm, s, 2);
    assert_int_equal(u->prefix, 3);
    assert_string_equal(u->part[2].etag, "\"part\"");
    fx_lock(shm);
    shm_upload_end(shm, s);
    fx_unlock(shm);
    fx_check(shm);
}

static void test_the_first_error_stays(void **state)
{
    struct shm *shm = *state;
    uint32_t s = open_one(shm, 8 * MIB, false);

    (void)take(shm, s, 0, 9);
    (void)take(shm, s, 0, 9);
    unsent(shm, s, 1, -EACCES);
    unsent(shm, s, 0, -EIO);
    assert_int_equal(shm_upload_at(shm, s)->error, -EACCES);
}

static void test_that_complete_was_sent_is_remembered(void **state)
{
    struct shm *shm = *state;
    uint32_t s = open_one(shm, 8 * MIB, false);

    fx_lock(shm);
    assert_false(shm_upload_completes(shm, s, true));
    assert_true(shm_upload_completes(shm, s, true));
    assert_true(shm_upload_completes(shm, s, false));
    assert_false(shm_upload_completes(shm, s, true));
    shm_upload_end(shm, s);
    shm_upload_open(shm, s,
                    &(struct shm_upload_new){
                        .key = "p/f", .id = "other", .plan = shm_upload_plan(8 * MIB, false, 0)});
    assert_false(shm_upload_completes(shm, s, true));
    fx_unlock(shm);
    fx_check(shm);
}

static void test_another_upload_forgets_the_parts(void **state)
{
    struct shm *shm = *state;
    uint32_t s = open_one(shm, 8 * MIB, false);

    (void)take(shm, s, 0, 9);
    sent(shm, s, 0);
    fx_lock(shm);
    shm_upload_end(shm, s);
    shm_upload_open(shm, s,
                    &(struct shm_upload_new){
                        .key = "p/f", .id = "second", .plan = shm_upload_plan(9 * MIB, false, 0)});
    fx_unlock(shm);
    fx_check(shm);
    assert_int_equal(shm_upload_at(shm, s)->prefix, 0);
    assert_int_equal(take(shm, s, 1, 9), 0);
}

static void change(struct shm *shm, uint32_t session, uint64_t seq, uint64_t from, uint64_t to)
{
    fx_lock(shm);
    shm_upload_changed(shm, session, seq, from, to);
    fx_unlock(shm);
    fx_check(shm);
}

static uint32_t take_all(struct shm *shm, uint32_t session, uint32_t limit)
{
    uint32_t no;

    fx_lock(shm);
    no = shm_upload_take(shm, session, 0, limit, UINT64_MAX, SHM_UPLOAD_ALL);
    fx_unlock(shm);
    fx_check(shm);
    return no;
}

/* Parts 0 to 3 are on S3, 4 is on its way. */
static uint32_t open_early(struct shm *shm)
{
    uint32_t s = open_one(shm, 8 * MIB, true);

    for (uint32_t i = 0; i < 5; i++)
        assert_int_equal(take(shm, s, 0, 5), i);
    for (uint32_t i = 0; i < 4; i++)
        sent(shm, s, i);
    return s;
}

static void test_changed_parts_are_sent_again_at_the_end(void **state)
{
    struct shm *shm = *state;
    uint32_t s = open_early(shm);
    const struct shm_upload *u = shm_upload_at(shm, s);

    change(shm, s, 4, 16 * MIB - 1, 16 * MIB + 1);
    assert_int_equal(u->seq, 4);
    assert_int_equal(u->prefix, 1);
    assert_int_equal(take(shm, s, 0, 5), SHM_NIL); /* not before the end */
    assert_int_equal(take(shm, s, 0, 6), 5);
    sent(shm, s, 5);
    assert_int_equal(take_all(shm, s, 6), 1);
    assert_int_equal(take_all(shm, s, 6), 2);
    assert_int_equal(take_all(shm, s, 6), SHM_NIL);
    sent(shm, s, 2);
    sent(shm, s, 1);
    assert_int_equal(u->prefix, 4);
    sent(shm, s, 4);
    assert_int_equal(u->prefix, 6);
}

static void test_a_part_that_changes_on_its_way(void **state)
{
    struct shm *shm = *state;
    uint32_t s = open_early(shm);
    const struct shm_upload *u = shm_upload_at(shm, s);

    change(shm, s, 4, 32 * MIB, 32 * MIB + 1);
    sent(shm, s, 4);
    assert_int_equal(u->prefix, 4);
    assert_int_equal(take_all(shm, s, 5), 4);
    change(shm, s, 5, 32 * MIB, 32 * MIB + 1);
    unsent(shm, s, 4, -EBADMSG); /* refused: it does not match its checksum */
    assert_int_equal(u->error, 0);
    assert_int_equal(take_all(shm, s, 5), 4);
    unsent(shm, s, 4, -EBADMSG);
    assert_int_equal(u->error, -EBADMSG);
}

static void test_a_change_that_is_not_followed(void **state)
{
    struct shm *shm = *state;
    uint32_t s = open_early(shm);
    const struct shm_upload *u = shm_upload_at(shm, s);

    change(shm, s, 5, 0, 1); /* one was missed */
    assert_int_equal(u->seq, 3);
    assert_int_equal(u->prefix, 4);
    for (uint32_t i = 5; i < 30; i++)
        assert_int_equal(take(shm, s, 0, 30), i);
    change(shm, s, 4, 0, UINT64_MAX); /* too many parts */
    assert_int_equal(u->seq, 3);
    change(shm, s, 4, 200 * MIB, UINT64_MAX);
    assert_int_equal(u->seq, 4);
    change(shm, s, 5, 900 * MIB, 901 * MIB); /* beyond all of them */
    assert_int_equal(u->seq, 5);
    assert_int_equal(u->prefix, 4);
}

static void test_a_worker_that_dies(void **state)
{
    struct shm *shm = *state;
    uint32_t s = open_one(shm, 8 * MIB, false);
    bool any;

    for (uint32_t i = 0; i < 6; i++)
        assert_int_equal(take(shm, s, i % 2, 99), i);
    sent(shm, s, 0);
    sent(shm, s, 3);
    fx_lock(shm);
    any = shm_upload_worker_gone(shm, s, 1);
    assert_false(shm_upload_worker_gone(shm, s, 1));
    fx_unlock(shm);
    fx_check(shm);
    assert_true(any);
    assert_int_equal(shm_upload_at(shm, s)->sending, 2); /* 2 and 4, of worker 0 */
    assert_int_equal(take(shm, s, 0, 99), 1);
    assert_int_equal(take(shm, s, 0, 99), 5);
    assert_int_equal(take(shm, s, 0, 99), 6);
}

static void test_a_part_that_has_grown_is_sent_again(void **state)
{
    struct shm *shm = *state;
    uint32_t s = open_one(shm, 8 * MIB, false);
    const struct shm_upload *u = shm_upload_at(shm, s);

    fx_lock(shm);
    assert_int_equal(shm_upload_take(shm, s, 0, 9, 11 * MIB, SHM_UPLOAD_NEW), 0);
    assert_int_equal(shm_upload_take(shm, s, 0, 9, 11 * MIB, SHM_UPLOAD_NEW), 1);
    fx_unlock(shm);
    sent(shm, s, 0);
    sent(shm, s, 1);
    assert_int_equal(u->prefix, 2);
    fx_lock(shm);
    shm_upload_grown(shm, s, 11 * MIB);
    assert_int_equal(u->prefix, 2);
    assert_true(shm_upload_is_whole(u, 1, 11 * MIB));
    shm_upload_grown(shm, s, 12 * MIB);
    fx_unlock(shm);
    fx_check(shm);
    assert_false(shm_upload_is_whole(u, 1, 12 * MIB));
    assert_int_equal(u->prefix, 1);
    fx_lock(shm);
    assert_int_equal(shm_upload_take(shm, s, 0, 9, 12 * MIB, SHM_UPLOAD_NEW), 1);
    fx_unlock(shm);
    assert_true(u->part[1].len == 4 * MIB);
}

static void check_divides(const struct shm_upload_plan *u, uint64_t size)
{
    uint32_t n = shm_upload_parts(u, size);
    uint64_t at = 0, off, len;

    for (uint32_t i = 0; i < n && i < SHM_UPLOAD_PARTS; i++) {
        assert_true(shm_upload_range(u, i, size, &off, &len));
        assert_true(off == at);
        assert_true(len > 0 || size == 0);
        assert_true(len <= SHM_UPLOAD_PART_MAX);
        at += len;
    }
    if (n > SHM_UPLOAD_PARTS)
        return;
    assert_true(at == size);
    assert_false(shm_upload_range(u, n, size, &off, &len));
}

static void test_how_files_are_divided(void **state)
{
    static const uint64_t sizes[] = {0,           1,        8 * MIB - 1, 8 * MIB,
                                     8 * MIB + 1, GIB - 1,  5 * GIB,     100 * GIB,
                                     7 * TIB,     48 * TIB, SIZE_MOST};

    (void)state;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct shm_upload_plan equal =
            shm_upload_plan(shm_upload_part_size(sizes[i], 8 * MIB), false, 0);
        struct shm_upload_plan grows = shm_upload_plan(8 * MIB, true, 0);

        assert_true(shm_upload_parts(&equal, sizes[i]) <= SHM_UPLOAD_PARTS);
        assert_true(equal.part_size <= SHM_UPLOAD_PART_MAX);
        check_divides(&equal, sizes[i]);
        check_divides(&grows, sizes[i]);
    }
}

static void test_what_is_copied_comes_first(void **state)
{
    static const uint64_t bases[] = {5 * MIB, 5 * GIB, 5 * GIB + 1, 12 * GIB, 4 * TIB};
    uint64_t off, len;

    (void)state;
    for (size_t i = 0; i < sizeof(bases) / sizeof(bases[0]); i++) {
        uint64_t base = bases[i];
        struct shm_upload_plan u = shm_upload_plan(8 * MIB, true, base);

        check_divides(&u, base);
        check_divides(&u, base + 1);
        check_divides(&u, base + 20 * MIB);
        assert_int_equal(shm_upload_parts(&u, base), u.copies);
        assert_true(shm_upload_range(&u, u.copies, base + 20 * MIB, &off, &len));
        assert_true(off == base && len == 8 * MIB);
    }
}

/* The largest file that an upload with growing parts holds. */
static uint64_t room_of(uint64_t part_size)
{
    struct shm_upload_plan plan = shm_upload_plan(part_size, true, 0);
    uint64_t off, len;

    assert_true(shm_upload_range(&plan, SHM_UPLOAD_PARTS - 1, UINT64_MAX, &off, &len));
    return off + len;
}

static void test_how_much_a_stream_holds(void **state)
{
    struct shm_upload_plan u = shm_upload_plan(8 * MIB, true, 0);
    uint64_t room = room_of(8 * MIB), off, len;

    (void)state;
    assert_true(room > 7 * TIB);
    assert_int_equal(shm_upload_parts(&u, room), SHM_UPLOAD_PARTS);
    assert_int_equal(shm_upload_parts(&u, room + 1), SHM_UPLOAD_PARTS + 1);
    assert_true(room_of(SHM_UPLOAD_PART_MAX) == SIZE_MOST);
    /* 100 GiB in parts that a small machine can hold. */
    assert_true(shm_upload_range(&u, shm_upload_parts(&u, 100 * GIB) - 1, UINT64_MAX, &off, &len));
    assert_true(len <= 32 * MIB);
}

static void check_finds(struct shm *shm, const char *what)
{
    struct err err = {0};

    assert_int_equal(shm_upload_check(shm, &err), -EUCLEAN);
    assert_non_null(strstr(err.text, what));
}

static void test_the_check_finds_damage(void **state)
{
    struct shm *shm = *state;
    uint32_t s = open_one(shm, 8 * MIB, false);
    struct shm_upload *u = store_upload(shm, s);

    (void)take(shm, s, 0, 9);
    u->sending = 2;
    check_finds(shm, "sends 1 parts, counted 2");
    u->sending = 1;
    u->prefix = 1;
    check_finds(shm, "part 0 has state");
    u->prefix = 0;
    u->next = 5;
    check_finds(shm, "part 5 is next");
    u->next = 1;
    u->plan.part_size = 0;
    check_finds(shm, "parts of 0 bytes");
    u->plan.part_size = MIB;
    fx_check(shm);
    u->open = 0;
    check_finds(shm, "ended, sends parts");
    u->sending = 0;
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, fx_setup, fx_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_parts_are_taken_in_order_and_once),
        TEST(test_the_first_error_stays),
        TEST(test_that_complete_was_sent_is_remembered),
        TEST(test_another_upload_forgets_the_parts),
        TEST(test_changed_parts_are_sent_again_at_the_end),
        TEST(test_a_part_that_changes_on_its_way),
        TEST(test_a_change_that_is_not_followed),
        TEST(test_a_worker_that_dies),
        TEST(test_a_part_that_has_grown_is_sent_again),
        cmocka_unit_test(test_how_files_are_divided),
        cmocka_unit_test(test_what_is_copied_comes_first),
        cmocka_unit_test(test_how_much_a_stream_holds),
        TEST(test_the_check_finds_damage),
    };

    return cmocka_run_group_tests_name("shm_upload", tests, NULL, NULL);
}
