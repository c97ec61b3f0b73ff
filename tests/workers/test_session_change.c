/* session_change.c: whose turn it is to change the spool, and what a change leaves in the
 * session. */
#include "workers/write/session_change.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "tests/shm/stores.h"
#include "tests/workers/s3_fixture.h"
#include "workers/handlers/fuse_op.h"
#include "workers/op/spool.h"

#define UNIQUE UINT64_C(42)
#define OUR_BIT (UINT32_C(1) << FX_SLOT)

static const struct shm_session *at(struct fx *fx, uint32_t session)
{
    return shm_session_at(fx->w.shm, session);
}

static bool begin(struct op *op, uint32_t session, uint64_t end)
{
    bool begun;

    worker_lock(op->w);
    begun = session_change_begin(op, session, (struct session_range){0, end});
    worker_unlock(op->w);
    return begun;
}

static uint32_t end_change(struct op *op, uint32_t session)
{
    uint32_t mask;

    worker_lock(op->w);
    mask = session_change_end(op, session);
    worker_unlock(op->w);
    return mask;
}

/* ---- whose turn it is ---- */

static void test_two_may_change_it_at_once(void **state)
{
    struct fx *fx = *state;
    uint32_t node, session = fx_session(fx, "f", &node);
    struct op *a = fx_open(fx, UNIQUE, node, O_RDWR), *b = fx_open(fx, UNIQUE + 2, node, O_RDWR);

    assert_true(begin(a, session, 1));
    assert_int_equal(a->rec->change, SHM_CHANGE_BEGUN);
    assert_true(begin(b, session, 1));
    assert_int_equal(at(fx, session)->writing, 2);
    store_session(fx->w.shm, session)->waiters = 5;
    assert_int_equal(end_change(a, session), 0); /* the other one goes on */
    assert_int_equal(a->rec->change, SHM_CHANGE_NONE);
    assert_int_equal(end_change(b, session), 5);
    assert_int_equal(at(fx, session)->waiters, 0);
    assert_int_equal(at(fx, session)->writing, 0);
    fx_end_op(fx, a);
    fx_end_op(fx, b);
}

/* Its predecessor has counted it. */
static void test_a_replayed_change(void **state)
{
    struct fx *fx = *state;
    uint32_t node, session = fx_session(fx, "f", &node), rec;
    struct op *op = fx_open(fx, UNIQUE, node, O_RDWR);

    rec = op->rec_idx;
    assert_true(begin(op, session, 1));
    fx_s3_replace(fx);
    op = fuse_op_begin(&fx->w, rec);
    assert_true(begin(op, session, 1));
    assert_int_equal(at(fx, session)->writing, 1);
    assert_int_equal(end_change(op, session), 0);
    assert_int_equal(at(fx, session)->writing, 0);
    fx_end_op(fx, op);
}

/* The worker dies before the section ends: nothing is counted. */
static void test_rolled_back(void **state)
{
    struct fx *fx = *state;
    uint32_t node, session = fx_session(fx, "f", &node);
    struct op *op = fx_open(fx, UNIQUE, node, O_RDWR);

    worker_lock(&fx->w);
    assert_true(session_change_begin(op, session, (struct session_range){0, 1}));
    shm_rollback(fx->w.shm, fx->w.shm->meta);
    worker_unlock(&fx->w);
    assert_int_equal(at(fx, session)->writing, 0);
    assert_int_equal(op->rec->change, SHM_CHANGE_NONE);
    fx_end_op(fx, op);
}

static void must_wait(struct fx *fx, struct op *op, uint32_t session)
{
    store_session(fx->w.shm, session)->waiters = 0;
    assert_false(begin(op, session, 1));
    assert_int_equal(at(fx, session)->waiters, OUR_BIT); /* it is woken */
    assert_int_equal(at(fx, session)->writing, 0);
    assert_int_equal(op->rec->change, SHM_CHANGE_NONE);
}

