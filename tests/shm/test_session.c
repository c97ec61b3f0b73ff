/* The table of write sessions. */
#include <errno.h>
#include <string.h>

#include "shm/shm_session.h"
#include "tests/shm/fixture.h"
#include "tests/shm/stores.h"

static int64_t begin(struct shm *shm, uint32_t node)
{
    int64_t r;

    fx_lock(shm);
    r = shm_session_new(shm, node);
    fx_unlock(shm);
    return r;
}

static void finish(struct shm *shm, uint32_t idx)
{
    fx_lock(shm);
    shm_session_close(shm, idx, 0);
    shm_session_free(shm, idx);
    fx_unlock(shm);
}

static void test_life(void **state)
{
    struct shm *shm = *state;
    uint32_t node = fx_put(shm, SHM_ROOT, "name", "1");
    int64_t idx = begin(shm, node);
    const struct shm_session *s;
    uint32_t generation;

    assert_true(idx >= 0);
    s = shm_session_at(shm, (uint32_t)idx);
    assert_int_equal(s->state, SHM_SESSION_LIVE);
    assert_int_equal(s->node, node);
    assert_int_equal(s->refs, 1);
    assert_int_equal(s->content, SHM_CONTENT_SPOOL);
    assert_int_equal(s->flags, 0);
    assert_int_equal(s->size, 0);
    assert_true(s->changed_from == UINT64_MAX); /* all of it is that of expect.etag */
    assert_false(shm_session_dirty(s));
    assert_int_equal(shm_node_at(shm, node)->session, idx);
    assert_int_equal(shm->nodes->evictable, 0);
    fx_check(shm);
    generation = s->generation;

    fx_lock(shm);
    shm_session_edit(shm, (uint32_t)idx)->changed_from = 7;
    shm_session_free(shm, (uint32_t)idx); /* not yet closed: stays */
    assert_int_equal(s->state, SHM_SESSION_LIVE);
    shm_session_close(shm, (uint32_t)idx, 3);
    fx_unlock(shm);
    fx_check(shm);
    assert_int_equal(s->state, SHM_SESSION_CLOSING);
    assert_int_equal(s->publish.owner, 3);
    assert_int_equal(shm_node_at(shm, node)->session, SHM_NIL);
    assert_int_equal(shm->nodes->evictable, 1);
    assert_int_equal(shm->sessions->live, 1); /* the spool slot is in use */
    fx_lock(shm);
    shm_session_close(shm, (uint32_t)idx, 2); /* once */
    assert_int_equal(s->publish.owner, 3);
    shm_session_free(shm, (uint32_t)idx);
    shm_session_free(shm, (uint32_t)idx);
    fx_unlock(shm);
    assert_int_equal(shm->sessions->live, 0);
    assert_int_equal(begin(shm, node), idx);
    assert_int_equal(s->generation, generation + 1);
    assert_true(s->changed_from == UINT64_MAX); /* nothing is left of the one before */
    finish(shm, (uint32_t)idx);
}

static void test_full(void **state)
{
    struct shm *shm = *state;
    const char *names[] = {"a", "b", "c", "d", "e"};
    uint32_t node[5];

    for (int i = 0; i < 5; i++)
        node[i] = fx_put(shm, SHM_ROOT, names[i], "1");
    for (int i = 0; i < 4; i++)
        assert_int_equal(begin(shm, node[i]), i);
    assert_int_equal(begin(shm, node[4]), -ENFILE);
    assert_int_equal(shm_node_at(shm, node[4])->session, SHM_NIL);
    fx_check(shm);
    fx_lock(shm);
    shm_session_close(shm, 2, 0);
    fx_unlock(shm);
    assert_int_equal(begin(shm, node[4]), -ENFILE); /* its slot is being emptied */
    finish(shm, 2);
    assert_int_equal(begin(shm, node[4]), 2);
    for (uint32_t i = 0; i < 4; i++)
        finish(shm, i);
}

