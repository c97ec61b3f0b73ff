/* op.c and recover.c: the life of a request, and what a replacement makes of each state that its
 * predecessor can have left. The kernel is a socket pair: what is sent, and how often, is what
 * counts. */
#include "tests/workers/fixture.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "shm/shm_flock.h"
#include "shm/shm_handle.h"
#include "tests/shm/stores.h"
#include "workers/handlers/fuse_op.h"
#include "workers/handlers/handlers.h"
#include "workers/op/hold.h"
#include "workers/op/spool.h"
#include "workers/process/recover.h"
#include "workers/write/session_attach.h"
#include "workers/write/session_change.h"
#include "workers/write/session_end.h"

#define UNIQUE UINT64_C(42)

static const struct fuse_mkdir_in mkdir_in = {.mode = 0755};

static struct op *statfs_op(struct fx *fx, uint64_t unique)
{
    return fx_op(fx, FUSE_STATFS, unique, 1, NULL, 0, NULL, 0);
}

static struct op *mkdir_op(struct fx *fx, uint64_t unique, const char *name)
{
    return fx_op(fx, FUSE_MKDIR, unique, 1, &mkdir_in, sizeof(mkdir_in), name, strlen(name) + 1);
}

static uint64_t lookups(struct fx *fx, const char *name)
{
    uint32_t node;
    uint64_t n = 0;

    worker_lock(&fx->w);
    node = shm_node_find(fx->w.shm, SHM_ROOT, name, strlen(name));
    if (node != SHM_NIL)
        n = shm_node_at(fx->w.shm, node)->nlookup;
    worker_unlock(&fx->w);
    return n;
}

/* Exactly one answer, without data where `len` is 0. */
static int the_answer(struct fx *fx, uint64_t unique, void *data, size_t len)
{
    int error = 1, more;

    assert_true(fx_answer(fx, unique, &error, data, len));
    assert_false(fx_answer(fx, unique, &more, data, len));
    return error;
}

static void no_answer(struct fx *fx)
{
    int error;

    assert_false(fx_answer(fx, 0, &error, NULL, 0));
}

/* Nothing is left in the journal. */
static void all_free(struct fx *fx)
{
    assert_int_equal(fx_state(&fx->w.arena->current), SHM_RECORD_FREE);
    for (uint32_t i = 0; i < FX_RECORDS; i++)
        assert_int_equal(fx_state(fx_record(fx, i)), SHM_RECORD_FREE);
    assert_int_equal(fx->w.n_free_ops, FX_RECORDS + 1);
    assert_int_equal(fx->w.n_free_records, FX_RECORDS);
}

static void replace_and_recover(struct fx *fx)
{
    fx_replace(fx);
    recover(&fx->w);
}

/* ---- the life of an op ---- */

static void answers_at_once(void **state)
{
    struct fx *fx = *state;
    struct fuse_statfs_out out;
    struct op *op = statfs_op(fx, UNIQUE);

    assert_true(op_is_current(op));
    assert_int_equal(fx_state(op->rec), SHM_RECORD_IN_FLIGHT);
    assert_int_equal(fx->w.n_free_ops, FX_RECORDS);
    op_dispatch(op);
    assert_int_equal(the_answer(fx, UNIQUE, &out, sizeof(out)), 0);
    all_free(fx);
}

static void keeps(void **state)
{
    struct fx *fx = *state;
    uint8_t *area = shm_arena_read_area(fx->w.shm, FX_SLOT);
    struct op *op = mkdir_op(fx, UNIQUE, "name");
    uint32_t next = op_next_record(&fx->w);

    op->rec->change = 7;
    assert_int_equal(op_keep(op), 0);
    assert_false(op_is_current(op));
    assert_int_equal(op->rec_idx, next);
    assert_int_not_equal(op_next_record(&fx->w), next);
    assert_int_equal(op_tag(op), shm_record_tag(FX_SLOT, next));
    assert_int_equal(fx_state(op->rec), SHM_RECORD_IN_FLIGHT);
    assert_int_equal(fx_state(&fx->w.arena->current), SHM_RECORD_FREE);
    assert_int_equal(op->rec->change, 7);
    assert_int_equal(op->rec->unique, UNIQUE);
    memset(area, 0xff, 4096); /* the next request comes */
    assert_string_equal(fuse_req(op)->name, "name");
    assert_int_equal(fuse_req(op)->mkdir->mode, 0755);
    assert_int_equal(op_keep(op), 0); /* once more does nothing */
    assert_int_equal(op->rec_idx, next);
    op_fail(op, -EPERM);
    assert_int_equal(the_answer(fx, UNIQUE, NULL, 0), -EPERM);
    all_free(fx);
}

static void applied_is_sent_once(void **state)
{
    struct fx *fx = *state;
    struct op *op = statfs_op(fx, UNIQUE);
    char data[4];

    worker_lock(&fx->w);
    op_applied(op, 0, "abcd", 4);
    worker_unlock(&fx->w);
    assert_int_equal(fx_state(op->rec), SHM_RECORD_APPLIED);
    no_answer(fx);
    op_finish(op);
    assert_int_equal(the_answer(fx, UNIQUE, data, 4), 0);
    assert_memory_equal(data, "abcd", 4);
    all_free(fx);
}

static void a_name_too_long_to_keep(void **state)
{
    struct fx *fx = *state;
    char name[SHM_REQUEST_MAX];
    struct op *op;

    memset(name, 'n', sizeof(name));
    name[sizeof(name) - 1] = '\0';
    op = mkdir_op(fx, UNIQUE, name);
    assert_true(op_keep(op) < 0);
    assert_int_equal(the_answer(fx, UNIQUE, NULL, 0), -ENAMETOOLONG);
    all_free(fx);
}

