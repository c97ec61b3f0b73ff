/* session_attach.c and session_load.c: who gets a session, and how the file gets into the spool. */
#include "workers/write/session_attach.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/clock.h"
#include "shm/shm_patch.h"
#include "shm/shm_reopen.h"
#include "tests/shm/stores.h"
#include "tests/workers/s3_fixture.h"
#include "workers/cas/cas_nodes.h"
#include "workers/handlers/fuse_op.h"
#include "workers/op/spool.h"
#include "workers/op/validity.h"
#include "workers/read/fetch.h"
#include "workers/write/session_change.h"
#include "workers/write/session_load.h"

#define UNIQUE UINT64_C(42)

static const struct shm_session *session_of(struct fx *fx, uint32_t node)
{
    uint32_t session = shm_node_at(fx->w.shm, node)->session;

    assert_int_not_equal(session, SHM_NIL);
    return shm_session_at(fx->w.shm, session);
}

static void detach(struct fx *fx, struct op *op)
{
    session_detach(op);
    assert_int_equal(op->rec->session, SHM_NIL);
    fx_end_op(fx, op);
}

static void assert_no_session(struct fx *fx)
{
    for (uint32_t i = 0; i < FX_SESSIONS; i++)
        assert_int_equal(shm_session_at(fx->w.shm, i)->state, SHM_SESSION_FREE);
}

/* ---- loading ---- */

static void test_the_file_is_loaded(void **state)
{
    struct fx *fx = *state;
    uint32_t node = fx_file(fx, "f", "\"e\"", 5);
    struct op *op = fx_open(fx, UNIQUE, node, O_RDWR);
    const struct shm_session *s;

    FX_SCRIPT(FX_GET("e", "5", "hello"));
    session_attach(op, node, false, fx_on_then);
    assert_int_equal(fx_then.calls, 0);
    s = session_of(fx, node);
    assert_false(shm_session_is_loaded(s));
    FX_WAIT(fx, fx_then.calls);
    assert_int_equal(fx_then.error, 0);
    assert_true(shm_session_is_loaded(s));
    assert_string_equal(s->expect.etag, "\"e\"");
    assert_int_equal(s->refs, 1);
    assert_false(shm_session_dirty(s));
    fx_assert_spool(fx, op->rec->session, "hello");
    assert_int_equal(fx_requests(), 1);
    fx_assert_request(0, "GET /bkt/pre/f");
    fx_assert_header(0, "if-match", "\"e\"");
    detach(fx, op);
    assert_no_session(fx);
}

/* Of an empty file, and of one whose first block holds all of it, nothing is requested. */
static void test_what_is_here_is_not_requested(void **state)
{
    struct fx *fx = *state;
    uint32_t empty = fx_file(fx, "empty", "\"e0\"", 0), node = fx_file(fx, "f", "\"e\"", 3);
    const struct shm_node *n = shm_node_at(fx->w.shm, node);
    struct op *a = fx_open(fx, UNIQUE, empty, O_RDWR), *b;

    session_attach(a, empty, false, fx_on_then);
    FX_WAIT(fx, fx_then.calls == 1);
    fx_assert_spool(fx, a->rec->session, "");
    fetch_put(&fx->w, n->bytes_node, n->content, (const uint8_t *)"abc", 3);
    b = fx_open(fx, UNIQUE + 2, node, O_RDWR);
    session_attach(b, node, false, fx_on_then);
    FX_WAIT(fx, fx_then.calls == 2);
    assert_int_equal(fx_then.error, 0);
    fx_assert_spool(fx, b->rec->session, "abc");
    assert_int_equal(fx_requests(), 0);
    detach(fx, a);
    detach(fx, b);
}

/* What does not fit into memory is loaded to disk. */
static void test_a_large_file_goes_to_disk(void **state)
{
    struct fx *fx = *state;
    uint32_t node = fx_file(fx, "f", "\"e\"", 5);
    struct op *op = fx_open(fx, UNIQUE, node, O_RDWR);

    fx->conf.buffer.memory = 4;
    FX_SCRIPT(FX_GET("e", "5", "hello"));
    session_attach(op, node, false, fx_on_then);
    FX_WAIT(fx, fx_then.calls);
    assert_int_equal(fx_then.error, 0);
    assert_true(session_of(fx, node)->flags & SHM_SESSION_ON_DISK);
    fx_assert_spool(fx, op->rec->session, "hello");
    detach(fx, op);
}