static void test_memory_is_given_back(void **state)
{
    struct shm *shm = *state;
    uint32_t idx = (uint32_t)begin(shm, fx_put(shm, SHM_ROOT, "name", "1"));

    fx_lock(shm);
    shm_set(shm, shm->meta, shm->sessions->mem_used, 5000);
    shm_session_edit(shm, idx)->mem_reserved = 5000;
    fx_unlock(shm);
    fx_check(shm);
    finish(shm, idx);
    assert_int_equal(shm->sessions->mem_used, 0);
}

static void test_xattr(void **state)
{
    struct shm *shm = *state;
    uint32_t idx = (uint32_t)begin(shm, fx_put(shm, SHM_ROOT, "name", "1"));
    struct shm_session *s = store_session(shm, idx);
    char text[2 * SHM_SESSION_META_MAX];

    fx_lock(shm);
    shm_session_set_xattr(shm, idx, "one");
    fx_unlock(shm);
    assert_true(s->flags & SHM_SESSION_XATTR);
    assert_string_equal(s->xattr, "one");
    fx_lock(shm);
    shm_session_set_xattr(shm, idx, "two");
    shm_rollback(shm, shm->meta);
    fx_unlock(shm);
    assert_string_equal(s->xattr, "one");
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    fx_lock(shm);
    shm_session_set_xattr(shm, idx, text); /* never: it is checked before. Cut */
    fx_unlock(shm);
    assert_int_equal(strlen(s->xattr), SHM_SESSION_META_MAX - 1);
    finish(shm, idx);
    idx = (uint32_t)begin(shm, fx_put(shm, SHM_ROOT, "name", "1"));
    assert_false(s->flags & SHM_SESSION_XATTR);
    finish(shm, idx);
}

static void test_dirty(void **state)
{
    struct shm_session s = {0};

    (void)state;
    assert_false(shm_session_dirty(&s));
    s.write_seq = 1;
    assert_true(shm_session_dirty(&s));
    s.published_seq = 1;
    assert_false(shm_session_dirty(&s));
    s.flags = SHM_SESSION_UNPUBLISHED;
    assert_true(shm_session_dirty(&s));
}

static struct shm_session_pid *pid(struct shm *shm, uint32_t idx, int32_t tid, int32_t tgid,
                                   uint64_t start)
{
    struct shm_session_pid *p;

    fx_lock(shm);
    p = shm_session_pid(shm, idx, tid, tgid, start);
    fx_unlock(shm);
    return p;
}

static void test_pids(void **state)
{
    struct shm *shm = *state;
    uint32_t idx = (uint32_t)begin(shm, fx_put(shm, SHM_ROOT, "name", "1"));
    const struct shm_session *s = shm_session_at(shm, idx);
    struct shm_session_pid *p = pid(shm, idx, 101, 100, 5), *q;

    assert_non_null(p);
    assert_int_equal(p->tgid, 100);
    assert_int_equal(p->flags, 0);
    p->flags = SHM_PID_WROTE;
    assert_ptr_equal(shm_session_pid_by_tid(s, 101), p);
    assert_null(shm_session_pid_by_tid(s, 100));
    assert_null(shm_session_pid_by_tid(s, 0));

    /* Another thread of the same process. */
    assert_ptr_equal(pid(shm, idx, 102, 100, 5), p);
    assert_int_equal(p->flags, SHM_PID_WROTE);
    assert_ptr_equal(shm_session_pid_by_tid(s, 102), p);
    assert_null(shm_session_pid_by_tid(s, 101));

    /* The pid again, of a later process: the thread is that of the later one. */
    q = pid(shm, idx, 102, 100, 9);
    assert_ptr_not_equal(q, p);
    assert_int_equal(q->flags, 0);
    assert_ptr_equal(shm_session_pid_by_tid(s, 102), q);
    assert_int_equal(p->tgid, 100);
    assert_int_equal(p->flags, SHM_PID_WROTE);
    finish(shm, idx);
}