/* The longest name that there can be: beside the record, where a replacement finds it too. */
static void a_long_name_is_kept(void **state)
{
    struct fx *fx = *state;
    char name[SHM_NAME_MAX + 1];
    const struct shm_record *rec;
    struct op *op;

    memset(name, 'n', sizeof(name));
    name[SHM_NAME_MAX] = '\0';
    op = mkdir_op(fx, UNIQUE, name);
    assert_int_equal(op_keep(op), 0);
    rec = op->rec;
    assert_true(rec->request_len > SHM_RECORD_REQUEST);
    memset(shm_arena_read_area(fx->w.shm, fx->w.slot), 0xee, SHM_READ_HEAD + SHM_NAME_MAX);
    assert_string_equal(fuse_req(op)->name, name);
    assert_int_equal(fuse_req(op)->name_len, SHM_NAME_MAX);
    assert_true(fuse_req(op)->name == (const char *)shm_arena_request(
                                          fx->w.shm, fx->w.slot, op->rec_idx, rec->request_len) +
                                          rec->request_len - SHM_NAME_MAX - 1);
    op_fail(op, -EEXIST);
    assert_int_equal(the_answer(fx, UNIQUE, NULL, 0), -EEXIST);
    all_free(fx);
}

/* The last records are for RELEASE: what it would lose nobody repeats. */
static void records_run_out(void **state)
{
    struct fx *fx = *state;
    const struct fuse_release_in in = {.fh = 1};
    struct op *kept[FX_RECORDS], *op;
    uint32_t n = 0;
    int error;

    for (;; n++) {
        kept[n] = statfs_op(fx, UNIQUE + n);
        if (op_keep(kept[n]) < 0)
            break;
    }
    assert_true(n > FX_RECORDS / 2 && n < FX_RECORDS);
    assert_true(fx_answer(fx, UNIQUE + n, &error, NULL, 0));
    assert_int_equal(error, -ENOMEM);
    assert_int_equal(op_next_record(&fx->w), SHM_NIL);
    for (uint32_t i = n; i < FX_RECORDS; i++) {
        kept[i] = fx_op(fx, FUSE_RELEASE, UNIQUE + i, 1, &in, sizeof(in), NULL, 0);
        assert_int_equal(op_keep(kept[i]), 0);
    }
    op = fx_op(fx, FUSE_RELEASE, 2, 1, &in, sizeof(in), NULL, 0);
    assert_true(op_keep(op) < 0);
    assert_true(fx_answer(fx, 2, &error, NULL, 0));
    for (uint32_t i = 0; i < FX_RECORDS; i++)
        op_done(kept[i]);
    all_free(fx);
}

/* ---- waiting and interrupts ---- */

static unsigned resumed, given_back, freed;

static void note_resumed(struct op *op)
{
    (void)op;
    resumed++;
}

static void note_given_back(struct op *op, int error)
{
    assert_int_equal(fx_state(op->rec), SHM_RECORD_IN_FLIGHT);
    given_back++;
    op_fail(op, error);
}

static void note_freed(void *state)
{
    assert_int_equal(given_back, 1); /* before */
    free(state);
    freed++;
}

static void waits_and_is_interrupted(void **state)
{
    struct fx *fx = *state;
    struct op *op = statfs_op(fx, UNIQUE);

    resumed = given_back = freed = 0;
    assert_int_equal(op_keep(op), 0);
    op_wait(op, note_resumed);
    op->abandon = note_given_back;
    op->state = malloc(1);
    op->state_free = note_freed;
    worker_wake(&fx->w, UINT32_C(1) << FX_SLOT);
    assert_int_equal(resumed, 0); /* not from within */
    assert_int_equal(loop_turn(fx->w.loop), 0);
    assert_int_equal(resumed, 1);
    op_stop_waiting(op);
    op_resume_all(&fx->w);
    assert_int_equal(resumed, 1);
    op_interrupts(&fx->w);
    no_answer(fx);
    atomic_store(&op->rec->interrupted, 1);
    op_interrupts(&fx->w);
    assert_int_equal(the_answer(fx, UNIQUE, NULL, 0), -EINTR);
    assert_int_equal(given_back, 1);
    assert_int_equal(freed, 1);
    all_free(fx);
}

static void what_stays_is_not_interrupted(void **state)
{
    struct fx *fx = *state;
    struct op *op = statfs_op(fx, UNIQUE);

    assert_int_equal(op_keep(op), 0);
    op->stays = true;
    atomic_store(&op->rec->interrupted, 1);
    op_interrupts(&fx->w);
    no_answer(fx);
    op_fail(op, 0);
    assert_int_equal(the_answer(fx, UNIQUE, NULL, 0), 0);
}

/* One that comes while the request is moved to its record is not lost. */
static void interrupt_moves_along(void **state)
{
    struct fx *fx = *state;
    struct op *op = statfs_op(fx, UNIQUE);

    atomic_store(&op->rec->interrupted, 1);
    assert_int_equal(op_keep(op), 0);
    op_interrupts(&fx->w);
    assert_int_equal(the_answer(fx, UNIQUE, NULL, 0), -EINTR);
    /* The next one begins without it. */
    op = statfs_op(fx, UNIQUE + 2);
    assert_int_equal(op_keep(op), 0);
    op_interrupts(&fx->w);
    no_answer(fx);
    op_done(op);
}

static void interrupt(struct fx *fx, uint64_t of)
{
    const struct fuse_interrupt_in in = {.unique = of};

    op_dispatch(fx_op(fx, FUSE_INTERRUPT, of | 1, 0, &in, sizeof(in), NULL, 0));
}

static void interrupt_finds_its_request(void **state)
{
    struct fx *fx = *state;
    struct op *op = statfs_op(fx, UNIQUE);

    assert_int_equal(op_keep(op), 0);
    interrupt(fx, UNIQUE + 2); /* nobody's: ask again */
    assert_int_equal(the_answer(fx, (UNIQUE + 2) | 1, NULL, 0), -EAGAIN);
    assert_int_equal(atomic_load(&op->rec->interrupted), 0);
    interrupt(fx, UNIQUE);
    no_answer(fx);
    assert_int_equal(loop_turn(fx->w.loop), 0);
    assert_int_equal(the_answer(fx, UNIQUE, NULL, 0), -EINTR);
    all_free(fx);
}

/* ---- taken over: the read area ---- */

static void killed_before_the_kernel_gave_anything(void **state)
{
    struct fx *fx = *state;

    memset(shm_arena_read_area(fx->w.shm, FX_SLOT), 0, SHM_READ_HEAD);
    atomic_store(&fx->w.arena->current.state, SHM_RECORD_READING);
    replace_and_recover(fx);
    no_answer(fx);
    all_free(fx);
}

