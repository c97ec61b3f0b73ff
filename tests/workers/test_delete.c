/* delete.c: the table in delete.h. What is deleted, what stays, and what follows when the answer to
 * a DELETE is lost. */
#include "workers/write/delete.h"

#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "tests/workers/s3_fixture.h"
#include "workers/cas/cas.h"
#include "workers/handlers/fuse_op.h"
#include "workers/server/server.h"

#define UNIQUE UINT64_C(42)
#define KEY "pre/f"
#define LINE "DELETE /bkt/pre/f"
#define ID_1 "AAAAAAA1"
#define ID_2 "AAAAAAA2"

#define DELETED                                                                                    \
    {                                                                                              \
        .text = "HTTP/1.1 204 No Content\r\n\r\n"                                                  \
    }
#define REFUSED FX_ERROR("412 Precondition Failed", "PreconditionFailed")
#define UNKNOWN FX_ERROR("501 Not Implemented", "NotImplemented")
#define GONE                                                                                       \
    {                                                                                              \
        .text = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"                              \
    }
/* A HEAD's 404 has no code: a GET of one byte tells that it is the key that is missing. */
#define GONE_INDEED GONE, FX_ERROR("404 Not Found", "NoSuchKey")
#define LOST                                                                                       \
    {                                                                                              \
        .end = SERVER_RESET                                                                        \
    }
#define HEAD_WITH(etag, lineage)                                                                   \
    {                                                                                              \
        .text = "HTTP/1.1 200 OK\r\nETag: \"" etag "\"\r\nx-amz-meta-" LINEAGE_META ": " lineage   \
                "\r\nContent-Length: 3\r\n\r\n"                                                    \
    }

static struct op *unlink_op(struct fx *fx)
{
    struct op *op = fx_op(fx, FUSE_UNLINK, UNIQUE, FUSE_ROOT_ID, NULL, 0, "f", 2);

    assert_int_equal(op_keep(op), 0);
    return op;
}

static void begin(struct op *op, const char *etag, enum delete_how how, const char *id)
{
    const struct delete_args args = {
        .key = KEY, .etag = etag, .id = id, .how = how, .note = &op->rec->progress.unlink};

    delete_key(op, &args, fx_on_then);
}

static void goes_on(struct fx *fx, struct op *op, const char *etag, enum delete_how how,
                    const char *id, int error)
{
    unsigned calls = fx_then.calls;

    begin(op, etag, how, id);
    FX_WAIT(fx, fx_then.calls == calls + 1);
    assert_int_equal(fx_then.error, error);
    assert_null(op->state);
    fx_end_op(fx, op);
}

static void ends(struct fx *fx, const char *etag, enum delete_how how, const char *id, int error)
{
    goes_on(fx, unlink_op(fx), etag, how, id, error);
}

static void test_deleted(void **state)
{
    struct fx *fx = *state;

    FX_SCRIPT(DELETED, DELETED);
    ends(fx, "\"e\"", DELETE_LAST, NULL, 0);
    fx_assert_request(0, LINE);
    fx_assert_header(0, "if-match", "\"e\"");
    ends(fx, "", DELETE_LAST, NULL, 0);
    fx_assert_header(1, "if-match", "");
    assert_int_equal(fx_requests(), 2);
}

static void test_gone_already(void **state)
{
    struct fx *fx = *state;

    FX_SCRIPT(FX_ERROR("404 Not Found", "NoSuchKey"));
    ends(fx, "\"e\"", DELETE_LAST, NULL, 0);
    assert_int_equal(fx_requests(), 1);
}

static void test_forbidden(void **state)
{
    struct fx *fx = *state;

    FX_SCRIPT(FX_ERROR("403 Forbidden", "AccessDenied"));
    ends(fx, "\"e\"", DELETE_LAST, NULL, -EACCES);
    assert_int_equal(fx_requests(), 1);
}

/* ---- another version is there ---- */

static void test_the_last_one_wins(void **state)
{
    struct fx *fx = *state;

    FX_SCRIPT(REFUSED, FX_HEAD("other", "3"), DELETED);
    ends(fx, "\"e\"", DELETE_LAST, NULL, 0);
    assert_int_equal(fx_requests(), 3);
    fx_assert_header(2, "if-match", "\"other\"");
}

/* It was written after this one was copied. */
static void test_what_came_after_a_move_stays(void **state)
{
    struct fx *fx = *state;

    FX_SCRIPT(REFUSED, FX_HEAD("other", "3"));
    ends(fx, "\"e\"", DELETE_MOVED, NULL, 0);
    assert_int_equal(fx_requests(), 2);
}

static void test_compare_and_set_is_refused(void **state)
{
    struct fx *fx = *state;

    fx_set_variant(fx, CONF_S3_BUFFERED_CAS);
    fx->w.shm->header->conditions = SERVER_KEEPS_DELETE;
    FX_SCRIPT(REFUSED);
    ends(fx, "\"e\"", DELETE_SEEN, NULL, -EEXIST);
    assert_int_equal(fx_requests(), 1);
    fx_assert_header(0, "if-match", "\"e\"");
}

/* The server does not look at the condition: HEAD does. */
static void test_compared_with_head(void **state)
{
    struct fx *fx = *state;

    fx_set_variant(fx, CONF_S3_BUFFERED_CAS);
    FX_SCRIPT(FX_HEAD("e", "3"), DELETED, FX_HEAD("other", "3"), GONE_INDEED);
    ends(fx, "\"e\"", DELETE_SEEN, NULL, 0);
    fx_assert_request(0, "HEAD /bkt/pre/f");
    fx_assert_request(1, LINE);
    fx_assert_header(1, "if-match", "");
    ends(fx, "\"e\"", DELETE_SEEN, NULL, -EEXIST);
    assert_int_equal(fx_requests(), 3);
    ends(fx, "\"e\"", DELETE_SEEN, NULL, 0);
}

/* Empty files have one ETag; the write-id tells them apart. */
static void test_empty_files(void **state)
{
    struct fx *fx = *state;

    fx_set_variant(fx, CONF_S3_BUFFERED_CAS);
    fx->w.shm->header->conditions = SERVER_KEEPS_DELETE;
    FX_SCRIPT(HEAD_WITH("d41d8cd98f00b204e9800998ecf8427e", ID_2),
              HEAD_WITH("d41d8cd98f00b204e9800998ecf8427e", ID_1), DELETED);
    ends(fx, S3_ETAG_EMPTY, DELETE_SEEN, ID_1, -EEXIST);
    assert_int_equal(fx_requests(), 1);
    ends(fx, S3_ETAG_EMPTY, DELETE_SEEN, ID_1, 0);
    fx_assert_request(2, LINE);
}

/* ---- the server does not know the condition ---- */

static void test_unknown_condition(void **state)
{
    struct fx *fx = *state;

    FX_SCRIPT(UNKNOWN, DELETED, DELETED);
    assert_true(delete_asks(&fx->w));
    ends(fx, "\"e\"", DELETE_LAST, NULL, 0);
    fx_assert_header(1, "if-match", "");
    assert_false(delete_asks(&fx->w)); /* it is not asked again */
    ends(fx, "\"e\"", DELETE_LAST, NULL, 0);
    fx_assert_header(2, "if-match", "");
    assert_int_equal(fx_requests(), 3);
}

/* What must not go is looked at in its place. */
static void test_unknown_condition_of_a_move(void **state)
{
    struct fx *fx = *state;

    FX_SCRIPT(UNKNOWN, FX_HEAD("other", "3"));
    ends(fx, "\"e\"", DELETE_MOVED, NULL, 0);
    fx_assert_request(1, "HEAD /bkt/pre/f");
    assert_int_equal(fx_requests(), 2);
}

/* It is refused though HEAD shows that it holds: it does not count here. */
static void test_a_condition_that_is_refused_though_it_holds(void **state)
{
    struct fx *fx = *state;

    FX_SCRIPT(REFUSED, FX_HEAD("e", "3"), REFUSED, FX_HEAD("e", "3"), DELETED);
    ends(fx, "\"e\"", DELETE_LAST, NULL, 0);
    assert_int_equal(fx_requests(), 5);
    fx_assert_header(2, "if-match", "\"e\"");
    fx_assert_header(4, "if-match", "");
    assert_false(delete_asks(&fx->w));
}

/* ---- the answer is lost ---- */

/* Nobody sends it once more before HEAD has looked. */
static void test_lost_and_gone(void **state)
{
    struct fx *fx = *state;

    FX_SCRIPT(LOST, GONE_INDEED);
    ends(fx, "\"e\"", DELETE_LAST, NULL, 0);
    fx_assert_request(0, LINE);
    fx_assert_request(1, "HEAD /bkt/pre/f");
}

static void test_lost_and_another_one(void **state)
{
    struct fx *fx = *state;

    FX_SCRIPT(LOST, FX_HEAD("other", "3"));
    ends(fx, "\"e\"", DELETE_LAST, NULL, 0); /* it came after ours */
    assert_int_equal(fx_requests(), 2);
}

/* The same one still, also after a while: it has not acted. (How often HEAD looks is a matter of
 * time, so the answer is one that suits the second DELETE too.) */
static void test_lost_and_still_there(void **state)
{
    struct fx *fx = *state;
    uint64_t since = clock_mono_ns();
    unsigned last;

    FX_SCRIPT(LOST, FX_HEAD("e", "0"));
    ends(fx, "\"e\"", DELETE_LAST, NULL, 0);
    assert_true(clock_mono_ns() - since >= s3_settle_ns(fx->w.s3));
    last = fx_requests() - 1;
    assert_true(last > 1);
    for (unsigned i = 1; i < last; i++)
        fx_assert_request(i, "HEAD /bkt/pre/f");
    fx_assert_request(last, LINE);
    fx_assert_header(last, "if-match", "\"e\"");
}

/* A replacement finds the note of one that was sent, and looks for that version, whatever it is
 * asked for now. */
static void test_sent_by_a_worker_that_died(void **state)
{
    struct fx *fx = *state;
    struct op *op = unlink_op(fx);
    uint32_t rec = op->rec_idx;

    FX_SCRIPT(DELETED);
    begin(op, "\"e\"", DELETE_LAST, NULL);
    FX_WAIT(fx, fx_then.calls);
    fx_s3_replace(fx);
    FX_SCRIPT(FX_HEAD("new", "3"));
    op = fuse_op_begin(&fx->w, rec);
    assert_int_equal(op->rec->progress.unlink.sent, 1);
    goes_on(fx, op, "\"new\"", DELETE_LAST, NULL, 0); /* that is somebody's new file */
    fx_assert_request(0, "HEAD /bkt/pre/f");
    assert_int_equal(fx_requests(), 1);
}

/* ---- the answer is lost, compare-and-set ---- */

static void lost_then(struct fx *fx, const char *id, int error)
{
    fx_set_variant(fx, CONF_S3_BUFFERED_CAS);
    fx->w.shm->header->conditions = SERVER_KEEPS_DELETE;
    ends(fx, "\"e\"", DELETE_SEEN, id, error);
    assert_int_equal(fx_requests(), 2);
}

/* Another version: one that was not built on the deleted one came after it. */
static void test_lost_and_a_new_file(void **state)
{
    FX_SCRIPT(LOST, HEAD_WITH("other", ID_2));
    lost_then(*state, ID_1, 0);
}

static void test_lost_and_a_change(void **state)
{
    FX_SCRIPT(LOST, HEAD_WITH("other", ID_2 ID_1 "."));
    lost_then(*state, ID_1, -EEXIST);
}

static void test_lost_and_nobody_can_tell(void **state)
{
    FX_SCRIPT(LOST, HEAD_WITH("other", ID_2));
    lost_then(*state, NULL, -EIO);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, fx_s3_setup, fx_s3_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_deleted),
        TEST(test_gone_already),
        TEST(test_forbidden),
        TEST(test_the_last_one_wins),
        TEST(test_what_came_after_a_move_stays),
        TEST(test_compare_and_set_is_refused),
        TEST(test_compared_with_head),
        TEST(test_empty_files),
        TEST(test_unknown_condition),
        TEST(test_unknown_condition_of_a_move),
        TEST(test_a_condition_that_is_refused_though_it_holds),
        TEST(test_lost_and_gone),
        TEST(test_lost_and_another_one),
        TEST(test_lost_and_still_there),
        TEST(test_sent_by_a_worker_that_died),
        TEST(test_lost_and_a_new_file),
        TEST(test_lost_and_a_change),
        TEST(test_lost_and_nobody_can_tell),
    };

    return cmocka_run_group_tests_name("delete", tests, NULL, NULL);
}
