/* session_end.c: when a session ends, what becomes of its bytes, and who keeps it. */
#include "workers/write/session_end.h"

#include <errno.h>
#include <string.h>

#include "shm/shm_handle.h"
#include "tests/shm/stores.h"
#include "tests/workers/fixture.h"
#include "workers/op/spool.h"

#define END(fx, call)                                                                              \
    ({                                                                                             \
        bool closed_;                                                                              \
        worker_lock(&(fx)->w);                                                                     \
        closed_ = call;                                                                            \
        worker_unlock(&(fx)->w);                                                                   \
        closed_;                                                                                   \
    })

static bool unref(struct fx *fx, uint32_t session)
{
    return END(fx, session_unref(&fx->w, session));
}

static bool end_unused(struct fx *fx, uint32_t session)
{
    return END(fx, session_end_unused(&fx->w, session));
}

static uint32_t open_handle(struct fx *fx, uint32_t node)
{
    int64_t handle;

    worker_lock(&fx->w);
    handle = shm_handle_new(fx->w.shm, SHM_HANDLE_FILE, node, 0);
    worker_unlock(&fx->w);
    assert_true(handle >= 0);
    return (uint32_t)handle;
}

static void close_handle(struct fx *fx, uint32_t handle)
{
    worker_lock(&fx->w);
    shm_handle_free(fx->w.shm, handle);
    worker_unlock(&fx->w);
}

static void is_free(struct fx *fx, uint32_t session)
{
    const struct shm_session *s = shm_session_at(fx->w.shm, session);

    assert_int_equal(s->state, SHM_SESSION_CLOSING);
    assert_int_equal(s->node, SHM_NIL);
    session_clear(&fx->w, session);
    assert_int_equal(s->state, SHM_SESSION_FREE);
}

/* A file of which S3 has a version, with a clean session that has its bytes. */
static uint32_t published(struct fx *fx, const char *name, bool private, uint32_t *ret_node)
{
    struct shm *shm = fx->w.shm;
    struct shm_version v = {.size = 3,
                            .etag = "\"e\"",
                            .mode = SHM_MODE_UNSET,
                            .uid = SHM_MODE_UNSET,
                            .gid = SHM_MODE_UNSET};
    int64_t node, session;

    worker_lock(&fx->w);
    node = private ? shm_node_private(shm, SHM_ROOT, name, strlen(name), &v, 1)
                   : shm_node_intern(shm, SHM_ROOT, name, strlen(name), &v, 1);
    assert_true(node >= 0);
    session = shm_session_new(shm, (uint32_t)node);
    assert_true(session >= 0);
    worker_unlock(&fx->w);
    *ret_node = (uint32_t)node;
    store_session(shm, (uint32_t)session)->size = 3;
    assert_int_equal(spool_write(&fx->w, (uint32_t)session, "abc", 3, 0), 0);
    return (uint32_t)session;
}

static void assert_bytes(struct fx *fx, uint32_t session, const char *text)
{
    char buf[16] = "";

    assert_int_equal(spool_read(&fx->w, session, buf, (uint32_t)strlen(text), 0), strlen(text));
    assert_string_equal(buf, text);
}

static void test_the_last_one_ends_it(void **state)
{
    struct fx *fx = *state;
    uint32_t node, session = published(fx, "f", false, &node);

    store_session(fx->w.shm, session)->refs = 2;
    assert_false(unref(fx, session));
    assert_true(unref(fx, session));
    assert_int_equal(shm_node_at(fx->w.shm, node)->session, SHM_NIL);
    is_free(fx, session);
}

/* A job goes on without those who wanted it. */
static void test_jobs_are_waited_for(void **state)
{
    struct fx *fx = *state;
    uint32_t node, session = published(fx, "f", false, &node);
    struct shm_session *s = store_session(fx->w.shm, session);

    s->publish = (struct shm_job){.state = SHM_JOB_RUNNING, .owner = FX_SLOT};
    assert_false(unref(fx, session));
    s->publish.state = SHM_JOB_IDLE;
    s->load = (struct shm_job){.state = SHM_JOB_RUNNING, .owner = FX_SLOT};
    assert_false(end_unused(fx, session));
    s->load.state = SHM_JOB_IDLE;
    s->opening = (struct shm_job){.state = SHM_JOB_RUNNING, .owner = FX_SLOT};
    assert_false(end_unused(fx, session));
    s->opening.state = SHM_JOB_IDLE;
    assert_true(end_unused(fx, session));
    assert_false(end_unused(fx, session)); /* once */
    is_free(fx, session);
}