static void killed_after_reading(void **state)
{
    struct fx *fx = *state;
    struct fuse_entry_out out;

    fx_request(fx, FUSE_MKDIR, UNIQUE, 1, &mkdir_in, sizeof(mkdir_in), "d", 2);
    /* What is left of the request before. */
    fx->w.arena->current.session = 2;
    fx->w.arena->current.change = SHM_CHANGE_BEGUN;
    atomic_store(&fx->w.arena->current.interrupted, 1);
    replace_and_recover(fx);
    assert_int_equal(the_answer(fx, UNIQUE, &out, sizeof(out)), 0);
    assert_int_equal(lookups(fx, "d"), 1);
    all_free(fx);
}

static void killed_in_the_handler(void **state)
{
    struct fx *fx = *state;
    struct fuse_entry_out out;

    (void)mkdir_op(fx, UNIQUE, "d");
    replace_and_recover(fx);
    assert_int_equal(the_answer(fx, UNIQUE, &out, sizeof(out)), 0);
    assert_int_equal(lookups(fx, "d"), 1);
    assert_int_equal(fx->w.stats->count[SHM_STAT_RECOVERED], 1);
    all_free(fx);
}

/* Applied, and answered or not: it is answered (again), and not done again. */
static void killed_after_applying(void **state)
{
    struct fx *fx = *state;
    struct fuse_entry_out first, second;
    struct op *op = mkdir_op(fx, UNIQUE, "d");
    struct shm_record *rec = fx_record(fx, op_next_record(&fx->w)); /* MKDIR is kept */

    op_dispatch(op);
    assert_int_equal(the_answer(fx, UNIQUE, &first, sizeof(first)), 0);
    atomic_store(&rec->state, SHM_RECORD_APPLIED);
    replace_and_recover(fx);
    assert_int_equal(the_answer(fx, UNIQUE, &second, sizeof(second)), 0);
    assert_memory_equal(&first, &second, sizeof(first));
    assert_int_equal(lookups(fx, "d"), 1);
    all_free(fx);
}

/* The same in the read area. */
static void killed_after_applying_at_once(void **state)
{
    struct fx *fx = *state;
    const struct fuse_open_in in = {.flags = 0};
    struct fuse_open_out first, second;

    op_dispatch(fx_op(fx, FUSE_OPENDIR, UNIQUE, 1, &in, sizeof(in), NULL, 0));
    assert_int_equal(the_answer(fx, UNIQUE, &first, sizeof(first)), 0);
    atomic_store(&fx->w.arena->current.state, SHM_RECORD_APPLIED);
    replace_and_recover(fx);
    assert_int_equal(the_answer(fx, UNIQUE, &second, sizeof(second)), 0);
    assert_int_equal(first.fh, second.fh);
    assert_int_equal(fx->w.shm->handles->live, 1);
    all_free(fx);
}

