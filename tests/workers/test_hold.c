/* hold.c: who holds a name keeps others from it, and from what lies above it. */
#include "workers/op/hold.h"

#include <errno.h>
#include <string.h>

#include "tests/shm/stores.h"
#include "tests/workers/fixture.h"
#include "workers/handlers/fuse_op.h"

#define UNIQUE UINT64_C(42)

static const struct fuse_mkdir_in mkdir_in = {.mode = 0755};

static uint32_t node_below(struct fx *fx, uint32_t dir, const char *name, bool is_dir)
{
    struct shm_version v = {.dir = is_dir,
                            .etag = is_dir ? "" : "\"e\"",
                            .mode = SHM_MODE_UNSET,
                            .uid = SHM_MODE_UNSET,
                            .gid = SHM_MODE_UNSET};
    int64_t node;

    worker_lock(&fx->w);
    node = shm_node_intern(fx->w.shm, dir, name, strlen(name), &v, 1);
    assert_true(node >= 0);
    shm_node_ref(fx->w.shm, (uint32_t)node, 1);
    worker_unlock(&fx->w);
    return (uint32_t)node;
}

/* A kept op that holds nodes: UNLINK of "x". */
static struct op *op_in(struct fx *fx, uint64_t unique, uint32_t dir)
{
    struct op *op = fx_op(fx, FUSE_UNLINK, unique, shm_node_id(fx->w.shm, dir), NULL, 0, "x", 2);

    assert_int_equal(op_keep(op), 0);
    return op;
}

/* One that enters a directory: MKDIR of "x". */
static struct op *mkdir_in_dir(struct fx *fx, uint64_t unique, uint32_t dir)
{
    struct op *op = fx_op(fx, FUSE_MKDIR, unique, shm_node_id(fx->w.shm, dir), &mkdir_in,
                          sizeof(mkdir_in), "x", 2);

    assert_int_equal(op_keep(op), 0);
    return op;
}

static bool take(struct op *op, uint32_t node)
{
    bool held;

    worker_lock(op->w);
    held = hold_take(op, node);
    if (held)
        op_edit(op)->node = node;
    worker_unlock(op->w);
    return held;
}

static bool is_taken(struct fx *fx, uint32_t node, uint32_t tag)
{
    bool taken;

    worker_lock(&fx->w);
    taken = hold_is_taken(&fx->w, node, tag);
    worker_unlock(&fx->w);
    return taken;
}

static bool is_taken_below(struct fx *fx, uint32_t dir)
{
    bool taken;

    worker_lock(&fx->w);
    taken = hold_is_taken_below(&fx->w, dir);
    worker_unlock(&fx->w);
    return taken;
}

static int enter(struct op *op, char key[KEY_CAP])
{
    return hold_enter(op, fuse_req(op)->name, fuse_req(op)->name_len, key);
}

static void end(struct fx *fx, struct op *op, uint64_t unique)
{
    int error = 0;

    hold_give_back(op);
    op_fail(op, -EIO);
    assert_true(fx_answer(fx, unique, &error, NULL, 0));
    assert_int_equal(error, -EIO);
}

static void test_one_holds(void **state)
{
    struct fx *fx = *state;
    uint32_t f = node_below(fx, SHM_ROOT, "f", false);
    struct op *a = op_in(fx, UNIQUE, SHM_ROOT), *b = op_in(fx, UNIQUE + 2, SHM_ROOT);

    assert_true(take(a, f));
    assert_true(take(a, f)); /* as often as it likes */
    assert_false(take(b, f));
    assert_true(is_taken(fx, f, op_tag(b)));
    assert_false(is_taken(fx, f, op_tag(a)));
    hold_give_back(a);
    assert_int_equal(a->rec->node, SHM_NIL);
    assert_false(is_taken(fx, f, op_tag(b)));
    assert_true(take(b, f));
    hold_give_back(a); /* it has nothing, and takes nothing from others */
    assert_true(is_taken(fx, f, op_tag(a)));
    end(fx, b, UNIQUE + 2);
    end(fx, a, UNIQUE);
    assert_false(is_taken(fx, f, 0));
}

static void test_what_lies_below_a_held_directory(void **state)
{
    struct fx *fx = *state;
    uint32_t d = node_below(fx, SHM_ROOT, "d", true), e = node_below(fx, d, "e", true);
    uint32_t f = node_below(fx, e, "f", false), g = node_below(fx, SHM_ROOT, "g", false);
    struct op *a = op_in(fx, UNIQUE, SHM_ROOT), *b = op_in(fx, UNIQUE + 2, e);

    assert_true(take(a, d));
    assert_false(take(b, f));
    assert_false(take(b, e));
    assert_true(take(b, g)); /* which lies beside it */
    hold_give_back(b);
    assert_false(is_taken(fx, f, op_tag(a))); /* its own */
    end(fx, a, UNIQUE);
    assert_true(take(b, f));
    end(fx, b, UNIQUE + 2);
}

