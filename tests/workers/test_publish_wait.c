/* publish_wait.c: who waits for a publish, who begins one, and what each of them gets; with
 * publish.c and publish_end.c, as far as one PUT goes. */
#include "workers/write/publish_wait.h"

#include <errno.h>
#include <string.h>

#include "shm/shm_conflict.h"
#include "shm/shm_patch.h"
#include "tests/shm/stores.h"
#include "tests/workers/s3_fixture.h"
#include "workers/op/hold.h"
#include "workers/op/spool.h"
#include "workers/write/publish_private.h"
#include "workers/write/session_end.h"

#define UNIQUE UINT64_C(42)

/* A FLUSH, kept, as a close(2) sends it. */
static struct op *flush(struct fx *fx, uint64_t unique, uint32_t node)
{
    struct fuse_flush_in in = {0};
    struct op *op =
        fx_op(fx, FUSE_FLUSH, unique, shm_node_id(fx->w.shm, node), &in, sizeof(in), NULL, 0);

    assert_int_equal(op_keep(op), 0);
    return op;
}

static void write_text(struct fx *fx, uint32_t session, const char *text)
{
    struct shm_session *s = store_session(fx->w.shm, session);

    assert_int_equal(spool_write(&fx->w, session, text, strlen(text), 0), 0);
    s->size = strlen(text);
    s->changed_from = 0;
    s->write_seq++;
}

/* A new file with these bytes, not on S3. */
static uint32_t new_file(struct fx *fx, const char *name, const char *text, uint32_t *ret_node)
{
    uint32_t session = fx_session(fx, name, ret_node);

    store_session(fx->w.shm, session)->flags |= SHM_SESSION_UNPUBLISHED;
    store_session(fx->w.shm, session)->expect.absent = true;
    write_text(fx, session, text);
    return session;
}

/* A session with new bytes on a file of which S3 has version `etag`. */
static uint32_t changed_file(struct fx *fx, const char *name, const char *etag, const char *text,
                             uint32_t *ret_node)
{
    int64_t session;

    *ret_node = fx_file(fx, name, etag, 1);
    worker_lock(&fx->w);
    session = shm_session_new(fx->w.shm, *ret_node);
    assert_true(session >= 0);
    worker_unlock(&fx->w);
    strcpy(store_session(fx->w.shm, (uint32_t)session)->expect.etag, etag);
    write_text(fx, (uint32_t)session, text);
    return (uint32_t)session;
}

static const struct shm_session *at(struct fx *fx, uint32_t session)
{
    return shm_session_at(fx->w.shm, session);
}

/* ---- what a waiter gets ---- */

static void test_nothing_to_do(void **state)
{
    struct fx *fx = *state;
    uint32_t node, session = changed_file(fx, "f", "\"e\"", "abc", &node);
    struct op *op = flush(fx, UNIQUE, node);

    store_session(fx->w.shm, session)->published_seq = at(fx, session)->write_seq;
    session_publish(op, session, fx_on_then);
    assert_int_equal(fx_then.calls, 1);
    assert_int_equal(fx_then.error, 0);
    assert_null(op->state);
    assert_int_equal(fx_requests(), 0);
    fx_end_op(fx, op);
}

static void test_a_new_file(void **state)
{
    struct fx *fx = *state;
    uint32_t node, session = new_file(fx, "f", "abc", &node);
    struct op *op = flush(fx, UNIQUE, node);
    const struct shm_node *n = shm_node_at(fx->w.shm, node);

    FX_SCRIPT(FX_PUT("new"));
    session_publish(op, session, fx_on_then);
    assert_int_equal(at(fx, session)->publish.state, SHM_JOB_RUNNING);
    assert_int_equal(at(fx, session)->publish.owner, FX_SLOT);
    FX_WAIT(fx, fx_then.calls);
    assert_int_equal(fx_then.error, 0);
    fx_assert_request(0, "PUT /bkt/pre/f");
    fx_assert_header(0, "if-none-match", "*");
    fx_assert_header(0, "content-length", "3");
    assert_false(shm_session_dirty(at(fx, session)));
    assert_string_equal(at(fx, session)->expect.etag, "\"new\"");
    assert_false(at(fx, session)->expect.absent);
    assert_string_equal(n->etag, "\"new\"");
    assert_false(n->flags & SHM_NODE_LOCAL);
    assert_int_equal(n->size, 3);
    fx_end_op(fx, op);
}