static void end_in_child(struct fx *fx, void (*fn)(struct fx *fx))
{
    int status;
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        fn(fx);
        _exit(1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
}

static void die(void)
{
    raise(SIGKILL);
}

/* Killed as it writes the answer: the write meets a pipe that nobody reads. */
static void fail_and_die(struct fx *fx)
{
    int ends[2];

    signal(SIGPIPE, SIG_DFL);
    if (pipe(ends) < 0)
        return;
    close(ends[0]);
    fx->mount.fd = ends[1];
    op_fail(mkdir_op(fx, UNIQUE, "d"), -EEXIST);
}

/* The kernel may have had the error, and time to go on by it. */
static void killed_as_it_fails(void **state)
{
    struct fx *fx = *state;

    end_in_child(fx, fail_and_die);
    replace_and_recover(fx);
    assert_int_equal(the_answer(fx, UNIQUE, NULL, 0), -EEXIST);
    assert_int_equal(lookups(fx, "d"), 0); /* not made after all */
    all_free(fx);
}

static void apply_and_die(struct fx *fx)
{
    struct op *op = mkdir_op(fx, UNIQUE, "d");

    worker_lock(&fx->w);
    op_applied(op, -EPERM, NULL, 0);
    die();
}

/* In a section that did not come to its end: nothing has happened. */
static void killed_as_it_applies(void **state)
{
    struct fx *fx = *state;
    struct fuse_entry_out out;

    end_in_child(fx, apply_and_die);
    replace_and_recover(fx);
    assert_int_equal(the_answer(fx, UNIQUE, &out, sizeof(out)), 0);
    assert_int_equal(lookups(fx, "d"), 1);
    all_free(fx);
}

static void forget_and_die(struct fx *fx)
{
    struct fuse_forget_in in = {.nlookup = 1};
    struct op *op;

    worker_lock(&fx->w);
    op = fx_op(fx, FUSE_FORGET, UNIQUE + 2,
               shm_node_id(fx->w.shm, shm_node_find(fx->w.shm, SHM_ROOT, "d", 1)), &in, sizeof(in),
               NULL, 0);
    shm_save(fx->w.shm, fx->w.shm->meta, &op->rec->state, sizeof(op->rec->state));
    atomic_store(&op->rec->state, SHM_RECORD_FREE); /* as op_forget.c does it */
    die();
}

static void killed_as_it_forgets(void **state)
{
    struct fx *fx = *state;
    struct fuse_entry_out out;

    op_dispatch(mkdir_op(fx, UNIQUE, "d"));
    assert_int_equal(the_answer(fx, UNIQUE, &out, sizeof(out)), 0);
    assert_int_equal(lookups(fx, "d"), 1);
    end_in_child(fx, forget_and_die);
    replace_and_recover(fx);
    no_answer(fx);
    assert_int_equal(lookups(fx, "d"), 0);
    all_free(fx);
}

static void malformed_is_answered(void **state)
{
    struct fx *fx = *state;

    fx_request(fx, FUSE_MKDIR, UNIQUE, 1, &mkdir_in, sizeof(mkdir_in), NULL, 0);
    replace_and_recover(fx);
    assert_int_equal(the_answer(fx, UNIQUE, NULL, 0), -EIO);
    fx_request(fx, 4000, UNIQUE, 1, NULL, 0, NULL, 0);
    replace_and_recover(fx);
    assert_int_equal(the_answer(fx, UNIQUE, NULL, 0), -ENOSYS);
    all_free(fx);
}

/* ---- taken over: records ---- */

static void kept_is_handled_again(void **state)
{
    struct fx *fx = *state;
    struct fuse_entry_out out;
    struct op *op = mkdir_op(fx, UNIQUE, "d");

    assert_int_equal(op_keep(op), 0);
    replace_and_recover(fx);
    assert_int_equal(the_answer(fx, UNIQUE, &out, sizeof(out)), 0);
    assert_int_equal(lookups(fx, "d"), 1);
    all_free(fx);
}

/* Killed between the record's becoming IN_FLIGHT and the read area's becoming free. */
static void doubled_counts_once(void **state)
{
    struct fx *fx = *state;
    struct fuse_entry_out out;
    struct op *op = mkdir_op(fx, UNIQUE, "d");

    assert_int_equal(op_keep(op), 0);
    atomic_store(&fx->w.arena->current.state, SHM_RECORD_IN_FLIGHT);
    replace_and_recover(fx);
    assert_int_equal(the_answer(fx, UNIQUE, &out, sizeof(out)), 0);
    assert_int_equal(lookups(fx, "d"), 1);
    all_free(fx);
}

/* The same, and the replacement was killed when it had done the record's part. */
static void doubled_and_killed_again(void **state)
{
    struct fx *fx = *state;
    struct fuse_entry_out out;
    struct op *op = mkdir_op(fx, UNIQUE, "d");

    assert_int_equal(op_keep(op), 0);
    worker_lock(&fx->w);
    memset(&out, 0, sizeof(out));
    op_applied(op, 0, &out, sizeof(out));
    worker_unlock(&fx->w);
    atomic_store(&fx->w.arena->current.state, SHM_RECORD_IN_FLIGHT);
    replace_and_recover(fx);
    assert_int_equal(the_answer(fx, UNIQUE, &out, sizeof(out)), 0);
    assert_int_equal(lookups(fx, "d"), 0); /* not handled */
    all_free(fx);
}

/* Another request in the read area than in any record. */
static void both_are_handled(void **state)
{
    struct fx *fx = *state;
    struct fuse_entry_out out;
    struct op *op = mkdir_op(fx, UNIQUE, "a");
    int error;

    assert_int_equal(op_keep(op), 0);
    (void)mkdir_op(fx, UNIQUE + 2, "b");
    replace_and_recover(fx);
    assert_true(fx_answer(fx, UNIQUE, &error, &out, sizeof(out)));
    assert_int_equal(error, 0);
    assert_int_equal(the_answer(fx, UNIQUE + 2, &out, sizeof(out)), 0);
    assert_int_equal(lookups(fx, "a"), 1);
    assert_int_equal(lookups(fx, "b"), 1);
    all_free(fx);
}

/* A stored answer in arena->reply goes out before a handler may build another one there. */
static void answer_in_the_arena(void **state)
{
    struct fx *fx = *state;
    const struct fuse_read_in in = {.fh = 0, .size = 4096};
    struct op *op = fx_op(fx, FUSE_READDIR, UNIQUE, 1, &in, sizeof(in), NULL, 0);
    char data[4];

    assert_int_equal(op_keep(op), 0);
    memcpy(fx->w.arena->reply, "abcd", 4);
    worker_lock(&fx->w);
    op_applied_in_arena(op, 4);
    worker_unlock(&fx->w);
    replace_and_recover(fx);
    assert_int_equal(the_answer(fx, UNIQUE, data, 4), 0);
    assert_memory_equal(data, "abcd", 4);
    all_free(fx);
}

static void counted_lookups_are_taken_back(void **state)
{
    struct fx *fx = *state;
    struct fuse_entry_out out;

    op_dispatch(mkdir_op(fx, UNIQUE, "d"));
    assert_int_equal(the_answer(fx, UNIQUE, &out, sizeof(out)), 0);
    worker_lock(&fx->w);
    for (uint32_t i = 0; i < 3; i++) {
        uint32_t node = shm_node_find(fx->w.shm, SHM_ROOT, "d", 1);

        shm_node_ref(fx->w.shm, node, 1);
        fx->w.arena->counted[fx->w.arena->counted_n++] = node;
    }
    worker_unlock(&fx->w);
    replace_and_recover(fx);
    assert_int_equal(lookups(fx, "d"), 1);
    assert_int_equal(fx->w.arena->counted_n, 0);
}

/* ---- taken over: effects under way ---- */

static uint32_t open_handle(struct fx *fx, uint32_t node, uint32_t session, uint64_t *ret_fh)
{
    int64_t handle;

    worker_lock(&fx->w);
    handle = shm_handle_new(fx->w.shm, SHM_HANDLE_FILE, node, 0);
    assert_true(handle >= 0);
    shm_handle_edit(fx->w.shm, (uint32_t)handle)->session = session;
    *ret_fh = shm_handle_fh(fx->w.shm, (uint32_t)handle);
    worker_unlock(&fx->w);
    return (uint32_t)handle;
}

/* The handle goes as RELEASE lets it go: without a publish, since the file is an orphan by then. */
static void release(struct fx *fx, uint64_t fh, uint32_t session)
{
    const struct fuse_release_in in = {.fh = fh};

    worker_lock(&fx->w);
    session_orphan(&fx->w, session);
    worker_unlock(&fx->w);
    op_dispatch(fx_op(fx, FUSE_RELEASE, 1000, 1, &in, sizeof(in), NULL, 0));
    assert_int_equal(the_answer(fx, 1000, NULL, 0), 0);
    assert_int_equal(shm_session_at(fx->w.shm, session)->state, SHM_SESSION_FREE);
    all_free(fx);
}

static void begin_change(struct op *op, uint32_t session, uint64_t end)
{
    worker_lock(op->w);
    assert_true(session_change_begin(op, session, (struct session_range){0, end}));
    worker_unlock(op->w);
}

static void assert_spool(struct fx *fx, uint32_t session, const char *want)
{
    const struct shm_session *s = shm_session_at(fx->w.shm, session);
    char got[64];

    assert_int_equal(s->size, strlen(want));
    assert_int_equal(spool_read(&fx->w, session, got, strlen(want), 0), strlen(want));
    assert_memory_equal(got, want, strlen(want));
}

/* A WRITE that had begun: done once more, counted once. */
static void write_is_finished(void **state)
{
    struct fx *fx = *state;
    uint64_t fh;
    uint32_t node, session = fx_session(fx, "f", &node);
    struct fuse_write_in in = {.size = 5};
    struct fuse_write_out out;
    struct op *op;

    open_handle(fx, node, session, &fh);
    in.fh = fh;
    op = fx_op(fx, FUSE_WRITE, UNIQUE, shm_node_id(fx->w.shm, node), &in, sizeof(in), "hello", 5);
    begin_change(op, session, 5);
    assert_int_equal(shm_session_at(fx->w.shm, session)->writing, 1);
    replace_and_recover(fx);
    assert_int_equal(the_answer(fx, UNIQUE, &out, sizeof(out)), 0);
    assert_int_equal(out.size, 5);
    assert_spool(fx, session, "hello");
    assert_int_equal(shm_session_at(fx->w.shm, session)->writing, 0);
    assert_int_equal(shm_session_at(fx->w.shm, session)->write_seq, 1);
    release(fx, fh, session);
}

/* A WRITE that must wait puts its bytes aside, and they are found there, by a replacement too. */
static void parked_write_is_finished(void **state)
{
    struct fx *fx = *state;
    uint64_t fh;
    uint32_t node, session = fx_session(fx, "f", &node);
    struct shm_session *s = store_session(fx->w.shm, session);
    struct fuse_write_in in = {.size = 5};
    struct fuse_write_out out;

    open_handle(fx, node, session, &fh);
    in.fh = fh;
    s->publish = (struct shm_job){.state = SHM_JOB_RUNNING, .owner = 0};
    op_dispatch(
        fx_op(fx, FUSE_WRITE, UNIQUE, shm_node_id(fx->w.shm, node), &in, sizeof(in), "hello", 5));
    no_answer(fx);
    assert_int_equal(fx_state(&fx->w.arena->current), SHM_RECORD_FREE);
    assert_int_equal(s->waiters, UINT32_C(1) << FX_SLOT);
    memset(shm_arena_read_area(fx->w.shm, FX_SLOT), 0, SHM_READ_HEAD + 64);
    replace_and_recover(fx);
    no_answer(fx); /* still */
    s->publish.state = SHM_JOB_IDLE;
    op_resume_all(&fx->w);
    assert_int_equal(the_answer(fx, UNIQUE, &out, sizeof(out)), 0);
    assert_spool(fx, session, "hello");
    release(fx, fh, session);
}

/* Killed when it had given its parked bytes up, without having written them: zeroes must not take
 * their place. */
static void parked_bytes_gone(void **state)
{
    struct fx *fx = *state;
    uint64_t fh;
    uint32_t node, session = fx_session(fx, "f", &node);
    struct shm_session *s = store_session(fx->w.shm, session);
    struct fuse_write_in in = {.size = 5};
    uint32_t record = op_next_record(&fx->w);

    open_handle(fx, node, session, &fh);
    in.fh = fh;
    s->publish = (struct shm_job){.state = SHM_JOB_RUNNING, .owner = 0};
    op_dispatch(
        fx_op(fx, FUSE_WRITE, UNIQUE, shm_node_id(fx->w.shm, node), &in, sizeof(in), "hello", 5));
    fx_record(fx, record)->parked_len = 0;
    s->publish.state = SHM_JOB_IDLE;
    replace_and_recover(fx);
    assert_int_equal(the_answer(fx, UNIQUE, NULL, 0), -EIO);
    assert_int_equal(s->size, 0);
    assert_int_equal(s->write_seq, 0);
    release(fx, fh, session);
}

/* truncate(2) by path, killed in the middle of the change: cut where it was to be cut, not emptied.
 * */
static void truncate_is_finished(void **state)
{
    struct fx *fx = *state;
    uint64_t fh;
    uint32_t node, session = fx_session(fx, "f", &node);
    struct shm_session *s = store_session(fx->w.shm, session);
    const struct fuse_setattr_in in = {.valid = FATTR_SIZE, .size = 3};
    struct fuse_attr_out out;
    struct op *op;

    open_handle(fx, node, session, &fh);
    assert_int_equal(spool_write(&fx->w, session, "hello", 5, 0), 0);
    s->size = 5;
    s->flags |= SHM_SESSION_ORPHAN; /* so that nothing is sent */
    op = fx_op(fx, FUSE_SETATTR, UNIQUE, shm_node_id(fx->w.shm, node), &in, sizeof(in), NULL, 0);
    assert_int_equal(op_keep(op), 0);
    op->rec->session = session;
    s->refs++;
    begin_change(op, session, 3);
    replace_and_recover(fx);
    assert_int_equal(the_answer(fx, UNIQUE, &out, sizeof(out)), 0);
    assert_int_equal(out.attr.size, 3);
    assert_spool(fx, session, "hel");
    assert_int_equal(s->refs, 1);
    assert_int_equal(s->writing, 0);
    release(fx, fh, session);
}

/* Whoever calls ftruncate from now on is killed by it. */
static void die_at_ftruncate(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_ftruncate, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof(code) / sizeof(code[0]), code};

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0)
        _exit(1);
}

