/* Death at each instruction: see crash.h. */
#include "tests/shm/crash.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "shm/shm_block.h"
#include "shm/shm_handle.h"
#include "shm/shm_journal.h"
#include "shm/shm_notify.h"
#include "shm/shm_session.h"
#include "shm/shm_upload.h"

/* Deaths for real, of an operation that is not killed for real everywhere. The way to each is
 * stepped anew: eight take four times as long as all the states (STATEPROXY_TEST_FULL=1). */
#define REAL_KILLS 2
#define REAL_KILLS_FULL 8
#define STEPS_MAX 200000

/* Small, so that it can be copied and compared thousands of times. */
static const struct shm_sizes crash_sizes = {
    .workers = 1,
    .nodes = 64,
    .long_names = 8,
    .longest_names = 8,
    .handles = 8,
    .sessions = 4,
    .records = 2,
    .blocks = 8,
    .baselines = 32,
    .payload = SHM_PAYLOAD_MIN,
};

/* ---- states ---- */

/* The bytes that count: all tables, but not locks, nor payloads (written without one). */
struct range {
    size_t off, len;
};

#define RANGES (SHM_TABLES + 1)

static struct range table(const struct shm_header *h, enum shm_table i, size_t skip)
{
    return (struct range){h->table_off[i] + skip, h->table_len[i] - skip};
}

static void get_ranges(const struct shm *shm, struct range r[RANGES])
{
    const struct shm_header *h = shm->header;
    struct shm_arena *a = shm_arena_of((struct shm *)shm, 0);

    for (int i = 0; i < SHM_TABLES; i++)
        r[i] = table(h, i, 0);
    r[SHM_TABLE_META_LOCK].len = 0;
    r[SHM_TABLE_BLOCK_DATA].len = 0;
    r[SHM_TABLE_UPLOAD].len = offsetof(struct shm_upload, part[8]); /* of the first session */
    r[SHM_TABLE_NOTIFY].len = offsetof(struct shm_notify_ring, slot[8]);
    r[SHM_TABLE_BLOCK] = table(h, SHM_TABLE_BLOCK, sizeof(struct shm_mutex));
    r[SHM_TABLE_ARENA] =
        (struct range){(size_t)((uint8_t *)a - shm->base), offsetof(struct shm_arena, reply)};
    r[SHM_TABLES] = (struct range){(size_t)((uint8_t *)(a + 1) - shm->base),
                                   h->sizes.records * sizeof(struct shm_record)};
}

/* A state of the tables and of the log of one lock. */
struct state {
    uint8_t *bytes; /* as large as the segment; only the ranges are filled */
    uint32_t log_used;
    uint8_t log[SHM_UNDO_MAX];
};

static struct shm_mutex *lock_of(const struct crash_op *op, struct shm *shm)
{
    return op->block_lock ? &shm->blocks->lock : shm->meta;
}

static void state_take(struct state *s, const struct crash_op *op, struct shm *shm)
{
    const struct shm_mutex *m = lock_of(op, shm);
    struct range r[RANGES];

    if (!s->bytes)
        s->bytes = calloc(1, shm->size);
    assert_non_null(s->bytes);
    get_ranges(shm, r);
    for (int i = 0; i < RANGES; i++)
        memcpy(s->bytes + r[i].off, shm->base + r[i].off, r[i].len);
    s->log_used = m->log_used;
    memcpy(s->log, m->log, m->log_used);
}

static bool state_changed(const struct state *s, const struct crash_op *op, struct shm *shm)
{
    struct range r[RANGES];

    if (lock_of(op, shm)->log_used != s->log_used)
        return true;
    get_ranges(shm, r);
    for (int i = 0; i < RANGES; i++) {
        if (memcmp(s->bytes + r[i].off, shm->base + r[i].off, r[i].len) != 0)
            return true;
    }
    return false;
}

static void state_free(struct state *s)
{
    free(s->bytes);
    s->bytes = NULL;
}

/* What is changed without being saved, on purpose: how much blocks were used, and where a search
 * stopped. Copied from one image of the segment to another, to leave it out. */
static void copy_unsaved(struct shm *shm, uint8_t *to, const uint8_t *from)
{
    const struct shm_header *h = shm->header;
    size_t names = h->table_off[SHM_TABLE_NODE] + offsetof(struct shm_node_table, names);
    size_t block = h->table_off[SHM_TABLE_BLOCK] + h->table_len[SHM_TABLE_BLOCK] -
                   h->sizes.blocks * sizeof(struct shm_block);

    for (int i = 0; i < SHM_NAME_POOLS; i++) {
        size_t hand =
            names + i * sizeof(struct shm_name_pool) + offsetof(struct shm_name_pool, hand);

        memcpy(to + hand, from + hand, sizeof(uint32_t));
    }
    for (uint32_t i = 0; i < h->sizes.blocks; i++) {
        size_t used = block + i * sizeof(struct shm_block) + offsetof(struct shm_block, used);

        to[used] = from[used];
    }
}