static void test_without_a_disk_there_is_no_space(void **state)
{
    struct fx *fx = *state;
    uint32_t node = fx_file(fx, "f", "\"e\"", 5);
    struct op *op = fx_open(fx, UNIQUE, node, O_RDWR);
    int fds[FX_SESSIONS];

    fx->conf.buffer.memory = 4;
    for (int i = 0; i < FX_SESSIONS; i++) {
        fds[i] = fx->env.spool[i].file_fd;
        fx->env.spool[i].file_fd = -1;
    }
    session_attach(op, node, false, fx_on_then);
    assert_int_equal(fx_then.calls, 1);
    assert_int_equal(fx_then.error, -ENOSPC);
    assert_int_equal(op->rec->session, SHM_NIL);
    assert_no_session(fx);
    for (int i = 0; i < FX_SESSIONS; i++)
        fx->env.spool[i].file_fd = fds[i];
    fx_end_op(fx, op);
}

static void fails_with(struct fx *fx, const char *name, int error, bool detached)
{
    uint32_t node = fx_file(fx, name, "\"e\"", 5), named;
    struct op *op = fx_open(fx, UNIQUE, node, O_RDWR);

    fx_then = (struct fx_then){0};
    session_attach(op, node, false, fx_on_then);
    FX_WAIT(fx, fx_then.calls);
    assert_int_equal(fx_then.error, error);
    assert_int_equal(op->rec->session, SHM_NIL);
    worker_lock(&fx->w);
    named = shm_node_find(fx->w.shm, SHM_ROOT, name, strlen(name));
    worker_unlock(&fx->w);
    assert_int_equal(named, detached ? SHM_NIL : node);
    assert_no_session(fx);
    fx_end_op(fx, op);
}

/* Another version, or none: the name is looked up again. Any other error says nothing of it. */
static void test_a_load_fails(void **state)
{
    struct fx *fx = *state;

    FX_SCRIPT(FX_ERROR("412 Precondition Failed", "PreconditionFailed"),
              FX_ERROR("404 Not Found", "NoSuchKey"), FX_ERROR("403 Forbidden", "AccessDenied"));
    fails_with(fx, "replaced", -ESTALE, true);
    fails_with(fx, "gone", -ESTALE, true);
    fails_with(fx, "forbidden", -EACCES, false);
    assert_int_equal(fx_requests(), 3);
}

/* session_load() itself: there is one load at a time, and none of what is here. */
static void test_one_load(void **state)
{
    struct fx *fx = *state;
    uint32_t node = fx_file(fx, "f", "\"e\"", 5), session;
    struct op *op = fx_open(fx, UNIQUE, node, O_RDWR);

    FX_SCRIPT(FX_GET("e", "5", "hello"));
    session_attach(op, node, false, fx_on_then);
    session = op->rec->session;
    assert_int_equal(session_load(&fx->w, session), -EAGAIN);
    FX_WAIT(fx, fx_then.calls);
    assert_int_equal(session_load(&fx->w, session), -EAGAIN);
    assert_int_equal(fx_requests(), 1);
    detach(fx, op);
}

/* Of a file that is changed in place nothing is loaded while a publish replaces the version that
 * has it, nor while a change may cut it. */
static void test_no_load_beside_a_publish_or_a_change(void **state)
{
    struct fx *fx = *state;
    uint32_t node = fx_file(fx, "f", "\"e\"", 5), session;
    struct op *op = fx_open(fx, UNIQUE, node, O_RDWR);

    FX_SCRIPT(FX_GET("e", "5", "hello"), FX_GET("e", "5", "hello"));
    session_attach(op, node, false, fx_on_then);
    session = op->rec->session;
    FX_WAIT(fx, fx_then.calls);
    worker_lock(&fx->w);
    store_session(fx->w.shm, session)->content = SHM_CONTENT_PATCH;
    shm_patch_begin(fx->w.shm, session, 5);
    worker_unlock(&fx->w);
    store_session(fx->w.shm, session)->writing = 1;
    assert_int_equal(session_load(&fx->w, session), -EAGAIN);
    store_session(fx->w.shm, session)->writing = 0;
    store_session(fx->w.shm, session)->publish.state = SHM_JOB_RUNNING;
    assert_int_equal(session_load(&fx->w, session), -EAGAIN);
    store_session(fx->w.shm, session)->publish.state = SHM_JOB_IDLE;
    assert_int_equal(session_load(&fx->w, session), 0);
    FX_WAIT(fx, shm_session_at(fx->w.shm, session)->load.state == SHM_JOB_IDLE);
    detach(fx, op);
}

/* ---- who shares it ---- */