static uint64_t fh_to_cut;

static void cut_and_die(struct fx *fx)
{
    const struct fuse_setattr_in in = {.valid = FATTR_SIZE | FATTR_FH, .size = 3, .fh = fh_to_cut};

    die_at_ftruncate();
    op_dispatch(
        fx_op(fx, FUSE_SETATTR, UNIQUE, shm_node_id(fx->w.shm, 1), &in, sizeof(in), NULL, 0));
}

/* Readers know of it before it is done: else they would find zeroes at the end of what was. */
static void killed_as_it_cuts(void **state)
{
    struct fx *fx = *state;
    uint32_t node, session = fx_session(fx, "f", &node);
    struct shm_session *s = store_session(fx->w.shm, session);
    struct fuse_attr_out out;

    assert_int_equal(node, 1);
    open_handle(fx, node, session, &fh_to_cut);
    assert_int_equal(spool_write(&fx->w, session, "hello", 5, 0), 0);
    s->size = 5;
    end_in_child(fx, cut_and_die);
    assert_int_equal(s->size, 3);
    assert_int_equal(s->cuts, 1);
    assert_int_equal(s->write_seq, 0);
    replace_and_recover(fx);
    assert_int_equal(the_answer(fx, UNIQUE, &out, sizeof(out)), 0);
    assert_int_equal(out.attr.size, 3);
    assert_spool(fx, session, "hel");
    assert_int_equal(s->cuts, 1);
    release(fx, fh_to_cut, session);
}

static void fail_at_once(struct op *op, int error)
{
    op_fail(op, error ? error : -EDOM);
}