static void test_a_changed_file(void **state)
{
    struct fx *fx = *state;
    uint32_t node, session = changed_file(fx, "f", "\"e\"", "abc", &node);
    struct op *op = flush(fx, UNIQUE, node);
    uint32_t content = shm_node_at(fx->w.shm, node)->content;

    FX_SCRIPT(FX_PUT("new"));
    session_publish(op, session, fx_on_then);
    FX_WAIT(fx, fx_then.calls);
    assert_int_equal(fx_then.error, 0);
    fx_assert_header(0, "if-match", "\"e\"");
    fx_assert_header(0, "if-none-match", "");
    assert_true(shm_node_at(fx->w.shm, node)->content != content); /* old blocks do not match */
    fx_end_op(fx, op);
}

/* Of two that wait for the same bytes one begins the PUT. */
static void test_two_wait_for_one_put(void **state)
{
    struct fx *fx = *state;
    uint32_t node, session = new_file(fx, "f", "abc", &node);
    struct op *a = flush(fx, UNIQUE, node), *b;

    FX_SCRIPT(FX_PUT("new"));
    session_publish(a, session, fx_on_then);
    b = flush(fx, UNIQUE + 2, node);
    session_publish(b, session, fx_on_then);
    assert_int_equal(at(fx, session)->waiters, UINT32_C(1) << FX_SLOT);
    FX_WAIT(fx, fx_then.calls == 2);
    assert_int_equal(fx_then.error, 0);
    assert_int_equal(fx_requests(), 1);
    fx_end_op(fx, a);
    fx_end_op(fx, b);
}

/* What is written while a PUT runs is not in it: one more follows, on the version that it made. */
static void test_later_bytes_need_another_put(void **state)
{
    struct fx *fx = *state;
    uint32_t node, session = new_file(fx, "f", "abc", &node);
    struct op *a = flush(fx, UNIQUE, node), *b;

    FX_SCRIPT(FX_PUT("one"), FX_PUT("two"));
    session_publish(a, session, fx_on_then);
    store_session(fx->w.shm, session)->write_seq++;
    b = flush(fx, UNIQUE + 2, node);
    session_publish(b, session, fx_on_then);
    FX_WAIT(fx, fx_then.calls == 2);
    assert_int_equal(fx_then.error, 0);
    assert_int_equal(fx_requests(), 2);
    fx_assert_header(1, "if-match", "\"one\"");
    assert_string_equal(at(fx, session)->expect.etag, "\"two\"");
    fx_end_op(fx, a);
    fx_end_op(fx, b);
}

/* All that waited for an attempt get its error, and the next one tries again. */
static void test_a_failed_put(void **state)
{
    struct fx *fx = *state;
    uint32_t node, session = new_file(fx, "f", "abc", &node);
    struct op *a = flush(fx, UNIQUE, node), *b, *c;

    FX_SCRIPT(FX_ERROR("403 Forbidden", "AccessDenied"), FX_PUT("new"));
    session_publish(a, session, fx_on_then);
    b = flush(fx, UNIQUE + 2, node);
    session_publish(b, session, fx_on_then);
    FX_WAIT(fx, fx_then.calls == 2);
    assert_int_equal(fx_then.error, -EACCES);
    assert_true(shm_session_dirty(at(fx, session)));
    assert_int_equal(fx_requests(), 1);
    c = flush(fx, UNIQUE + 4, node);
    session_publish(c, session, fx_on_then);
    FX_WAIT(fx, fx_then.calls == 3);
    assert_int_equal(fx_then.error, 0);
    assert_false(shm_session_dirty(at(fx, session)));
    fx_end_op(fx, a);
    fx_end_op(fx, b);
    fx_end_op(fx, c);
}