/* Offset of the first byte in which the tables differ from the state, 0 if there is none. */
static size_t first_difference(const struct state *s, struct shm *shm)
{
    static struct state now; /* kept: all segments here are of one size, and its pages are costly */
    const struct crash_op any = {0};
    struct range r[RANGES];
    size_t found = 0;

    state_take(&now, &any, shm);
    copy_unsaved(shm, now.bytes, s->bytes);
    get_ranges(shm, r);
    for (int i = 0; i < RANGES && !found; i++) {
        size_t at = r[i].off, end = at + r[i].len;

        if (memcmp(now.bytes + at, s->bytes + at, r[i].len) == 0)
            continue;
        while (at < end && now.bytes[at] == s->bytes[at])
            at++;
        found = at;
    }
    return found;
}

/* Makes a process that has the lock, brings the tables and the log into this state, and dies. */
static void die_in(const struct state *s, const struct crash_op *op, struct shm *shm)
{
    struct shm_mutex *m = lock_of(op, shm);
    pid_t pid = fork();
    int status;

    assert_true(pid >= 0);
    if (pid == 0) {
        struct range r[RANGES];

        shm_lock(shm, m);
        get_ranges(shm, r);
        for (int i = 0; i < RANGES; i++)
            memcpy(shm->base + r[i].off, s->bytes + r[i].off, r[i].len);
        memcpy(m->log, s->log, s->log_used);
        m->log_used = s->log_used;
        kill(getpid(), SIGKILL);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
}

static void give_lock_once(const struct crash_op *op, struct shm *shm)
{
    shm_lock(shm, lock_of(op, shm));
    shm_unlock(shm, lock_of(op, shm));
}

/* ---- one operation under test ---- */

struct trial {
    const struct crash_op *op;
    struct shm *shm, *copy;
    struct state start;  /* what prepare() left, a dead owner's log included */
    struct state before; /* the same, rolled back */
    struct state after;
    bool changes; /* before and after differ */
};

/* Back to what prepare() left. */
static void start_anew(struct trial *t)
{
    die_in(&t->start, t->op, t->shm);
    if (!t->start.log_used)
        give_lock_once(t->op, t->shm);
}

static void trial_init(struct trial *t, const struct crash_op *op)
{
    *t = (struct trial){.op = op, .shm = fx_new(&crash_sizes), .copy = fx_new(&crash_sizes)};
    op->prepare(t->shm);
    /* The copy has the same hash key, the same tables. Nobody holds a lock of it. */
    memcpy(&t->copy->header->hash_key, &t->shm->header->hash_key,
           sizeof(t->copy->header->hash_key));
    state_take(&t->start, op, t->shm);
    die_in(&t->start, op, t->copy);
    give_lock_once(op, t->copy);
    state_take(&t->before, op, t->copy);
    op->run(t->shm); /* also so that all symbols are resolved */
    fx_check(t->shm);
    state_take(&t->after, op, t->shm);
    assert_int_equal(t->after.log_used, 0);
    t->changes = first_difference(&t->after, t->copy);
    start_anew(t);
}

static void trial_done(struct trial *t)
{
    state_free(&t->start);
    state_free(&t->before);
    state_free(&t->after);
    shm_close(t->shm);
    shm_close(t->copy);
}

/* A process has died, `at` instructions into the operation on shm. */
static void look_after_death(struct trial *t, struct shm *shm, unsigned at)
{
    size_t before, after;

    give_lock_once(t->op, shm);
    assert_int_equal(lock_of(t->op, shm)->log_used, 0);
    fx_check(shm);
    before = first_difference(&t->before, shm);
    after = first_difference(&t->after, shm);
    if (before && after && !t->op->many_sections)
        fail_msg("%s: killed after %u instructions: neither before (offset %zu) "
                 "nor after (offset %zu)",
                 t->op->name, at, before, after);
    if (!after)
        return;
    copy_unsaved(shm, shm->base, t->before.bytes);
    t->op->run(shm); /* work goes on */
    fx_check(shm);
    after = first_difference(&t->after, shm);
    if (after)
        fail_msg("%s: killed after %u instructions and run again: differs at %zu", t->op->name, at,
                 after);
}

/* ---- stepping ---- */

static pid_t start_traced(struct trial *t)
{
    pid_t pid = fork();
    int status;

    assert_true(pid >= 0);
    if (pid == 0) {
        if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0)
            _exit(1);
        raise(SIGSTOP);
        t->op->run(t->shm);
        raise(SIGSTOP);
        _exit(1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP);
    return pid;
}

/* One instruction. False after the last of the operation. */
static bool step(pid_t pid)
{
    int status;

    assert_int_equal(ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSTOPPED(status));
    if (WSTOPSIG(status) == SIGSTOP)
        return false;
    assert_int_equal(WSTOPSIG(status), SIGTRAP);
    return true;
}

static void kill_and_wait(pid_t pid)
{
    int status;

    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

/* All states that the operation goes through, each died in on the copy. */
static void step_through(struct trial *t, struct crash_count *ret)
{
    static struct state now;
    pid_t pid = start_traced(t);
    bool committed = false;

    state_take(&now, t->op, t->shm);
    while (step(pid)) {
        uint64_t deaths = lock_of(t->op, t->copy)->owner_deaths;
        bool is_after;

        if (++ret->instructions > STEPS_MAX)
            fail_msg("%s does not end", t->op->name);
        if (!state_changed(&now, t->op, t->shm))
            continue;
        state_take(&now, t->op, t->shm);
        die_in(&now, t->op, t->copy);
        is_after = now.log_used == 0 && !first_difference(&t->after, t->copy);
        committed |= is_after;
        if (committed && t->changes && !t->op->many_sections)
            assert_true(is_after); /* no way back */
        look_after_death(t, t->copy, ret->instructions);
        assert_int_equal(lock_of(t->op, t->copy)->owner_deaths, deaths + 1);
        ret->states++;
    }
    state_free(&now);
    kill_and_wait(pid);
    assert_int_equal(first_difference(&t->after, t->shm), 0);
    fx_check(t->shm);
    start_anew(t);
}

static void kill_at(struct trial *t, unsigned at)
{
    pid_t pid = start_traced(t);

    for (unsigned i = 0; i < at && step(pid); i++)
        ;
    kill_and_wait(pid);
    look_after_death(t, t->shm, at);
    start_anew(t);
}

/* Stepping is twice as fast when both sides share a processor. */
static cpu_set_t pin(void)
{
    cpu_set_t all, one;

    CPU_ZERO(&all);
    sched_getaffinity(0, sizeof(all), &all);
    CPU_ZERO(&one);
    for (int cpu = 0; cpu < CPU_SETSIZE && CPU_COUNT(&one) == 0; cpu++) {
        if (CPU_ISSET(cpu, &all))
            CPU_SET(cpu, &one);
    }
    sched_setaffinity(0, sizeof(one), &one);
    return all;
}

static unsigned real_kills(void)
{
    return getenv("STATEPROXY_TEST_FULL") ? REAL_KILLS_FULL : REAL_KILLS;
}

void crash_at_each_instruction(const struct crash_op *op, uint64_t *seed, struct crash_count *ret)
{
    cpu_set_t cpus = pin();
    struct trial t;
    unsigned kills;

    *ret = (struct crash_count){0};
    trial_init(&t, op);
    step_through(&t, ret);
    if (fx_under_asan())
        kills = 0; /* its code is four times as long, and its locks are the same */
    else
        kills = op->every_kill ? ret->instructions : real_kills();
    for (unsigned i = 0; i < kills; i++) {
        unsigned part = ret->instructions / kills;

        kill_at(&t, i * part + (part > 1 ? fx_below(seed, part) : 0));
        ret->kills++;
    }
    trial_done(&t);
    sched_setaffinity(0, sizeof(cpus), &cpus);
}

bool crash_can_step(void)
{
    pid_t pid;
    int status;
    bool can;

    if (fx_under_valgrind())
        return false;
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0)
            _exit(1);
        raise(SIGSTOP);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (!WIFSTOPPED(status))
        return false;
    can = ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL) == 0;
    if (can)
        can = waitpid(pid, &status, 0) == pid && WIFSTOPPED(status) && WSTOPSIG(status) == SIGTRAP;
    kill(pid, SIGKILL);
    waitpid(pid, &status, 0);
    return can;
}

/* ---- without ptrace ---- */

void crash_at_random(const struct crash_op *op, uint64_t *seed, struct crash_count *ret)
{
    struct trial t;

    *ret = (struct crash_count){0};
    trial_init(&t, op);
    for (; ret->kills < REAL_KILLS_FULL; ret->kills++) {
        const struct timespec pause = {.tv_nsec = fx_below(seed, 200000)};
        pid_t pid = fork();
        int status;

        assert_true(pid >= 0);
        if (pid == 0) {
            op->run(t.shm);
            _exit(0);
        }
        nanosleep(&pause, NULL);
        kill(pid, SIGKILL);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        look_after_death(&t, t.shm, 0);
        start_anew(&t);
    }
    trial_done(&t);
}

void crash_all(const struct crash_op *ops, size_t n)
{
    uint64_t seed = fx_seed();

    for (size_t i = 0; i < n; i++) {
        struct crash_count count;

        if (crash_can_step())
            crash_at_each_instruction(&ops[i], &seed, &count);
        else
            crash_at_random(&ops[i], &seed, &count);
        assert_true(!crash_can_step() || count.states > 3);
    }
}
