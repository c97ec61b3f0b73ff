/* spool.c: what is counted, the move to disk, holes, and the parking file. */
#include "tests/workers/fixture.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "tests/shm/stores.h"
#include "workers/op/spool.h"
#include "workers/write/session_change.h"
#include "workers/write/session_end.h"

#define KIB (UINT64_C(1) << 10)

static bool reserve(struct fx *fx, uint32_t session, uint64_t end)
{
    bool ok;

    worker_lock(&fx->w);
    ok = spool_reserve(&fx->w, session, end);
    worker_unlock(&fx->w);
    return ok;
}

static uint64_t mem_used(struct fx *fx)
{
    return fx->w.shm->sessions->mem_used;
}

static void set_on_disk(struct fx *fx, uint32_t session)
{
    worker_lock(&fx->w);
    shm_session_edit(fx->w.shm, session)->flags |= SHM_SESSION_ON_DISK;
    worker_unlock(&fx->w);
}

/* The last ref goes, and with it all that the slot has. */
static void end_session(struct fx *fx, uint32_t session)
{
    bool closed;

    worker_lock(&fx->w);
    closed = session_unref(&fx->w, session);
    worker_unlock(&fx->w);
    assert_true(closed);
    session_clear(&fx->w, session);
}

static void counts_memory_in_steps(void **state)
{
    struct fx *fx = *state;
    uint32_t node, s = fx_session(fx, "a", &node);

    assert_true(reserve(fx, s, 0));
    assert_int_equal(mem_used(fx), 0);
    assert_true(reserve(fx, s, 1));
    assert_int_equal(mem_used(fx), 64 * KIB);
    assert_true(reserve(fx, s, 64 * KIB));
    assert_int_equal(mem_used(fx), 64 * KIB);
    assert_true(reserve(fx, s, 64 * KIB + 1));
    assert_int_equal(mem_used(fx), 128 * KIB);
    assert_true(reserve(fx, s, 10)); /* never less */
    assert_int_equal(mem_used(fx), 128 * KIB);
    end_session(fx, s);
    assert_int_equal(mem_used(fx), 0);
}

static void one_session_has_its_limit(void **state)
{
    struct fx *fx = *state;
    uint32_t node, s = fx_session(fx, "a", &node);

    assert_true(reserve(fx, s, FX_MEMORY));
    assert_false(reserve(fx, s, FX_MEMORY + 1));
    assert_int_equal(mem_used(fx), FX_MEMORY);
    assert_false(reserve(fx, s, INT64_MAX));
    set_on_disk(fx, s);
    assert_true(reserve(fx, s, INT64_MAX));
    end_session(fx, s);
}

static void all_sessions_have_one_limit(void **state)
{
    struct fx *fx = *state;
    uint32_t node, a = fx_session(fx, "a", &node);
    uint32_t b = fx_session(fx, "b", &node), c = fx_session(fx, "c", &node);

    assert_true(reserve(fx, a, FX_MEMORY));
    assert_true(reserve(fx, b, FX_MEMORY));
    assert_false(reserve(fx, c, 1));
    end_session(fx, a);
    assert_true(reserve(fx, c, 1));
    end_session(fx, b);
    end_session(fx, c);
    assert_int_equal(mem_used(fx), 0);
}

static void assert_content(struct fx *fx, uint32_t session, uint64_t off, const char *want,
                           size_t len)
{
    char got[64];

    assert_true(len <= sizeof(got));
    memset(got, 'x', sizeof(got));
    assert_int_equal(spool_read(&fx->w, session, got, len, off), len);
    assert_memory_equal(got, want, len);
}

static void holes_read_as_zero(void **state)
{
    struct fx *fx = *state;
    uint32_t node, s = fx_session(fx, "a", &node);

    assert_int_equal(spool_write(&fx->w, s, "abc", 3, 4), 0);
    assert_content(fx, s, 2, "\0\0abc", 5);
    assert_content(fx, s, 6, "c\0\0\0", 4); /* also behind the end of what was written */
    assert_content(fx, s, 100, "\0\0", 2);
    assert_int_equal(spool_truncate(&fx->w, s, 5), 0);
    assert_int_equal(spool_truncate(&fx->w, s, 8), 0);
    assert_content(fx, s, 4, "a\0\0\0", 4);
    end_session(fx, s);
}