/* Who takes a directory waits for what is held below it, and for those who have entered. */
static void test_who_takes_a_directory_waits(void **state)
{
    struct fx *fx = *state;
    uint32_t d = node_below(fx, SHM_ROOT, "d", true), f = node_below(fx, d, "f", false);
    struct op *a = op_in(fx, UNIQUE, SHM_ROOT), *b = op_in(fx, UNIQUE + 2, SHM_ROOT);
    struct op *c = mkdir_in_dir(fx, UNIQUE + 4, d);
    char key[KEY_CAP];

    assert_false(is_taken_below(fx, d));
    assert_true(take(b, f));
    assert_true(is_taken_below(fx, d));
    assert_true(is_taken_below(fx, SHM_ROOT));
    hold_give_back(b);
    assert_false(is_taken_below(fx, d));
    assert_int_equal(enter(c, key), 1);
    assert_string_equal(key, "pre/d/x");
    assert_int_equal(c->rec->node, d);
    assert_true(is_taken_below(fx, d));
    assert_true(take(a, d)); /* it may be taken: who has taken it waits for those who are in */
    assert_int_equal(enter(c, key), 1); /* one that was in goes on */
    end(fx, c, UNIQUE + 4);
    assert_false(is_taken_below(fx, d));
    c = mkdir_in_dir(fx, UNIQUE + 6, d);
    assert_int_equal(enter(c, key), 0); /* too late */
    end(fx, a, UNIQUE);
    assert_int_equal(enter(c, key), 1);
    end(fx, c, UNIQUE + 6);
    end(fx, b, UNIQUE + 2);
}

static void test_a_publish_is_waited_for(void **state)
{
    struct fx *fx = *state;
    uint32_t node, session = fx_session(fx, "f", &node);
    struct shm_session *s = store_session(fx->w.shm, session);
    struct op *op = op_in(fx, UNIQUE, SHM_ROOT);

    s->publish = (struct shm_job){.state = SHM_JOB_RUNNING, .owner = 0};
    assert_false(take(op, node));
    assert_int_equal(s->waiters, UINT32_C(1) << FX_SLOT); /* it is woken at the end */
    s->publish.state = SHM_JOB_IDLE;
    assert_true(take(op, node));
    end(fx, op, UNIQUE);
}

/* Compare-and-set: each writer has a node of its own. Waiting for all of them takes little of the
 * undo journal, since there may be hundreds. */
static void test_publishes_beside_a_node(void **state)
{
    struct fx *fx = *state;
    uint32_t named = node_below(fx, SHM_ROOT, "f", false), at = 0, n = 0, used;
    struct shm_version v = shm_node_version(shm_node_at(fx->w.shm, named));

    fx_set_variant(fx, CONF_S3_BUFFERED_CAS);
    worker_lock(&fx->w);
    for (int i = 0; i < FX_SESSIONS; i++) {
        int64_t node = shm_node_private(fx->w.shm, SHM_ROOT, i ? "f" : "g", 1, &v, 1), session;

        assert_true(node >= 0);
        session = shm_session_new(fx->w.shm, (uint32_t)node);
        assert_true(session >= 0);
        store_session(fx->w.shm, (uint32_t)session)->publish.state = SHM_JOB_RUNNING;
    }
    worker_unlock(&fx->w);
    worker_lock(&fx->w);
    for (; (at = hold_next_publishing(&fx->w, at, named)) != SHM_NIL; at++, n++)
        assert_int_equal(shm_session_at(fx->w.shm, at)->waiters, UINT32_C(1) << FX_SLOT);
    used = fx->w.shm->meta->log_used;
    worker_unlock(&fx->w);
    assert_int_equal(n, FX_SESSIONS - 1); /* (not that of "g") */
    assert_in_range(used, 1, n * 64);
    worker_lock(&fx->w);
    shm_node_detach(fx->w.shm, named); /* what the others replace is no longer this version */
    for (at = 0; at < FX_SESSIONS; at++)
        strcpy(store_session(fx->w.shm, at)->expect.etag, at == 1 ? "\"e\"" : "\"other\"");
    assert_int_equal(hold_next_publishing(&fx->w, 0, named), 1);
    assert_int_equal(hold_next_publishing(&fx->w, 2, named), SHM_NIL);
    for (at = 0; at < FX_SESSIONS; at++)
        store_session(fx->w.shm, at)->publish.state = SHM_JOB_IDLE;
    worker_unlock(&fx->w);
}

/* The mark is of the record: a replacement, which has that, has the name. */
static void test_marks_outlive_the_worker(void **state)
{
    struct fx *fx = *state;
    uint32_t f = node_below(fx, SHM_ROOT, "f", false);
    struct op *op = op_in(fx, UNIQUE, SHM_ROOT);
    uint32_t rec = op->rec_idx, tag = op_tag(op);

    assert_true(take(op, f));
    fx_replace(fx);
    assert_true(is_taken(fx, f, 0));
    op = fuse_op_begin(&fx->w, rec);
    assert_non_null(op);
    assert_int_equal(op_tag(op), tag);
    assert_int_equal(op->rec->node, f);
    assert_true(take(op, f));
    end(fx, op, UNIQUE);
}

/* The worker dies before the section ends: nothing is held. */
static void test_rolled_back(void **state)
{
    struct fx *fx = *state;
    uint32_t f = node_below(fx, SHM_ROOT, "f", false);
    struct op *a = op_in(fx, UNIQUE, SHM_ROOT), *b = op_in(fx, UNIQUE + 2, SHM_ROOT);

    worker_lock(&fx->w);
    assert_true(hold_take(a, f));
    op_edit(a)->node = f;
    shm_rollback(fx->w.shm, fx->w.shm->meta);
    worker_unlock(&fx->w);
    assert_int_equal(a->rec->node, SHM_NIL);
    assert_true(take(b, f));
    end(fx, b, UNIQUE + 2);
    end(fx, a, UNIQUE);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, fx_setup, fx_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_one_holds),
        TEST(test_what_lies_below_a_held_directory),
        TEST(test_who_takes_a_directory_waits),
        TEST(test_a_publish_is_waited_for),
        TEST(test_publishes_beside_a_node),
        TEST(test_marks_outlive_the_worker),
        TEST(test_rolled_back),
    };

    return cmocka_run_group_tests_name("hold", tests, NULL, NULL);
}