static void test_two_share_a_session_and_its_load(void **state)
{
    struct fx *fx = *state;
    uint32_t node = fx_file(fx, "f", "\"e\"", 5);
    struct op *a = fx_open(fx, UNIQUE, node, O_RDWR), *b;

    FX_SCRIPT(FX_GET("e", "5", "hello"));
    session_attach(a, node, false, fx_on_then);
    b = fx_open(fx, UNIQUE + 2, node, O_RDWR);
    session_attach(b, node, false, fx_on_then);
    assert_int_equal(a->rec->session, b->rec->session);
    FX_WAIT(fx, fx_then.calls == 2);
    assert_int_equal(session_of(fx, node)->refs, 2);
    assert_int_equal(fx_requests(), 1);
    detach(fx, a);
    assert_int_equal(session_of(fx, node)->refs, 1);
    detach(fx, b);
    assert_no_session(fx);
}

/* One that is interrupted gives its ref back; the load comes to its end, and the session with
 * it. */
static void test_interrupted(void **state)
{
    struct fx *fx = *state;
    uint32_t node = fx_file(fx, "f", "\"e\"", 5), session;
    struct op *op = fx_open(fx, UNIQUE, node, O_RDWR);
    int error;

    FX_SCRIPT(FX_GET("e", "5", "hello"));
    session_attach(op, node, false, fx_on_then);
    session = op->rec->session;
    op_stop_waiting(op);
    op->abandon(op, -EINTR);
    assert_true(fx_answer(fx, UNIQUE, &error, NULL, 0));
    assert_int_equal(error, -EINTR);
    assert_int_equal(shm_session_at(fx->w.shm, session)->refs, 0);
    assert_int_equal(shm_session_at(fx->w.shm, session)->state, SHM_SESSION_LIVE);
    FX_WAIT(fx, shm_session_at(fx->w.shm, session)->state == SHM_SESSION_FREE);
    assert_int_equal(fx_then.calls, 0);
}

static void test_too_many(void **state)
{
    struct fx *fx = *state;
    uint32_t node, last = fx_file(fx, "last", "\"e\"", 5);
    struct op *op = fx_open(fx, UNIQUE, last, O_RDWR);

    (void)fx_session(fx, "a", &node);
    (void)fx_session(fx, "b", &node);
    (void)fx_session(fx, "c", &node);
    session_attach(op, last, false, fx_on_then);
    assert_int_equal(fx_then.error, -ENFILE);
    assert_int_equal(shm_node_at(fx->w.shm, last)->session, SHM_NIL);
    fx_end_op(fx, op);
}

/* ---- truncation ---- */

/* What is emptied is not loaded, and is to be published. */
static void test_truncated(void **state)
{
    struct fx *fx = *state;
    uint32_t node = fx_file(fx, "f", "\"e\"", 5);
    struct op *op = fx_open(fx, UNIQUE, node, O_WRONLY | O_TRUNC);
    const struct shm_session *s;

    session_attach(op, node, true, fx_on_then);
    assert_int_equal(fx_then.calls, 1);
    assert_int_equal(fx_then.error, 0);
    s = session_of(fx, node);
    assert_true(s->flags & SHM_SESSION_UNPUBLISHED);
    assert_true(shm_session_dirty(s));
    assert_int_equal(s->writing, 0);
    assert_int_equal(op->rec->change, SHM_CHANGE_TRUNCATED);
    fx_assert_spool(fx, op->rec->session, "");
    assert_int_equal(fx_requests(), 0);
    detach(fx, op);
}

/* The spool belongs to the load until that ends. */
static void test_a_truncation_waits_for_a_load(void **state)
{
    struct fx *fx = *state;
    uint32_t node = fx_file(fx, "f", "\"e\"", 5);
    struct op *a = fx_open(fx, UNIQUE, node, O_RDWR), *b;

    FX_SCRIPT(FX_GET("e", "5", "hello"));
    session_attach(a, node, false, fx_on_then);
    b = fx_open(fx, UNIQUE + 2, node, O_WRONLY | O_TRUNC);
    session_attach(b, node, true, fx_on_then);
    assert_int_equal(fx_then.calls, 0);
    FX_WAIT(fx, fx_then.calls == 2);
    fx_assert_spool(fx, b->rec->session, "");
    detach(fx, a);
    detach(fx, b);
}