static void too_far_is_refused(void **state)
{
    struct fx *fx = *state;
    uint32_t node, s = fx_session(fx, "a", &node);

    assert_int_equal(spool_write(&fx->w, s, "abc", 3, S3_OBJECT_MAX - 2), -EFBIG);
    assert_int_equal(spool_write(&fx->w, s, "abc", 3, UINT64_MAX - 1), -EFBIG);
    assert_int_equal(spool_truncate(&fx->w, s, S3_OBJECT_MAX + 1), -EFBIG);
    assert_int_equal(lseek(fx->env.spool[s].mem_fd, 0, SEEK_END), 0);
    end_session(fx, s);
}

static void moves_to_disk(void **state)
{
    struct fx *fx = *state;
    uint32_t node, s = fx_session(fx, "a", &node);
    int mem = fx->env.spool[s].mem_fd, file = fx->env.spool[s].file_fd;

    assert_true(reserve(fx, s, FX_MEMORY));
    assert_int_equal(spool_write(&fx->w, s, "head", 4, 0), 0);
    assert_int_equal(spool_write(&fx->w, s, "tail", 4, 200 * KIB - 4), 0);
    assert_int_equal(ftruncate(file, 1 << 20), 0); /* left by a move that was killed */
    assert_int_equal(spool_fd(&fx->w, s), mem);
    assert_int_equal(spool_to_disk(&fx->w, s), 0);
    assert_int_equal(spool_fd(&fx->w, s), mem); /* until the flag says so */
    set_on_disk(fx, s);
    spool_drop_memory(&fx->w, s);
    assert_int_equal(mem_used(fx), 0);
    assert_int_equal(lseek(mem, 0, SEEK_END), 0);
    assert_int_equal(lseek(file, 0, SEEK_END), 200 * KIB);
    assert_int_equal(spool_fd(&fx->w, s), file);
    assert_content(fx, s, 0, "head\0", 5);
    assert_content(fx, s, 200 * KIB - 5, "\0tail", 5);
    end_session(fx, s);
    assert_int_equal(lseek(file, 0, SEEK_END), 0);
}

static void no_disk_is_no_space(void **state)
{
    struct fx *fx = *state;
    uint32_t node, s = fx_session(fx, "a", &node);
    int file = fx->env.spool[s].file_fd;

    fx->env.spool[s].file_fd = -1;
    assert_int_equal(spool_to_disk(&fx->w, s), -ENOSPC);
    end_session(fx, s);
    fx->env.spool[s].file_fd = file;
}

/* Only one may move it, and only while nobody changes it. */
static void a_move_waits_for_changes(void **state)
{
    struct fx *fx = *state;
    uint32_t node, s = fx_session(fx, "a", &node);
    struct shm_session *session = store_session(fx->w.shm, s);
    struct op *op = fx_op(fx, FUSE_STATFS, 2, 1, NULL, 0, NULL, 0);

    assert_int_equal(spool_write(&fx->w, s, "abc", 3, 0), 0);
    session->writing = 1; /* by another worker, since we looked */
    assert_int_equal(session_move_to_disk(op, s), 0);
    assert_false(session->flags & SHM_SESSION_ON_DISK);
    session->writing = 0;
    session->load.state = SHM_JOB_RUNNING;
    session->load.owner = 0;
    assert_int_equal(session_move_to_disk(op, s), 0);
    assert_false(session->flags & SHM_SESSION_ON_DISK);
    assert_int_equal(session->load.state, SHM_JOB_RUNNING);
    session->load.state = SHM_JOB_IDLE;
    assert_int_equal(session_move_to_disk(op, s), 0);
    assert_true(session->flags & SHM_SESSION_ON_DISK);
    assert_int_equal(session_move_to_disk(op, s), 0); /* once */
    assert_content(fx, s, 0, "abc", 3);
    op_done(op);
    end_session(fx, s);
}