/* A WRITE has failed: the bytes are not what the writer means them to be. */
static void test_a_failed_write(void **state)
{
    struct fx *fx = *state;
    uint32_t node, session = new_file(fx, "f", "abc", &node);
    struct op *op = flush(fx, UNIQUE, node);

    store_session(fx->w.shm, session)->write_error = -ENOSPC;
    session_publish(op, session, fx_on_then);
    assert_int_equal(fx_then.error, -ENOSPC);
    assert_int_equal(fx_requests(), 0);
    fx_end_op(fx, op);
}

/* An unlinked file is published no more; nobody fails for it. */
static void test_unlinked_meanwhile(void **state)
{
    struct fx *fx = *state;
    uint32_t node, session = new_file(fx, "f", "abc", &node);
    struct op *op = flush(fx, UNIQUE, node);

    store_session(fx->w.shm, session)->writing = 1;
    session_publish(op, session, fx_on_then);
    assert_int_equal(fx_then.calls, 0);
    store_session(fx->w.shm, session)->writing = 0;
    store_session(fx->w.shm, session)->flags |= SHM_SESSION_ORPHAN;
    op_resume_all(&fx->w);
    assert_int_equal(fx_then.calls, 1);
    assert_int_equal(fx_then.error, 0);
    assert_int_equal(fx_requests(), 0);
    store_session(fx->w.shm, session)->flags &= ~(uint32_t)SHM_SESSION_ORPHAN;
    fx_end_op(fx, op);
}

/* The one who waits is interrupted: the publish goes on. */
static void test_interrupted(void **state)
{
    struct fx *fx = *state;
    uint32_t node, session = new_file(fx, "f", "abc", &node);
    struct op *op = flush(fx, UNIQUE, node);

    FX_SCRIPT(FX_PUT("new"));
    session_publish(op, session, fx_on_then);
    op_stop_waiting(op);
    fx_end_op(fx, op);
    FX_WAIT(fx, !shm_session_dirty(at(fx, session)));
    assert_int_equal(fx_then.calls, 0);
}

/* ---- when it may begin ---- */

static void test_a_change_is_waited_for(void **state)
{
    struct fx *fx = *state;
    uint32_t node, session = new_file(fx, "f", "abc", &node);
    struct op *op = flush(fx, UNIQUE, node);

    FX_SCRIPT(FX_PUT("new"));
    store_session(fx->w.shm, session)->writing = 1;
    session_publish(op, session, fx_on_then);
    assert_int_equal(at(fx, session)->publish.state, SHM_JOB_IDLE);
    assert_int_equal(at(fx, session)->waiters, UINT32_C(1) << FX_SLOT);
    store_session(fx->w.shm, session)->writing = 0;
    op_resume_all(&fx->w);
    FX_WAIT(fx, fx_then.calls);
    assert_int_equal(fx_then.error, 0);
    fx_end_op(fx, op);
}

/* An unlink has the name: what is published under it now would be deleted, or come after. */
static void test_a_held_name_is_waited_for(void **state)
{
    struct fx *fx = *state;
    uint32_t node, session = new_file(fx, "f", "abc", &node);
    struct op *op = flush(fx, UNIQUE, node), *other;
    bool held;

    FX_SCRIPT(FX_PUT("new"));
    other = fx_op(fx, FUSE_UNLINK, UNIQUE + 2, FUSE_ROOT_ID, NULL, 0, "f", 2);
    assert_int_equal(op_keep(other), 0);
    worker_lock(&fx->w);
    held = hold_take(other, node);
    op_edit(other)->node = node;
    worker_unlock(&fx->w);
    assert_true(held);
    session_publish(op, session, fx_on_then);
    assert_int_equal(at(fx, session)->publish.state, SHM_JOB_IDLE);
    hold_give_back(other);
    FX_WAIT(fx, fx_then.calls);
    assert_int_equal(fx_then.error, 0);
    fx_end_op(fx, other);
    fx_end_op(fx, op);
}