static void test_who_must_wait(void **state)
{
    struct fx *fx = *state;
    uint32_t node, session = fx_session(fx, "f", &node);
    struct shm_session *s = store_session(fx->w.shm, session);
    struct op *op = fx_open(fx, UNIQUE, node, O_RDWR);

    s->publish.state = SHM_JOB_RUNNING;
    must_wait(fx, op, session);
    s->publish.state = SHM_JOB_IDLE;
    s->load.state = SHM_JOB_RUNNING;
    must_wait(fx, op, session);
    s->load.state = SHM_JOB_IDLE;
    s->content = SHM_CONTENT_S3;
    must_wait(fx, op, session);
    s->content = SHM_CONTENT_COPY;
    must_wait(fx, op, session);
    s->content = SHM_CONTENT_EMPTYING;
    must_wait(fx, op, session);
    s->content = SHM_CONTENT_SPOOL;
    assert_true(begin(op, session, 1));
    (void)end_change(op, session);
    fx_end_op(fx, op);
}

static void test_one_that_empties_is_alone(void **state)
{
    struct fx *fx = *state;
    uint32_t node, session = fx_session(fx, "f", &node);
    struct op *a = fx_open(fx, UNIQUE, node, O_RDWR), *b = fx_open(fx, UNIQUE + 2, node, O_RDWR);

    assert_true(begin(a, session, 0));
    store_session(fx->w.shm, session)->content = SHM_CONTENT_EMPTYING;
    assert_false(begin(b, session, 1));
    assert_int_equal(end_change(a, session), OUR_BIT);
    assert_int_equal(at(fx, session)->content, SHM_CONTENT_SPOOL);
    assert_true(begin(b, session, 1));
    (void)end_change(b, session);
    fx_end_op(fx, a);
    fx_end_op(fx, b);
}

/* ---- what a change leaves ---- */

static void written(struct fx *fx, uint32_t session, uint64_t from, uint64_t size)
{
    worker_lock(&fx->w);
    session_written(&fx->w, session, SESSION_FROM(from), size);
    worker_unlock(&fx->w);
}

static void test_written(void **state)
{
    struct fx *fx = *state;
    uint32_t node, session = fx_session(fx, "f", &node);
    const struct shm_session *s = at(fx, session);

    store_node(fx->w.shm, node)->flags |= SHM_NODE_MTIME_SET;
    store_session(fx->w.shm, session)->changed_from = UINT64_MAX;
    store_session(fx->w.shm, session)->size = 6;
    assert_false(shm_session_dirty(s));
    written(fx, session, 5, 9);
    assert_true(shm_session_dirty(s));
    assert_int_equal(s->size, 9);
    assert_int_equal(s->changed_from, 5);
    assert_true(s->mtime_ns > 0);
    assert_false(shm_node_at(fx->w.shm, node)->flags & SHM_NODE_MTIME_SET);
    written(fx, session, 7, 12);
    assert_int_equal(s->changed_from, 5); /* the first of them */
    assert_int_equal(s->write_seq, 2);
}

static void write_at(struct fx *fx, uint32_t session, uint64_t from, uint64_t to)
{
    uint64_t size = at(fx, session)->size;

    worker_lock(&fx->w);
    session_written(&fx->w, session, (struct session_range){from, to}, to > size ? to : size);
    worker_unlock(&fx->w);
}

/* Up to where the file was written in order. */
static void test_order(void **state)
{
    struct fx *fx = *state;
    uint32_t node, session = fx_session(fx, "f", &node);
    const struct shm_session *s = at(fx, session);

    write_at(fx, session, 0, 4);
    write_at(fx, session, 4, 9);
    assert_int_equal(s->ordered_to, 9);
    write_at(fx, session, 1, 2); /* once more */
    assert_int_equal(s->ordered_to, 9);
    write_at(fx, session, 20, 30); /* there is a hole before it */
    assert_int_equal(s->ordered_to, 9);
    assert_int_equal(s->changed_from, 0);
    write_at(fx, session, 8, 21);
    assert_int_equal(s->ordered_to, 21);
    written(fx, session, 15, 15); /* cut */
    assert_int_equal(s->ordered_to, 15);
}