/* An open that empties the file is alone with it. */
static void emptying_excludes_writes(void **state)
{
    struct fx *fx = *state;
    uint32_t node, session = fx_session(fx, "f", &node);
    struct shm_session *s = store_session(fx->w.shm, session);
    const struct fuse_open_in in = {.flags = 0};
    struct op *op, *other;

    assert_int_equal(spool_write(&fx->w, session, "hello", 5, 0), 0);
    s->size = 5;
    s->content = SHM_CONTENT_S3;
    op = fx_op(fx, FUSE_OPEN, UNIQUE, shm_node_id(fx->w.shm, node), &in, sizeof(in), NULL, 0);
    assert_int_equal(op_keep(op), 0);
    other = statfs_op(fx, UNIQUE + 2);
    assert_int_equal(op_keep(other), 0);
    s->content = SHM_CONTENT_EMPTYING;
    worker_lock(&fx->w);
    assert_false(session_change_begin(other, session, (struct session_range){0, 5}));
    worker_unlock(&fx->w);
    assert_int_equal(s->waiters, UINT32_C(1) << FX_SLOT);
    s->content = SHM_CONTENT_SPOOL;
    op_done(other);

    session_attach(op, node, true, fail_at_once);
    assert_int_equal(the_answer(fx, UNIQUE, NULL, 0), -EDOM);
    assert_spool(fx, session, "");
    assert_int_equal(s->content, SHM_CONTENT_SPOOL);
    assert_true(s->flags & SHM_SESSION_UNPUBLISHED);
    assert_int_equal(s->writing, 0);
    assert_int_equal(s->refs, 2); /* what `then` did not take is its matter */
    s->refs = 1;
    op_done(statfs_op(fx, UNIQUE + 4));
    worker_lock(&fx->w);
    assert_true(session_unref(&fx->w, session)); /* and gives up what nobody published */
    assert_int_equal(shm_node_find(fx->w.shm, SHM_ROOT, "f", 1), SHM_NIL);
    worker_unlock(&fx->w);
    session_clear(&fx->w, session);
}

/* ---- COPY_FILE_RANGE ---- */

#define COPIED_SIZE (UINT32_C(3) << 20)

/* A published file open for reading and an empty one open for writing, and the request for all of
 * it. */
struct copying {
    uint32_t source, target, session;
    struct fuse_copy_file_range_in in;
};

static void fx_copying(struct fx *fx, struct copying *c)
{
    struct shm_version v = {.size = COPIED_SIZE,
                            .etag = "\"e\"",
                            .mode = SHM_MODE_UNSET,
                            .uid = SHM_MODE_UNSET,
                            .gid = SHM_MODE_UNSET};
    int64_t node;

    *c = (struct copying){.in.len = COPIED_SIZE};
    worker_lock(&fx->w);
    node = shm_node_intern(fx->w.shm, SHM_ROOT, "a", 1, &v, 1);
    assert_true(node >= 0);
    c->source = (uint32_t)node;
    worker_unlock(&fx->w);
    c->session = fx_session(fx, "b", &c->target);
    open_handle(fx, c->source, SHM_NIL, &c->in.fh_in);
    open_handle(fx, c->target, c->session, &c->in.fh_out);
    c->in.nodeid_out = shm_node_id(fx->w.shm, c->target);
}

static struct op *copy_op(struct fx *fx, const struct copying *c)
{
    return fx_op(fx, FUSE_COPY_FILE_RANGE, UNIQUE, shm_node_id(fx->w.shm, c->source), &c->in,
                 sizeof(c->in), NULL, 0);
}

static void copying_done(struct fx *fx, struct copying *c)
{
    const struct fuse_release_in in = {.fh = c->in.fh_in};

    op_dispatch(fx_op(fx, FUSE_RELEASE, 1002, 1, &in, sizeof(in), NULL, 0));
    assert_int_equal(the_answer(fx, 1002, NULL, 0), 0);
    release(fx, c->in.fh_out, c->session);
}

static void assert_not_copied(struct fx *fx, const struct copying *c, int error)
{
    op_dispatch(copy_op(fx, c));
    assert_int_equal(the_answer(fx, UNIQUE, NULL, 0), error);
    assert_int_equal(shm_session_at(fx->w.shm, c->session)->write_seq, 0);
}

/* What is not for the server: the kernel goes on through the page cache. (What is, is sent.) */
static void copies_whole_files_alone(void **state)
{
    struct fx *fx = *state;
    struct copying good, c;

    fx_copying(fx, &good);
    c = good;
    c.in.off_in = 1;
    assert_not_copied(fx, &c, -EOPNOTSUPP);
    c = good;
    c.in.off_out = 1;
    assert_not_copied(fx, &c, -EOPNOTSUPP);
    c = good;
    c.in.len--;
    assert_not_copied(fx, &c, -EOPNOTSUPP);
    c = good;
    c.in.flags = 1;
    assert_not_copied(fx, &c, -EOPNOTSUPP);
    c = good;
    c.in.fh_in = 77777;
    assert_not_copied(fx, &c, -EBADF);
    c = good;
    c.in.fh_out = c.in.fh_in; /* not open for writing */
    assert_not_copied(fx, &c, -EBADF);
    copying_done(fx, &good);
}

static void copies_what_is_on_s3(void **state)
{
    struct fx *fx = *state;
    struct shm_node *n;
    struct copying c;

    fx_copying(fx, &c);
    n = store_node(fx->w.shm, c.source);
    n->size = 1000;
    assert_not_copied(fx, &c, -EOPNOTSUPP);
    n->size = UINT64_C(1) << 32; /* the answer has 32 bits */
    c.in.len = n->size;
    assert_not_copied(fx, &c, -EOPNOTSUPP);
    n->size = COPIED_SIZE;
    n->flags |= SHM_NODE_LOCAL;
    assert_not_copied(fx, &c, -EOPNOTSUPP);
    n->flags &= (uint16_t)~SHM_NODE_LOCAL;
    fx_set_variant(fx, CONF_S3_BUFFERED_CAS);
    assert_not_copied(fx, &c, -EOPNOTSUPP);
    fx_set_variant(fx, CONF_S3_BUFFERED_LWW);
    copying_done(fx, &c);
}