/* What nobody has published is given up; a file that never was on S3 goes with it. */
static void test_unpublished_bytes_go(void **state)
{
    struct fx *fx = *state;
    uint32_t node, session = fx_session(fx, "new", &node);

    store_session(fx->w.shm, session)->write_seq = 1;
    assert_true(unref(fx, session));
    worker_lock(&fx->w);
    assert_int_equal(shm_node_find(fx->w.shm, SHM_ROOT, "new", 3), SHM_NIL);
    worker_unlock(&fx->w);
    is_free(fx, session);
    session = published(fx, "old", false, &node);
    store_session(fx->w.shm, session)->write_seq = 1;
    assert_true(unref(fx, session));
    worker_lock(&fx->w);
    assert_int_equal(shm_node_find(fx->w.shm, SHM_ROOT, "old", 3), node);
    worker_unlock(&fx->w);
    is_free(fx, session);
}

/* A file without a name is read to its end. */
static void test_an_orphan_stays_for_its_readers(void **state)
{
    struct fx *fx = *state;
    uint32_t node, session = published(fx, "f", false, &node), handle = open_handle(fx, node);

    worker_lock(&fx->w);
    session_orphan(&fx->w, session);
    worker_unlock(&fx->w);
    assert_false(unref(fx, session));
    assert_bytes(fx, session, "abc");
    close_handle(fx, handle);
    assert_true(end_unused(fx, session));
    is_free(fx, session);
}

static void test_last_write_wins_keeps_none_for_readers(void **state)
{
    struct fx *fx = *state;
    uint32_t node, session = published(fx, "f", false, &node), handle = open_handle(fx, node);

    assert_true(unref(fx, session)); /* S3 has it, and the name is its own */
    is_free(fx, session);
    close_handle(fx, handle);
}

/* ---- compare-and-set: who reads on through a writer's own node ---- */

static void test_a_writers_node_is_read_on(void **state)
{
    struct fx *fx = *state;
    uint32_t node, session, handle;

    fx_set_variant(fx, CONF_S3_BUFFERED_CAS);
    session = published(fx, "f", true, &node);
    handle = open_handle(fx, node);
    assert_false(unref(fx, session));
    assert_bytes(fx, session, "abc");
    assert_false(shm_session_at(fx->w.shm, session)->expect.refused);
    close_handle(fx, handle);
    assert_true(end_unused(fx, session));
    is_free(fx, session);
    session = published(fx, "g", true, &node);
    assert_true(unref(fx, session)); /* nobody reads */
    is_free(fx, session);
}

/* A session on a node that somebody reads, whose upload ended with this error. */
static uint32_t not_published(struct fx *fx, int error, uint32_t *ret_handle)
{
    uint32_t node, session = published(fx, "f", true, &node);
    struct shm_session *s = store_session(fx->w.shm, session);

    *ret_handle = open_handle(fx, node);
    s->write_seq = s->publishing_seq = 4;
    s->publish.error = error;
    return session;
}

/* What was refused is read by those who have it open, and never published. */
static void test_refused_bytes_are_read_on(void **state)
{
    struct fx *fx = *state;
    const struct shm_session *s;
    uint32_t session, handle;

    fx_set_variant(fx, CONF_S3_BUFFERED_CAS);
    session = not_published(fx, -EEXIST, &handle);
    s = shm_session_at(fx->w.shm, session);
    assert_false(unref(fx, session));
    assert_bytes(fx, session, "abc");
    assert_false(shm_session_dirty(s));
    assert_true(s->expect.refused); /* nor is what somebody adds */
    close_handle(fx, handle);
    assert_true(end_unused(fx, session));
    is_free(fx, session);
}

/* An upload that failed for another reason: the file is what it was before, for everybody. */
static void test_failed_bytes_are_not(void **state)
{
    struct fx *fx = *state;
    uint32_t session, handle;

    fx_set_variant(fx, CONF_S3_BUFFERED_CAS);
    session = not_published(fx, -EIO, &handle);
    assert_true(unref(fx, session));
    is_free(fx, session);
    close_handle(fx, handle);
}

/* Half of the sessions are for writers. */
static void test_not_too_many_are_kept(void **state)
{
    struct fx *fx = *state;
    uint32_t node[2], session[2], handle[2];

    fx_set_variant(fx, CONF_S3_BUFFERED_CAS);
    for (int i = 0; i < 2; i++) {
        session[i] = published(fx, i ? "g" : "f", true, &node[i]);
        handle[i] = open_handle(fx, node[i]);
    }
    assert_true(unref(fx, session[0])); /* two of three are more than half */
    is_free(fx, session[0]);
    assert_false(unref(fx, session[1]));
    for (int i = 0; i < 2; i++)
        close_handle(fx, handle[i]);
    assert_true(end_unused(fx, session[1]));
    is_free(fx, session[1]);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, fx_setup, fx_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_the_last_one_ends_it),
        TEST(test_jobs_are_waited_for),
        TEST(test_unpublished_bytes_go),
        TEST(test_an_orphan_stays_for_its_readers),
        TEST(test_last_write_wins_keeps_none_for_readers),
        TEST(test_a_writers_node_is_read_on),
        TEST(test_refused_bytes_are_read_on),
        TEST(test_failed_bytes_are_not),
        TEST(test_not_too_many_are_kept),
    };

    return cmocka_run_group_tests_name("session_end", tests, NULL, NULL);
}