/* A replacement does not empty it once more: others have written since. */
static void test_a_replayed_truncation(void **state)
{
    struct fx *fx = *state;
    uint32_t node = fx_file(fx, "f", "\"e\"", 5), session, rec;
    struct op *op = fx_open(fx, UNIQUE, node, O_WRONLY | O_TRUNC);

    session_attach(op, node, true, fx_on_then);
    session = op->rec->session;
    rec = op->rec_idx;
    assert_int_equal(spool_write(&fx->w, session, "abc", 3, 0), 0);
    store_session(fx->w.shm, session)->size = 3;
    fx_s3_replace(fx);
    op = fuse_op_begin(&fx->w, rec);
    session_attach(op, node, true, fx_on_then);
    assert_int_equal(fx_then.calls, 2);
    assert_int_equal(fx_then.error, 0);
    assert_int_equal(session_of(fx, node)->refs, 1);
    fx_assert_spool(fx, session, "abc");
    detach(fx, op);
}

/* ---- compare-and-set ---- */

#define PROCESS_A ((struct shm_baseline_who){.tgid = 100, .start = 1})
#define PROCESS_B ((struct shm_baseline_who){.tgid = 200, .start = 1})

static struct op *open_by(struct fx *fx, uint64_t unique, uint32_t node,
                          struct shm_baseline_who who)
{
    struct op *op = fx_open(fx, unique, node, O_RDWR);

    op->caller.self = who;
    return op;
}

/* The name's node is for readers: the kernel is to look up again, and gets one of the caller's own.
 */
static void test_writers_have_nodes_of_their_own(void **state)
{
    struct fx *fx = *state;
    uint32_t node = fx_file(fx, "f", "\"e\"", 0);
    struct op *op;
    int64_t own;
    bool wants;

    fx_set_variant(fx, CONF_S3_BUFFERED_CAS);
    op = open_by(fx, UNIQUE, node, PROCESS_A);
    session_attach(op, node, false, fx_on_then);
    assert_int_equal(fx_then.calls, 1);
    assert_int_equal(fx_then.error, -ESTALE);
    worker_lock(&fx->w);
    wants = shm_reopen_wants_private(fx->w.shm, op->caller.pid, shm_node_name_id(fx->w.shm, node),
                                     clock_mono_ns(), VALIDITY_NEXT_NS);
    own = cas_private(op, node);
    shm_node_ref(fx->w.shm, (uint32_t)own, 1);
    worker_unlock(&fx->w);
    assert_true(wants);
    session_attach(op, (uint32_t)own, false, fx_on_then);
    FX_WAIT(fx, fx_then.calls == 2);
    assert_int_equal(fx_then.error, 0);
    assert_true(session_of(fx, (uint32_t)own)->expect.must);
    assert_int_equal(shm_node_at(fx->w.shm, node)->session, SHM_NIL);
    detach(fx, op);
}

/* Only the processes that have it open may join a session. */
static void test_strangers_do_not_join(void **state)
{
    struct fx *fx = *state;
    uint32_t node = fx_file(fx, "f", "\"e\"", 0);
    struct op *a, *b, *c;
    int64_t own;

    fx_set_variant(fx, CONF_S3_BUFFERED_CAS);
    a = open_by(fx, UNIQUE, node, PROCESS_A);
    worker_lock(&fx->w);
    own = cas_private(a, node);
    shm_node_ref(fx->w.shm, (uint32_t)own, 1);
    worker_unlock(&fx->w);
    session_attach(a, (uint32_t)own, false, fx_on_then);
    FX_WAIT(fx, fx_then.calls == 1);
    b = open_by(fx, UNIQUE + 2, (uint32_t)own, PROCESS_B);
    session_attach(b, (uint32_t)own, false, fx_on_then);
    assert_int_equal(fx_then.error, -ESTALE);
    c = open_by(fx, UNIQUE + 4, (uint32_t)own, PROCESS_A);
    session_attach(c, (uint32_t)own, false, fx_on_then);
    assert_int_equal(fx_then.calls, 3);
    assert_int_equal(fx_then.error, 0);
    assert_int_equal(session_of(fx, (uint32_t)own)->refs, 2);
    fx_end_op(fx, b);
    detach(fx, c);
    detach(fx, a);
    assert_no_session(fx);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, fx_s3_setup, fx_s3_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_the_file_is_loaded),
        TEST(test_what_is_here_is_not_requested),
        TEST(test_a_large_file_goes_to_disk),
        TEST(test_without_a_disk_there_is_no_space),
        TEST(test_a_load_fails),
        TEST(test_one_load),
        TEST(test_no_load_beside_a_publish_or_a_change),
        TEST(test_two_share_a_session_and_its_load),
        TEST(test_interrupted),
        TEST(test_too_many),
        TEST(test_truncated),
        TEST(test_a_truncation_waits_for_a_load),
        TEST(test_a_replayed_truncation),
        TEST(test_writers_have_nodes_of_their_own),
        TEST(test_strangers_do_not_join),
    };

    return cmocka_run_group_tests_name("session_attach", tests, NULL, NULL);
}
