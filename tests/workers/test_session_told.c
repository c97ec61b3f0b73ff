/* session_told.c: which losses are those of the daemon's end. */
#include "workers/write/session_told.h"

#include <errno.h>

#include "tests/shm/stores.h"
#include "tests/workers/fixture.h"
#include "workers/write/session_change.h"

static void end_daemon(struct fx *fx)
{
    __atomic_store_n(&fx->w.shm->header->draining, 1, __ATOMIC_RELEASE);
}

static void tell(struct fx *fx, uint32_t session)
{
    worker_lock(&fx->w);
    session_tell(&fx->w, session);
    worker_unlock(&fx->w);
}

/* Whether the exit code will say that it was lost. */
static bool counts(struct fx *fx, uint32_t session)
{
    worker_lock(&fx->w);
    session_lost(&fx->w, session);
    worker_unlock(&fx->w);
    return __atomic_load_n(&fx->w.shm->header->gave_up, __ATOMIC_RELAXED);
}

static void test_lost_before(void **state)
{
    struct fx *fx = *state;
    uint32_t node, session = fx_session(fx, "f", &node);

    assert_false(counts(fx, session));
}

static void test_told_before(void **state)
{
    struct fx *fx = *state;
    uint32_t node, session = fx_session(fx, "f", &node);

    tell(fx, session);
    end_daemon(fx);
    assert_false(counts(fx, session));
}

static void test_never_told(void **state)
{
    struct fx *fx = *state;
    uint32_t node, session = fx_session(fx, "f", &node);

    end_daemon(fx);
    assert_true(counts(fx, session));
}

/* Each of two has closed it. */
static void test_the_second_was_told_after(void **state)
{
    struct fx *fx = *state;
    uint32_t node, session = fx_session(fx, "f", &node);

    tell(fx, session);
    end_daemon(fx);
    tell(fx, session);
    assert_true(counts(fx, session));
}

static void test_written_since(void **state)
{
    struct fx *fx = *state;
    uint32_t node, session = fx_session(fx, "f", &node);

    tell(fx, session);
    worker_lock(&fx->w);
    session_written(&fx->w, session, (struct session_range){0, 3}, 3);
    worker_unlock(&fx->w);
    end_daemon(fx);
    assert_true(counts(fx, session));
}

static struct shm_session *changed_since(struct fx *fx, uint32_t session)
{
    struct shm_session *s = store_session(fx->w.shm, session);

    s->publishing_seq = 4;
    s->write_seq = 5;
    return s;
}

/* The publish that has failed did not have it all. */
static void test_written_while_it_was_published(void **state)
{
    struct fx *fx = *state;
    uint32_t node, session = fx_session(fx, "f", &node);

    changed_since(fx, session);
    tell(fx, session);
    end_daemon(fx);
    assert_true(counts(fx, session));
}

/* These errors hold for whatever the file has, published or not. */
static void test_told_of_a_failed_write(void **state)
{
    struct fx *fx = *state;
    uint32_t node, session = fx_session(fx, "f", &node);

    changed_since(fx, session)->write_error = -ENOSPC;
    tell(fx, session);
    end_daemon(fx);
    assert_false(counts(fx, session));
}

static void test_told_of_a_conflict(void **state)
{
    struct fx *fx = *state;
    uint32_t node, session = fx_session(fx, "f", &node);

    changed_since(fx, session)->expect.refused = true;
    tell(fx, session);
    end_daemon(fx);
    assert_false(counts(fx, session));
}

static void test_a_write_has_failed_since(void **state)
{
    struct fx *fx = *state;
    uint32_t node, session = fx_session(fx, "f", &node);

    tell(fx, session);
    worker_lock(&fx->w);
    session_write_failed(&fx->w, session, -ENOSPC);
    worker_unlock(&fx->w);
    end_daemon(fx);
    assert_true(counts(fx, session));
}

/* Another close had begun it before this one's answer. */
static void test_another_publish_runs(void **state)
{
    struct fx *fx = *state;
    uint32_t node, session = fx_session(fx, "f", &node);

    store_session(fx->w.shm, session)->publish =
        (struct shm_job){.state = SHM_JOB_RUNNING, .owner = FX_SLOT};
    tell(fx, session);
    end_daemon(fx);
    assert_true(counts(fx, session));
    store_session(fx->w.shm, session)->publish.state = SHM_JOB_IDLE;
}

/* The worker that told it is gone. */
static void test_its_worker_dies(void **state)
{
    struct fx *fx = *state;
    uint32_t node, session = fx_session(fx, "f", &node);

    tell(fx, session);
    fx_replace(fx);
    end_daemon(fx);
    assert_false(counts(fx, session));
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, fx_setup, fx_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_lost_before),
        TEST(test_told_before),
        TEST(test_never_told),
        TEST(test_the_second_was_told_after),
        TEST(test_written_since),
        TEST(test_a_write_has_failed_since),
        TEST(test_another_publish_runs),
        TEST(test_its_worker_dies),
        TEST(test_written_while_it_was_published),
        TEST(test_told_of_a_failed_write),
        TEST(test_told_of_a_conflict),
    };

    return cmocka_run_group_tests_name("session_told", tests, NULL, NULL);
}