/* Nobody reads what is to be cut off, however long that takes. */
static void test_cut(void **state)
{
    struct fx *fx = *state;
    uint32_t node, session = fx_session(fx, "f", &node);
    const struct shm_session *s = at(fx, session);

    written(fx, session, 0, 9);
    store_session(fx->w.shm, session)->changed_from = UINT64_MAX;
    worker_lock(&fx->w);
    session_cut(&fx->w, session, 9);
    session_cut(&fx->w, session, 20);
    assert_int_equal(s->cuts, 0);
    session_cut(&fx->w, session, 4);
    worker_unlock(&fx->w);
    assert_int_equal(s->cuts, 1);
    assert_int_equal(s->size, 4);
    assert_int_equal(s->changed_from, 4);
}

/* A failed write spoils the content until it is emptied. */
static void test_a_failed_write(void **state)
{
    struct fx *fx = *state;
    uint32_t node, session = fx_session(fx, "f", &node);

    worker_lock(&fx->w);
    session_write_failed(&fx->w, session, -ENOSPC);
    worker_unlock(&fx->w);
    assert_true(shm_session_dirty(at(fx, session)));
    written(fx, session, 0, 3);
    assert_int_equal(at(fx, session)->write_error, -ENOSPC);
    written(fx, session, 0, 0);
    assert_int_equal(at(fx, session)->write_error, 0);
}

/* ---- moving to disk ---- */

static uint32_t in_memory(struct fx *fx, uint32_t *ret_node)
{
    uint32_t session = fx_session(fx, "f", ret_node);
    bool fits;

    worker_lock(&fx->w);
    fits = spool_reserve(&fx->w, session, 3);
    worker_unlock(&fx->w);
    assert_true(fits);
    assert_int_equal(spool_write(&fx->w, session, "abc", 3, 0), 0);
    written(fx, session, 0, 3);
    return session;
}

static void test_what_outgrows_memory_moves_to_disk(void **state)
{
    struct fx *fx = *state;
    uint32_t node, session = in_memory(fx, &node);
    struct op *op = fx_open(fx, UNIQUE, node, O_RDWR);

    store_session(fx->w.shm, session)->load.attempts = 7;
    assert_int_equal(session_take_turn(op, session, (struct session_range){0, FX_MEMORY + 1}), 1);
    assert_true(at(fx, session)->flags & SHM_SESSION_ON_DISK);
    assert_int_equal(at(fx, session)->load.state, SHM_JOB_IDLE);
    assert_int_equal(at(fx, session)->load.attempts, 7); /* it was none */
    assert_int_equal(fx->w.shm->sessions->mem_used, 0);
    fx_assert_spool(fx, session, "abc");
    (void)end_change(op, session);
    fx_end_op(fx, op);
}

/* While another one changes it, it stays where it is. */
static void test_a_change_keeps_it_in_memory(void **state)
{
    struct fx *fx = *state;
    uint32_t node, session = in_memory(fx, &node);
    struct op *a = fx_open(fx, UNIQUE, node, O_RDWR), *b = fx_open(fx, UNIQUE + 2, node, O_RDWR);

    assert_int_equal(session_take_turn(a, session, (struct session_range){0, 3}), 1);
    assert_int_equal(session_take_turn(b, session, (struct session_range){0, FX_MEMORY + 1}), 0);
    assert_int_equal(session_move_to_disk(b, session), 0);
    assert_false(at(fx, session)->flags & SHM_SESSION_ON_DISK);
    assert_int_equal(end_change(a, session), OUR_BIT);
    assert_int_equal(session_take_turn(b, session, (struct session_range){0, FX_MEMORY + 1}), 1);
    (void)end_change(b, session);
    fx_end_op(fx, a);
    fx_end_op(fx, b);
}