static void copies_into_empty_files(void **state)
{
    struct fx *fx = *state;
    struct shm_session *s;
    struct copying c;

    fx_copying(fx, &c);
    s = store_session(fx->w.shm, c.session);
    s->size = 1;
    assert_not_copied(fx, &c, -EOPNOTSUPP);
    s->size = 0;
    s->writing = 1;
    assert_not_copied(fx, &c, -EOPNOTSUPP);
    s->writing = 0;
    s->publish.state = SHM_JOB_RUNNING;
    assert_not_copied(fx, &c, -EOPNOTSUPP);
    s->publish.state = SHM_JOB_IDLE;
    s->write_error = -ENOSPC;
    assert_not_copied(fx, &c, -EOPNOTSUPP);
    s->write_error = 0;
    copying_done(fx, &c);
}

/* Jobs of the dead worker are ended, and what it was emptying is emptied. */
static void jobs_are_ended(void **state)
{
    struct fx *fx = *state;
    uint32_t node, mine = fx_session(fx, "mine", &node);
    uint32_t other = fx_session(fx, "other", &node), unused = fx_session(fx, "u", &node);
    struct shm *shm = fx->w.shm;
    struct shm_session *s = store_session(shm, mine);

    s->publish = (struct shm_job){SHM_JOB_RUNNING, FX_SLOT, 3, -EIO};
    store_session(shm, other)->load = (struct shm_job){.state = SHM_JOB_RUNNING};
    store_session(shm, other)->opening = (struct shm_job){SHM_JOB_RUNNING, FX_SLOT, 0, 0};
    worker_lock(&fx->w);
    store_session(shm, unused)->publish = (struct shm_job){SHM_JOB_RUNNING, FX_SLOT, 0, 0};
    assert_false(session_unref(&fx->w, unused)); /* the job uses it */
    worker_unlock(&fx->w);
    assert_int_equal(spool_write(&fx->w, unused, "x", 1, 0), 0);
    replace_and_recover(fx);
    assert_int_equal(s->publish.state, SHM_JOB_IDLE);
    assert_int_equal(s->publish.attempts, 4);
    assert_int_equal(s->publish.error, 0); /* whoever waits begins anew */
    assert_int_equal(shm_session_at(shm, other)->load.state, SHM_JOB_RUNNING);
    assert_int_equal(shm_session_at(shm, other)->opening.state, SHM_JOB_IDLE);
    assert_int_equal(shm_session_at(shm, unused)->state, SHM_SESSION_FREE);
    assert_int_equal(lseek(fx->env.spool[unused].mem_fd, 0, SEEK_END), 0);
    store_session(shm, other)->load.state = SHM_JOB_IDLE;
}

/* One that crashed too often is answered EIO, and holds nothing any more. */
static void crashed_too_often(void **state)
{
    struct fx *fx = *state;
    uint64_t fh;
    uint32_t node, session = fx_session(fx, "f", &node);
    struct shm_session *s = store_session(fx->w.shm, session);
    struct fuse_write_in in = {.size = 5};
    struct op *op;

    open_handle(fx, node, session, &fh);
    in.fh = fh;
    op = fx_op(fx, FUSE_WRITE, UNIQUE, shm_node_id(fx->w.shm, node), &in, sizeof(in), "hello", 5);
    begin_change(op, session, 5);
    op->rec->crashes = 2;
    replace_and_recover(fx);
    assert_int_equal(the_answer(fx, UNIQUE, NULL, 0), -EIO);
    assert_int_equal(s->writing, 0);
    assert_int_equal(s->write_error, -EIO); /* half of it may be in the spool */

    op = fx_op(fx, FUSE_UNLINK, UNIQUE, 1, NULL, 0, "f", 2);
    assert_int_equal(op_keep(op), 0);
    worker_lock(&fx->w);
    assert_true(hold_take(op, node));
    op_edit(op)->node = node;
    worker_unlock(&fx->w);
    op->rec->crashes = 2;
    replace_and_recover(fx);
    assert_int_equal(the_answer(fx, UNIQUE, NULL, 0), -EIO);
    assert_int_equal(shm_node_at(fx->w.shm, node)->busy, 0);
    release(fx, fh, session);
}

/* The close of a file: its locks end, though its bytes may be what cannot be published. */
static void a_flush_that_crashed_too_often(void **state)
{
    struct fx *fx = *state;
    uint64_t fh;
    uint32_t wake, node, session = fx_session(fx, "f", &node);
    uint32_t handle = open_handle(fx, node, session, &fh);
    struct shm_flock lock = {.owner = 7, .end = 9, .handle = handle, .type = SHM_FLOCK_WRITE};
    struct fuse_flush_in in = {.fh = fh, .lock_owner = 7};
    struct op *op;

    worker_lock(&fx->w);
    assert_int_equal(shm_flock_set(fx->w.shm, node, &lock, &wake), 0);
    worker_unlock(&fx->w);
    store_session(fx->w.shm, session)->flags |= SHM_SESSION_UNPUBLISHED;
    op = fx_op(fx, FUSE_FLUSH, UNIQUE, shm_node_id(fx->w.shm, node), &in, sizeof(in), NULL, 0);
    op->rec->crashes = 2;
    replace_and_recover(fx);
    assert_int_equal(the_answer(fx, UNIQUE, NULL, 0), -EIO);
    assert_int_equal(fx->w.shm->flocks->live, 0);
    release(fx, fh, session);
}

/* Handled once more, when what was in flight with it has been answered. Then it frees what it has
 * to free, and publishes nothing. */
static void a_release_that_crashed_too_often(void **state)
{
    struct fx *fx = *state;
    struct fuse_release_in in = {0};

    for (uint32_t crashes = 2; crashes <= 3; crashes++) {
        uint32_t node, session = fx_session(fx, crashes == 2 ? "f" : "g", &node);
        struct op *op;

        open_handle(fx, node, session, &in.fh);
        if (crashes == 3)
            store_session(fx->w.shm, session)->flags |= SHM_SESSION_UNPUBLISHED;
        op = fx_op(fx, FUSE_RELEASE, UNIQUE, 1, &in, sizeof(in), NULL, 0);
        op->rec->crashes = crashes;
        replace_and_recover(fx);
        assert_int_equal(the_answer(fx, UNIQUE, NULL, 0), 0);
        assert_int_equal(shm_session_at(fx->w.shm, session)->state, SHM_SESSION_FREE);
        assert_int_equal(fx->w.shm->handles->live, 0);
        assert_int_equal(fx->w.stats->count[SHM_STAT_DISCARDED], crashes == 3);
    }
    all_free(fx);
}