/* Another session is to be a copy of the version that goes: it is loaded before the PUT. */
static void test_a_copy_of_it_is_loaded_first(void **state)
{
    struct fx *fx = *state;
    uint32_t copy_node, node, copy = new_file(fx, "copy", "", &copy_node);
    uint32_t session = changed_file(fx, "f", "\"e\"", "new", &node);
    struct shm_session *s = store_session(fx->w.shm, copy);
    struct op *op = flush(fx, UNIQUE, node);

    s->content = SHM_CONTENT_COPY;
    s->copy = (struct shm_copy){.etag = "\"e\"", .key = "pre/f"};
    s->size = 3;
    FX_SCRIPT(FX_GET("e", "3", "old"), FX_PUT("new"));
    session_publish(op, session, fx_on_then);
    FX_WAIT(fx, fx_then.calls);
    assert_int_equal(fx_then.error, 0);
    fx_assert_request(0, "GET /bkt/pre/f");
    fx_assert_request(1, "PUT /bkt/pre/f");
    fx_assert_spool(fx, copy, "old");
    assert_int_equal(at(fx, copy)->content, SHM_CONTENT_SPOOL);
    fx_end_op(fx, op);
}

/* A copy that the server would not make: its bytes are loaded, and put. */
static struct op *publish_refused_copy(struct fx *fx, uint32_t *ret_session)
{
    uint32_t node, session = new_file(fx, "copy", "", &node);
    struct shm_session *s = store_session(fx->w.shm, session);
    struct op *op = flush(fx, UNIQUE, node);

    s->content = SHM_CONTENT_COPY;
    s->flags |= SHM_SESSION_NO_COPY;
    s->copy = (struct shm_copy){.etag = "\"e\"", .key = "pre/f"};
    s->size = 3;
    session_publish(op, session, fx_on_then);
    FX_WAIT(fx, fx_then.calls);
    *ret_session = session;
    return op;
}

static void test_a_refused_copy_is_put(void **state)
{
    struct fx *fx = *state;
    uint32_t session;
    struct op *op;

    FX_SCRIPT(FX_GET("e", "3", "old"), FX_PUT("new"));
    op = publish_refused_copy(fx, &session);
    assert_int_equal(fx_then.error, 0);
    fx_assert_request(0, "GET /bkt/pre/f");
    fx_assert_header(0, "if-match", "\"e\"");
    fx_assert_request(1, "PUT /bkt/pre/copy");
    fx_assert_header(1, "content-length", "3");
    fx_end_op(fx, op);
}

static void test_a_copy_whose_source_has_gone(void **state)
{
    struct fx *fx = *state;
    uint32_t session;
    struct op *op;

    FX_SCRIPT(FX_ERROR("412 Precondition Failed", "PreconditionFailed"));
    op = publish_refused_copy(fx, &session);
    assert_int_equal(fx_then.error, -ESTALE);
    assert_int_equal(fx_requests(), 1);
    assert_true(at(fx, session)->flags & SHM_SESSION_LOST);
    fx_end_op(fx, op);
}

/* What a rename brings to a name looks like the object that it was. */
static void test_like_another_object(void **state)
{
    struct fx *fx = *state;
    uint32_t node, session = new_file(fx, "f", "abc", &node);
    struct op *op = flush(fx, UNIQUE, node);
    struct publish_like like = {.key = "p/other",
                                .obj = {.content_type = "text/plain",
                                        .own_type = true,
                                        .meta = "colour\0blue",
                                        .meta_len = sizeof("colour\0blue")}};

    fx->conf.metadata = CONF_METADATA_FULL;
    FX_SCRIPT(FX_PUT("new"));
    session_publish_like(op, session, &like, fx_on_then);
    memset(&like, 0, sizeof(like)); /* it was copied */
    FX_WAIT(fx, fx_then.calls);
    assert_int_equal(fx_then.error, 0);
    fx_assert_header(0, "content-type", "text/plain");
    fx_assert_header(0, "x-amz-meta-colour", "blue");
    fx_end_op(fx, op);
}