static void test_many_pids(void **state)
{
    struct shm *shm = *state;
    uint32_t idx = (uint32_t)begin(shm, fx_put(shm, SHM_ROOT, "name", "1"));
    const struct shm_session *s = shm_session_at(shm, idx);
    struct shm_session_pid *first = NULL;

    for (int32_t i = 1; i <= SHM_SESSION_PIDS; i++) {
        struct shm_session_pid *p = pid(shm, idx, i, i, 1);

        assert_non_null(p);
        if (!first)
            first = p;
    }
    assert_false(s->flags & SHM_SESSION_MANY_PIDS);
    assert_null(pid(shm, idx, 99, 99, 1));
    assert_true(s->flags & SHM_SESSION_MANY_PIDS);
    assert_ptr_equal(pid(shm, idx, 1, 1, 1), first); /* those known still are */
    finish(shm, idx);
    idx = (uint32_t)begin(shm, fx_put(shm, SHM_ROOT, "name", "1"));
    assert_false(s->flags & SHM_SESSION_MANY_PIDS);
    assert_null(shm_session_pid_by_tid(s, 1));
    finish(shm, idx);
}

/* A process that cannot be told apart from others counts as one more than fit. */
static void test_unknown_pid(void **state)
{
    struct shm *shm = *state;
    uint32_t idx = (uint32_t)begin(shm, fx_put(shm, SHM_ROOT, "name", "1"));
    const struct shm_session *s = shm_session_at(shm, idx);

    assert_null(pid(shm, idx, 0, 0, 0));
    assert_true(s->flags & SHM_SESSION_MANY_PIDS);
    assert_int_equal(s->pids[0].tgid, 0);
    finish(shm, idx);
}

static void test_check(void **state)
{
    struct shm *shm = *state;
    uint32_t node = fx_put(shm, SHM_ROOT, "name", "1");
    struct shm_session *s = store_session(shm, (uint32_t)begin(shm, node));
    struct shm_session good = *s;
    struct err err;

    s->refs = 0;
    assert_int_equal(shm_session_check(shm, &err), -EUCLEAN);
    s->flags |= SHM_SESSION_UNPUBLISHED; /* still to be published */
    assert_int_equal(shm_session_check(shm, &err), 0);
    *s = good;
    s->refs = 0;
    s->publish.state = SHM_JOB_RUNNING;
    assert_int_equal(shm_session_check(shm, &err), 0);
    s->opening.state = SHM_JOB_RUNNING; /* a publish waits for its end */
    assert_int_equal(shm_session_check(shm, &err), -EUCLEAN);
    s->publish.state = SHM_JOB_IDLE;
    assert_int_equal(shm_session_check(shm, &err), 0);
    *s = good;
    s->published_seq = 1;
    assert_int_equal(shm_session_check(shm, &err), -EUCLEAN);
    *s = good;
    s->node = SHM_ROOT;
    assert_int_equal(shm_session_check(shm, &err), -EUCLEAN);
    *s = good;
    s->state = SHM_SESSION_FREE;
    assert_int_equal(shm_session_check(shm, &err), -EUCLEAN);
    *s = good;
    s->mem_reserved = 1;
    assert_int_equal(shm_session_check(shm, &err), -EUCLEAN);
    *s = good;
    store_node(shm, node)->session = 3;
    assert_int_equal(shm_session_check(shm, &err), -EUCLEAN);
    store_node(shm, node)->session = 0;
    store_node(shm, SHM_ROOT)->session = 0;
    assert_int_equal(shm_session_check(shm, &err), -EUCLEAN);
    store_node(shm, SHM_ROOT)->session = SHM_NIL;
    finish(shm, 0);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, fx_setup, fx_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_life),
        TEST(test_full),
        TEST(test_memory_is_given_back),
        TEST(test_xattr),
        cmocka_unit_test(test_dirty),
        TEST(test_pids),
        TEST(test_many_pids),
        TEST(test_unknown_pid),
        TEST(test_check),
    };

    return cmocka_run_group_tests_name("shm_session", tests, NULL, NULL);
}