/* It does not go on for ever. */
static void a_release_that_crashes_whatever_is_done(void **state)
{
    struct fx *fx = *state;
    struct fuse_release_in in = {0};
    uint32_t node, session = fx_session(fx, "f", &node);
    struct op *op;

    open_handle(fx, node, session, &in.fh);
    op = fx_op(fx, FUSE_RELEASE, UNIQUE, 1, &in, sizeof(in), NULL, 0);
    op->rec->crashes = 4;
    replace_and_recover(fx);
    assert_int_equal(the_answer(fx, UNIQUE, NULL, 0), -EIO);
    assert_int_equal(fx->w.shm->handles->live, 1);
    release(fx, in.fh, session);
}

static void a_forget_that_crashed_too_often(void **state)
{
    struct fx *fx = *state;
    struct fuse_forget_in in = {.nlookup = 1};
    struct fuse_entry_out out;

    op_dispatch(mkdir_op(fx, UNIQUE, "d"));
    assert_int_equal(the_answer(fx, UNIQUE, &out, sizeof(out)), 0);
    fx_op(fx, FUSE_FORGET, UNIQUE + 2, out.nodeid, &in, sizeof(in), NULL, 0)->rec->crashes = 2;
    replace_and_recover(fx);
    no_answer(fx);
    assert_int_equal(lookups(fx, "d"), 0);
    fx_op(fx, FUSE_FORGET, UNIQUE + 2, out.nodeid, &in, sizeof(in), NULL, 0)->rec->crashes = 3;
    replace_and_recover(fx);
    no_answer(fx);
    all_free(fx);
}

static void a_closed_directory_that_crashed_too_often(void **state)
{
    struct fx *fx = *state;
    const struct fuse_open_in in = {.flags = 0};
    struct fuse_release_in end = {0};
    struct fuse_open_out out;

    op_dispatch(fx_op(fx, FUSE_OPENDIR, UNIQUE, 1, &in, sizeof(in), NULL, 0));
    assert_int_equal(the_answer(fx, UNIQUE, &out, sizeof(out)), 0);
    end.fh = out.fh;
    fx_op(fx, FUSE_RELEASEDIR, UNIQUE, 1, &end, sizeof(end), NULL, 0)->rec->crashes = 2;
    replace_and_recover(fx);
    assert_int_equal(the_answer(fx, UNIQUE, NULL, 0), 0);
    assert_int_equal(fx->w.shm->handles->live, 0);
    all_free(fx);
}

/* A crash is that of the request, also in the section that would have ended it. */
static void what_crashes_as_it_applies_is_blamed(void **state)
{
    struct fx *fx = *state;

    end_in_child(fx, apply_and_die);
    fx->w.arena->crashed = 1; /* as the supervisor notes it */
    fx_replace(fx);
    end_in_child(fx, apply_and_die); /* before it had a look */
    fx->w.arena->crashed++;
    replace_and_recover(fx);
    assert_int_equal(the_answer(fx, UNIQUE, NULL, 0), -EIO);
    assert_int_equal(fx->w.arena->crashed, 0);
    assert_int_equal(lookups(fx, "d"), 0);
    all_free(fx);
}

/* Draining refuses what is new, not what a predecessor began. */
static void unlink_goes_on_while_draining(void **state)
{
    struct fx *fx = *state;
    uint64_t fh;
    uint32_t node, session = fx_session(fx, "f", &node);
    struct op *op;

    open_handle(fx, node, session, &fh);
    fx->w.shm->header->draining = 1;
    op_dispatch(fx_op(fx, FUSE_UNLINK, UNIQUE, 1, NULL, 0, "f", 2));
    assert_int_equal(the_answer(fx, UNIQUE, NULL, 0), -ESHUTDOWN);

    op = fx_op(fx, FUSE_UNLINK, UNIQUE, 1, NULL, 0, "f", 2);
    assert_int_equal(op_keep(op), 0);
    worker_lock(&fx->w);
    assert_true(hold_take(op, node));
    op_edit(op)->node = node;
    worker_unlock(&fx->w);
    replace_and_recover(fx);
    assert_int_equal(the_answer(fx, UNIQUE, NULL, 0), 0);
    assert_int_equal(shm_node_at(fx->w.shm, node)->busy, 0);
    assert_true(shm_session_at(fx->w.shm, session)->flags & SHM_SESSION_ORPHAN);
    release(fx, fh, session);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, fx_setup, fx_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(answers_at_once),
        TEST(keeps),
        TEST(applied_is_sent_once),
        TEST(a_name_too_long_to_keep),
        TEST(a_long_name_is_kept),
        TEST(records_run_out),
        TEST(waits_and_is_interrupted),
        TEST(what_stays_is_not_interrupted),
        TEST(interrupt_moves_along),
        TEST(interrupt_finds_its_request),
        TEST(killed_before_the_kernel_gave_anything),
        TEST(killed_after_reading),
        TEST(killed_in_the_handler),
        TEST(killed_after_applying),
        TEST(killed_after_applying_at_once),
        TEST(killed_as_it_fails),
        TEST(killed_as_it_applies),
        TEST(killed_as_it_forgets),
        TEST(malformed_is_answered),
        TEST(kept_is_handled_again),
        TEST(doubled_counts_once),
        TEST(doubled_and_killed_again),
        TEST(both_are_handled),
        TEST(answer_in_the_arena),
        TEST(counted_lookups_are_taken_back),
        TEST(write_is_finished),
        TEST(parked_write_is_finished),
        TEST(parked_bytes_gone),
        TEST(truncate_is_finished),
        TEST(killed_as_it_cuts),
        TEST(emptying_excludes_writes),
        TEST(copies_whole_files_alone),
        TEST(copies_what_is_on_s3),
        TEST(copies_into_empty_files),
        TEST(jobs_are_ended),
        TEST(crashed_too_often),
        TEST(a_flush_that_crashed_too_often),
        TEST(a_release_that_crashed_too_often),
        TEST(a_release_that_crashes_whatever_is_done),
        TEST(a_forget_that_crashed_too_often),
        TEST(a_closed_directory_that_crashed_too_often),
        TEST(what_crashes_as_it_applies_is_blamed),
        TEST(unlink_goes_on_while_draining),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