/* ---- last write wins: a refusal is no defeat ---- */

static void test_the_last_one_wins(void **state)
{
    struct fx *fx = *state;
    uint32_t node, session = changed_file(fx, "f", "\"e\"", "abc", &node);
    struct op *op = flush(fx, UNIQUE, node);

    FX_SCRIPT(FX_ERROR("412 Precondition Failed", "PreconditionFailed"), FX_HEAD("other", "7"),
              FX_PUT("new"));
    session_publish(op, session, fx_on_then);
    FX_WAIT(fx, fx_then.calls);
    assert_int_equal(fx_then.error, 0);
    assert_int_equal(fx_requests(), 3);
    fx_assert_request(1, "HEAD /bkt/pre/f");
    fx_assert_header(2, "if-match", "\"other\"");
    fx_end_op(fx, op);
}

/* ---- compare-and-set: it is ---- */

static void expects(struct fx *fx, uint32_t session)
{
    struct shm_session *s = store_session(fx->w.shm, session);

    s->expect.must = true;
    s->pids[0] = (struct shm_session_pid){.tgid = 100, .start = 1, .flags = SHM_PID_WROTE};
}

static void test_a_conflict(void **state)
{
    struct fx *fx = *state;
    uint32_t node, session;
    struct op *op;

    fx_set_variant(fx, CONF_S3_BUFFERED_CAS);
    session = changed_file(fx, "f", "\"e\"", "abc", &node);
    expects(fx, session);
    op = flush(fx, UNIQUE, node);
    FX_SCRIPT(FX_HEAD("e", "1"), FX_ERROR("412 Precondition Failed", "PreconditionFailed"));
    session_publish(op, session, fx_on_then);
    FX_WAIT(fx, fx_then.calls);
    assert_int_equal(fx_then.error, -EEXIST);
    assert_int_equal(fx_requests(), 2);
    fx_assert_request(0, "HEAD /bkt/pre/f"); /* for the lineage of the version that is expected */
    fx_assert_request(1, "PUT /bkt/pre/f");
    fx_assert_header(1, "if-match", "\"e\"");
    assert_int_equal(fx->w.shm->conflicts->count, 1);
    assert_string_equal(fx->w.shm->conflicts->slot[0].key, "pre/f");
    assert_string_equal(fx->w.shm->conflicts->slot[0].expected, "\"e\"");
    assert_int_equal(fx->w.shm->conflicts->slot[0].tgid, 100);
    assert_string_equal(shm_node_at(fx->w.shm, node)->etag, "\"e\"");
    fx_end_op(fx, op);
}

/* It is known beforehand that it would be refused: nothing is sent. The next attempt is, too. */
static void test_refused_beforehand(void **state)
{
    struct fx *fx = *state;
    uint32_t node, session;

    fx_set_variant(fx, CONF_S3_BUFFERED_CAS);
    session = changed_file(fx, "f", "\"e\"", "abc", &node);
    expects(fx, session);
    store_session(fx->w.shm, session)->expect.refused = true;
    for (unsigned i = 1; i <= 2; i++) {
        struct op *op = flush(fx, UNIQUE + 2 * i, node);

        session_publish(op, session, fx_on_then);
        assert_int_equal(fx_then.calls, i);
        assert_int_equal(fx_then.error, -EEXIST);
        assert_int_equal(fx->w.shm->conflicts->count, i);
        fx_end_op(fx, op);
    }
    assert_int_equal(fx_requests(), 0);
}

/* A file that one reads, and another process has changed through a node of its own: the handle, and
 * the session. */
static uint32_t read_and_changed(struct fx *fx, uint32_t named, uint32_t *ret_handle)
{
    struct shm_version v = {.size = 3,
                            .etag = "\"e\"",
                            .mode = SHM_MODE_UNSET,
                            .uid = SHM_MODE_UNSET,
                            .gid = SHM_MODE_UNSET};
    int64_t own, handle, session;

    worker_lock(&fx->w);
    own = shm_node_private(fx->w.shm, SHM_ROOT, "f", 1, &v, 1);
    handle = shm_handle_new(fx->w.shm, SHM_HANDLE_FILE, named, 0);
    session = shm_session_new(fx->w.shm, (uint32_t)own);
    worker_unlock(&fx->w);
    assert_true(own >= 0 && handle >= 0 && session >= 0);
    strcpy(store_session(fx->w.shm, (uint32_t)session)->expect.etag, "\"e\"");
    write_text(fx, (uint32_t)session, "new");
    *ret_handle = (uint32_t)handle;
    return (uint32_t)session;
}