static void test_no_disk(void **state)
{
    struct fx *fx = *state;
    uint32_t node, session = in_memory(fx, &node);
    struct op *op = fx_open(fx, UNIQUE, node, O_RDWR);
    int fd = fx->env.spool[session].file_fd;

    fx->env.spool[session].file_fd = -1;
    assert_int_equal(session_take_turn(op, session, (struct session_range){0, FX_MEMORY + 1}),
                     -ENOSPC);
    assert_int_equal(at(fx, session)->load.state, SHM_JOB_IDLE);
    assert_int_equal(op->rec->change, SHM_CHANGE_NONE);
    fx_assert_spool(fx, session, "abc");
    fx->env.spool[session].file_fd = fd;
    fx_end_op(fx, op);
}

/* ---- what the server has copied is loaded first ---- */

static uint32_t a_copy(struct fx *fx, uint32_t *ret_node)
{
    uint32_t session = fx_session(fx, "copy", ret_node);
    struct shm_session *s = store_session(fx->w.shm, session);

    s->flags |= SHM_SESSION_UNPUBLISHED;
    s->content = SHM_CONTENT_COPY;
    s->copy = (struct shm_copy){.etag = "\"e\"", .key = "pre/f"};
    s->size = 3;
    return session;
}

static void test_a_copy_is_loaded(void **state)
{
    struct fx *fx = *state;
    uint32_t node, session = a_copy(fx, &node);
    struct op *op = fx_open(fx, UNIQUE, node, O_RDWR);

    FX_SCRIPT(FX_GET("e", "3", "old"));
    assert_int_equal(session_take_turn(op, session, (struct session_range){0, 1}), 0);
    assert_int_equal(op->rec->change, SHM_CHANGE_LOADING);
    assert_int_equal(session_take_turn(op, session, (struct session_range){0, 1}), 0); /* it runs */
    FX_WAIT(fx, shm_session_is_loaded(at(fx, session)));
    assert_int_equal(session_take_turn(op, session, (struct session_range){0, 1}), 1);
    assert_int_equal(fx_requests(), 1);
    fx_assert_spool(fx, session, "old");
    (void)end_change(op, session);
    fx_end_op(fx, op);
}

/* Who waited for it gets its error; who comes later tries again. */
static void test_its_load_fails(void **state)
{
    struct fx *fx = *state;
    uint32_t node, session = a_copy(fx, &node);
    struct op *a = fx_open(fx, UNIQUE, node, O_RDWR), *b;

    FX_SCRIPT(FX_ERROR("404 Not Found", "NoSuchKey"), FX_GET("e", "3", "old"));
    assert_int_equal(session_take_turn(a, session, (struct session_range){0, 1}), 0);
    FX_WAIT(fx, at(fx, session)->load.attempts == 1);
    assert_int_equal(session_take_turn(a, session, (struct session_range){0, 1}), -ESTALE);
    b = fx_open(fx, UNIQUE + 2, node, O_RDWR);
    assert_int_equal(session_take_turn(b, session, (struct session_range){0, 1}), 0);
    FX_WAIT(fx, at(fx, session)->load.attempts == 2);
    assert_int_equal(session_take_turn(b, session, (struct session_range){0, 1}), 1);
    (void)end_change(b, session);
    fx_end_op(fx, a);
    fx_end_op(fx, b);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, fx_s3_setup, fx_s3_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_two_may_change_it_at_once),
        TEST(test_a_replayed_change),
        TEST(test_rolled_back),
        TEST(test_who_must_wait),
        TEST(test_one_that_empties_is_alone),
        TEST(test_written),
        TEST(test_order),
        TEST(test_cut),
        TEST(test_a_failed_write),
        TEST(test_what_outgrows_memory_moves_to_disk),
        TEST(test_a_change_keeps_it_in_memory),
        TEST(test_no_disk),
        TEST(test_a_copy_is_loaded),
        TEST(test_its_load_fails),
    };

    return cmocka_run_group_tests_name("session_change", tests, NULL, NULL);
}