static void parks_by_record(void **state)
{
    struct fx *fx = *state;
    char got[8];

    assert_int_equal(spool_park(&fx->w, 3, "three", 5), 0);
    assert_int_equal(spool_park(&fx->w, 2, "two", 3), 0);
    assert_int_equal(spool_unpark(&fx->w, 3, 1, got, 4), 0);
    assert_memory_equal(got, "hree", 4);
    assert_int_equal(spool_unpark(&fx->w, 2, 0, got, 3), 0);
    assert_memory_equal(got, "two", 3);
    spool_park_clear(&fx->w, 3, 5);
    assert_int_equal(spool_unpark(&fx->w, 3, 0, got, 5), 0);
    assert_memory_equal(got, "\0\0\0\0\0", 5);
    assert_int_equal(spool_unpark(&fx->w, 2, 0, got, 3), 0);
    assert_memory_equal(got, "two", 3);
    assert_int_equal(spool_unpark(&fx->w, 4, 0, got, 3), -EIO); /* never parked */
}

/* A worker that dies between putting bytes aside and taking the record, or after the answer. */
static void a_successor_gives_back_what_nobody_takes(void **state)
{
    struct fx *fx = *state;
    uint32_t *free = fx->w.free_records, last = --fx->w.n_free_records;
    char got[8];

    for (uint32_t i = 0; i < last; i++) { /* record 2 is taken */
        if (free[i] == 2)
            free[i] = free[last];
    }
    assert_int_equal(spool_park(&fx->w, 3, "three", 5), 0);
    assert_int_equal(spool_park(&fx->w, 2, "two", 3), 0);
    spool_park_tidy(&fx->w);
    assert_int_equal(spool_unpark(&fx->w, 3, 0, got, 5), 0);
    assert_memory_equal(got, "\0\0\0\0\0", 5);
    assert_int_equal(spool_unpark(&fx->w, 2, 0, got, 3), 0);
    assert_memory_equal(got, "two", 3);
}

/* Each page that it touches counts, and no file twice. */
static void has_files_written_back_in_steps(void **state)
{
    struct fx *fx = *state;
    uint32_t node, s = fx_session(fx, "a", &node);
    int fd = fx->w.env->spool[s].file_fd, other[SPOOL_DIRTY_FILES];
    struct spool_dirty d = {0};

    assert_int_equal(spool_dirty_max(0, 2), 0);
    assert_int_equal(spool_dirty_max(64 << 20, 2), 2 << 20);
    assert_int_equal(spool_dirty_max(1 << 20, 32), 256 * KIB);
    spool_dirty(&d, 0, fd, 1 << 20);
    assert_int_equal(d.now.n, 0);
    spool_dirty(&d, 64 * KIB, fd, 4096);
    spool_dirty(&d, 64 * KIB, fd, 1);
    assert_int_equal(d.now.n, 1);
    assert_int_equal(d.now.bytes, 3 * 4096);
    spool_dirty(&d, 64 * KIB, fd, 52 * KIB);
    assert_int_equal(d.now.n, 0);
    assert_int_equal(d.now.bytes, 0);
    assert_int_equal(d.before.n, 1);
    for (int i = 0; i < SPOOL_DIRTY_FILES; i++) {
        other[i] = dup(fd);
        assert_true(other[i] >= 0);
        spool_dirty(&d, 64 << 20, other[i], 1);
    }
    assert_int_equal(d.now.n, 0);
    assert_int_equal(d.before.n, SPOOL_DIRTY_FILES);
    for (int i = 0; i < SPOOL_DIRTY_FILES; i++)
        close(other[i]);
    end_session(fx, s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(counts_memory_in_steps, fx_setup, fx_teardown),
        cmocka_unit_test_setup_teardown(one_session_has_its_limit, fx_setup, fx_teardown),
        cmocka_unit_test_setup_teardown(all_sessions_have_one_limit, fx_setup, fx_teardown),
        cmocka_unit_test_setup_teardown(holes_read_as_zero, fx_setup, fx_teardown),
        cmocka_unit_test_setup_teardown(too_far_is_refused, fx_setup, fx_teardown),
        cmocka_unit_test_setup_teardown(moves_to_disk, fx_setup, fx_teardown),
        cmocka_unit_test_setup_teardown(no_disk_is_no_space, fx_setup, fx_teardown),
        cmocka_unit_test_setup_teardown(a_move_waits_for_changes, fx_setup, fx_teardown),
        cmocka_unit_test_setup_teardown(parks_by_record, fx_setup, fx_teardown),
        cmocka_unit_test_setup_teardown(has_files_written_back_in_steps, fx_setup, fx_teardown),
        cmocka_unit_test_setup_teardown(a_successor_gives_back_what_nobody_takes, fx_setup,
                                        fx_teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