/* Somebody reads the version that goes: its bytes are loaded first, for an orphan of that
 * version. */
static void test_readers_are_kept(void **state)
{
    struct fx *fx = *state;
    uint32_t named, session, handle, orphan;
    struct op *op;
    bool closed;

    fx_set_variant(fx, CONF_S3_BUFFERED_CAS);
    named = fx_file(fx, "f", "\"e\"", 3);
    session = read_and_changed(fx, named, &handle);
    op = flush(fx, UNIQUE, at(fx, session)->node);
    FX_SCRIPT(FX_GET("e", "3", "old"), FX_PUT("new"));
    session_publish(op, session, fx_on_then);
    FX_WAIT(fx, fx_then.calls);
    assert_int_equal(fx_then.error, 0);
    fx_assert_request(0, "GET /bkt/pre/f");
    fx_assert_request(1, "PUT /bkt/pre/f");
    orphan = shm_node_at(fx->w.shm, named)->session;
    fx_assert_spool(fx, orphan, "old");
    worker_lock(&fx->w); /* as RELEASE of the reader does */
    shm_handle_free(fx->w.shm, handle);
    closed = session_end_unused(&fx->w, orphan);
    worker_unlock(&fx->w);
    assert_true(closed);
    session_clear(&fx->w, orphan);
    fx_end_op(fx, op);
}

/* Between the look at a patch and its publish it may become known that the server does not copy
 * parts. What is not here must not be sent as zeroes. */
static void test_a_patch_that_lacks_bytes_does_not_begin(void **state)
{
    struct fx *fx = *state;
    uint32_t node, session = changed_file(fx, "f", "\"e\"", "a", &node);
    struct publish *p = calloc(1, sizeof(*p));

    assert_non_null(p);
    p->w = &fx->w;
    p->session = session;
    worker_lock(&fx->w);
    store_session(fx->w.shm, session)->content = SHM_CONTENT_PATCH;
    shm_patch_begin(fx->w.shm, session, 1);
    fx->w.shm->header->no_part_copy = 1;
    assert_int_equal(publish_begin(p), -EAGAIN);
    assert_int_equal(at(fx, session)->publish.state, SHM_JOB_IDLE);
    shm_patch_loaded(fx->w.shm, session, (struct shm_patch_piece){0, 1});
    assert_int_equal(publish_begin(p), 0);
    worker_unlock(&fx->w);
    store_session(fx->w.shm, session)->publish.state = SHM_JOB_IDLE;
    publish_free(p);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, fx_s3_setup, fx_s3_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_nothing_to_do),
        TEST(test_a_new_file),
        TEST(test_a_changed_file),
        TEST(test_two_wait_for_one_put),
        TEST(test_later_bytes_need_another_put),
        TEST(test_a_failed_put),
        TEST(test_a_failed_write),
        TEST(test_unlinked_meanwhile),
        TEST(test_interrupted),
        TEST(test_a_change_is_waited_for),
        TEST(test_a_held_name_is_waited_for),
        TEST(test_a_copy_of_it_is_loaded_first),
        TEST(test_a_refused_copy_is_put),
        TEST(test_a_copy_whose_source_has_gone),
        TEST(test_like_another_object),
        TEST(test_a_patch_that_lacks_bytes_does_not_begin),
        TEST(test_the_last_one_wins),
        TEST(test_a_conflict),
        TEST(test_refused_beforehand),
        TEST(test_readers_are_kept),
    };

    return cmocka_run_group_tests_name("publish_wait", tests, NULL, NULL);
}
