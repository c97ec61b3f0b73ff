/* The life of an op: journal states, keeping, replies, waking, interrupts. The operations are in
 * op_*.c; channel.c reads requests; recover.c takes them over. */
#include "workers/op/op.h"

#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/clock.h"
#include "base/log.h"
#include "workers/op/proc.h"

#define RESERVE_SHARE 8 /* one record in this many is reserved */

static uint32_t current_idx(const struct worker *w)
{
    return w->shm->header->sizes.records;
}

static struct shm_record *record_at(struct worker *w, uint32_t idx)
{
    return idx == current_idx(w) ? &w->arena->current : shm_arena_record(w->shm, w->slot, idx);
}

bool op_is_current(const struct op *op)
{
    return op->rec_idx == current_idx(op->w);
}

static void set_state(struct shm_record *rec, enum shm_record_state state)
{
    atomic_store_explicit(&rec->state, state, memory_order_release);
}

/* Frees the op's slot, and pushes its record back to the stack. */
static void op_free_now(struct op *op)
{
    struct worker *w = op->w;

    if (op->s3)
        s3_cancel(op->s3);
    if (op->state && op->state_free)
        op->state_free(op->state);
    if (!op_is_current(op))
        w->free_records[w->n_free_records++] = op->rec_idx;
    *op = (struct op){0};
    w->free_ops[w->n_free_ops++] = op;
}

/* Requests of the kernel; those of the connector are counted where their answer is sent. */
static void count_end(const struct op *op, int error)
{
    const struct shm_record *rec = op->rec;

    if (rec->opcode < SHM_STATS_FUSE_OPS)
        shm_timing_add(&op->w->stats->fuse_ended[rec->opcode], clock_mono_ns() - rec->started_ns,
                       shm_outcome_of(error));
}

/* Counted before it is sent: whoever has the answer finds it in the metrics. */
static void count_and_send(struct op *op, int error, const struct iovec *iov, unsigned n)
{
    count_end(op, error);
    op->front->send(op, error, iov, n);
}

static void op_end(struct op *op)
{
    struct shm_record *rec = op->rec;

    op_free_now(op);
    set_state(rec, SHM_RECORD_FREE);
}

/* Stored before it is sent, as in op_applied: a request that has got its reply must not be handled
 * again. By then the missing name may exist, and a second reply would count a lookup, or change
 * something, without the kernel's knowledge. */
void op_fail(struct op *op, int error)
{
    op->rec->reply_error = error;
    op->rec->reply_len = 0;
    set_state(op->rec, SHM_RECORD_APPLIED);
    op_finish(op);
}

/* Read-only requests: safe to replay after a crash, so their reply is not journaled. */
void op_answer_iov(struct op *op, const struct iovec *iov, unsigned n)
{
    count_and_send(op, 0, iov, n);
    op_end(op);
}

void op_answer(struct op *op, const void *data, size_t len)
{
    const struct iovec iov = {(void *)data, len};

    op_answer_iov(op, &iov, 1);
}

void op_done(struct op *op)
{
    count_end(op, 0);
    op_end(op);
}

struct shm_record *op_edit(struct op *op)
{
    const size_t from = offsetof(struct shm_record, change);

    /* Without what does not change, what others store without the lock (interrupted), and
     * the progress, which op_progress() saves. */
    shm_save(op->w->shm, op->w->shm->meta, (uint8_t *)op->rec + from,
             offsetof(struct shm_record, request) - from);
    return op->rec;
}

/* Under shm->meta. Undone with the section. */
static void store_applied(struct op *op)
{
    shm_save(op->w->shm, op->w->shm->meta, (void *)&op->rec->state, sizeof(op->rec->state));
    set_state(op->rec, SHM_RECORD_APPLIED);
}

union shm_progress *op_progress(struct op *op)
{
    shm_save(op->w->shm, op->w->shm->meta, &op->rec->progress, sizeof(op->rec->progress));
    return &op->rec->progress;
}

void op_applied(struct op *op, int error, const void *data, size_t len)
{
    struct shm_record *rec = op_edit(op);

    assert(len <= SHM_RECORD_REPLY);
    if (error == 0 && rec->told)
        op->front->not_told(op, data, len);
    rec->reply_error = error;
    rec->reply_len = (uint32_t)len;
    if (len)
        memcpy(rec->reply, data, len);
    store_applied(op);
}

void op_applied_in_arena(struct op *op, size_t len)
{
    struct worker *w = op->w;
    struct shm_record *rec = op_edit(op);

    assert(len <= SHM_REPLY_MAX);
    shm_set(w->shm, w->shm->meta, w->arena->reply_len, (uint32_t)len);
    shm_set(w->shm, w->shm->meta, w->arena->counted_n, 0);
    rec->reply_error = 0;
    rec->reply_len = SHM_REPLY_IN_ARENA;
    store_applied(op);
}

void op_finish(struct op *op)
{
    struct shm_record *rec = op->rec;
    bool arena = rec->reply_len == SHM_REPLY_IN_ARENA;
    struct iovec iov = {.iov_base = arena ? op->w->arena->reply : rec->reply,
                        .iov_len = arena ? op->w->arena->reply_len : rec->reply_len};

    if (rec->told) /* the late reply may not have been sent yet, and no other may be sent */
        count_and_send(op, op->front->late_error(op), NULL, 0);
    else
        count_and_send(op, rec->reply_error, &iov, rec->reply_error || !iov.iov_len ? 0 : 1);
    op_end(op);
}

/* ---- keeping ---- */

/* The record is complete before it becomes IN_FLIGHT, and only then is the read area released. A
 * worker killed in between leaves both; recover.c recognises them by their equal `unique`. */
static void move_to_record(struct op *op, uint32_t idx, size_t len)
{
    struct worker *w = op->w;
    struct shm_record *from = op->rec, *to = record_at(w, idx);
    size_t fixed = offsetof(struct shm_record, request);

    memcpy((uint8_t *)to + sizeof(to->state), (uint8_t *)from + sizeof(from->state),
           fixed - sizeof(to->state));
    to->request_len = (uint32_t)len;
    memset(&to->progress, 0, sizeof(to->progress));
    set_state(to, SHM_RECORD_IN_FLIGHT);
    atomic_store(&from->state, SHM_RECORD_FREE);
    /* An interrupt that arrived in the read area during the copy. A later one finds the area free:
     * op_interrupt.c. */
    if (atomic_load(&from->interrupted))
        atomic_store(&to->interrupted, 1);
}

/* Some records are reserved for RELEASE: the kernel does not repeat it, so unpublished content
 * would be lost with it. The kernel sends few at a time (max_background). */
static uint32_t record_but(const struct worker *w, uint32_t reserve)
{
    return w->n_free_records > reserve ? w->free_records[w->n_free_records - 1] : SHM_NIL;
}

uint32_t op_next_record(const struct worker *w)
{
    return record_but(w, current_idx(w) / RESERVE_SHARE);
}

/* Copies the request to the record, or beside it. Its size, 0 if none that waits is as long. */
static size_t save_request(struct op *op, uint32_t idx)
{
    struct worker *w = op->w;
    size_t len = op->front->save(op, record_at(w, idx)->request, SHM_RECORD_REQUEST);

    if (!len)
        len = op->front->save(op, shm_arena_request(w->shm, w->slot, idx, SHM_REQUEST_MAX),
                              SHM_REQUEST_MAX);
    return len;
}

int op_keep(struct op *op)
{
    struct worker *w = op->w;
    struct shm_record *rec;
    uint32_t idx;
    size_t len;

    if (!op_is_current(op))
        return 0;
    idx = op->reserved ? record_but(w, 0) : op_next_record(w);
    if (idx == SHM_NIL) {
        worker_count(w, SHM_STAT_OVERLOAD, 1);
        op_fail(op, -ENOMEM);
        return -ENOMEM;
    }
    rec = record_at(w, idx);
    len = save_request(op, idx);
    if (!len) {
        op_fail(op, -ENAMETOOLONG);
        return -ENOMEM;
    }
    w->n_free_records--;
    move_to_record(op, idx, len);
    op->rec = rec;
    op->rec_idx = idx;
    /* Names and arguments are there now. */
    op->front->load(op, shm_arena_request(w->shm, w->slot, idx, len), len);
    return 0;
}

uint32_t op_tag(const struct op *op)
{
    assert(!op_is_current(op));
    return shm_record_tag(op->w->slot, op->rec_idx);
}

static void set_aside(struct op *op, size_t len)
{
    worker_lock(op->w);
    op_edit(op)->aside_len = (uint32_t)len;
    worker_unlock(op->w);
}

bool op_put_aside(struct op *op, const void *data, size_t len)
{
    struct worker *w = op->w;

    assert(!op_is_current(op));
    if (len > SHM_REQUEST_MAX || op->rec->request_len > SHM_RECORD_REQUEST)
        return false;
    set_aside(op, 0);
    if (len) {
        memcpy(shm_arena_beside(w->shm, w->slot, op->rec_idx), data, len);
        set_aside(op, len);
    }
    return true;
}

const void *op_aside(const struct op *op, size_t *ret_len)
{
    *ret_len = op->rec->aside_len;
    return *ret_len ? shm_arena_beside(op->w->shm, op->w->slot, op->rec_idx) : NULL;
}

uint32_t op_node(const struct op *op)
{
    return shm_node_of_id(op->w->shm, op->rec->node_id);
}

/* ---- beginning ---- */

struct op *op_new(struct worker *w, const struct op_front *front, uint32_t rec_idx)
{
    struct op *op = w->free_ops[--w->n_free_ops];

    *op = (struct op){.front = front, .w = w, .rec = record_at(w, rec_idx), .rec_idx = rec_idx};
    return op;
}

struct op *op_new_kept(struct worker *w, const struct op_front *front, uint32_t opcode)
{
    static uint64_t last; /* of this worker; apart from the numbers of the kernel */
    uint32_t idx = op_next_record(w);
    struct shm_record *rec;
    struct op *op;

    if (idx == SHM_NIL) {
        worker_count(w, SHM_STAT_OVERLOAD, 1);
        return NULL;
    }
    w->n_free_records--;
    rec = record_at(w, idx);
    rec->crashes = 0;
    rec->request_len = 0;
    memset(&rec->progress, 0, sizeof(rec->progress));
    atomic_store(&rec->state, SHM_RECORD_READING);
    op = op_new(w, front, idx);
    op->untimed = true;
    op_note(op, UINT64_C(1) << 63 | ++last, opcode, 0);
    return op;
}

void op_note(struct op *op, uint64_t unique, uint32_t opcode, uint64_t node_id)
{
    struct shm_record *rec = op->rec;

    rec->unique = unique;
    rec->opcode = opcode;
    rec->node_id = node_id;
    if (atomic_load(&rec->state) != SHM_RECORD_READING)
        return;
    rec->started_ns = clock_mono_ns();
    rec->change = SHM_CHANGE_NONE;
    rec->batch_done = rec->aside_len = 0;
    rec->target = rec->session = rec->node = SHM_NIL;
    rec->parked_len = 0;
    rec->told = rec->entered = 0;
    atomic_store(&rec->interrupted, 0);
    set_state(rec, SHM_RECORD_IN_FLIGHT);
}

/* ---- waiting ---- */

void op_wait(struct op *op, void (*resume)(struct op *op))
{
    assert(!op_is_current(op));
    op->resume = resume;
    op->waiting = true;
}

void op_stop_waiting(struct op *op)
{
    op->waiting = false;
}

/* `resume` may end this op and others, but creates none: so walking the array is safe. */
void op_resume_all(struct worker *w)
{
    for (uint32_t i = 0; i <= current_idx(w); i++) {
        if (w->ops[i]->w && w->ops[i]->waiting)
            w->ops[i]->resume(w->ops[i]);
    }
}

static void op_abandon(struct op *op, int error)
{
    op_stop_waiting(op);
    (op->abandon ? op->abandon : op_fail)(op, error);
}

/* The kernel sends one INTERRUPT, at the first signal, whether that is deadly or not. A signal that
 * the caller survives does not end a file operation (Go programs get such signals all the time). A
 * later deadly signal is noticed because this also runs once a second. */
void op_interrupts(struct worker *w)
{
    for (uint32_t i = 0; i <= current_idx(w); i++) {
        struct op *op = w->ops[i];

        if (!op->w || op->stays || !atomic_load(&op->rec->interrupted) ||
            !proc_is_dying(op->caller.pid))
            continue;
        worker_count(w, SHM_STAT_INTERRUPTED, 1);
        op_abandon(op, -EINTR);
    }
}

/* The op continues; only its client no longer waits for it. */
static void tell_early(struct op *op)
{
    int error = op->front->late_error(op);

    if (op->told)
        return;
    log_warn("%s exceeds the time limit of requests: replied %s, and it continues op=%llu",
             op->front->name(op), error ? "ETIMEDOUT" : "that it is done",
             (unsigned long long)op->rec->unique);
    op->rec->told = 1;
    op->told = true;
    op->front->send(op, error, NULL, 0);
}

static void end_late(struct op *op)
{
    if (op->stays && !op->ends_late) {
        tell_early(op);
        return;
    }
    worker_count(op->w, SHM_STAT_TIMED_OUT, 1);
    op_abandon(op, op->front->late_error(op));
}

/* from this many waiting ops on, others wait unseen in the kernel's background queue */
#define QUEUE_MANY 16

/* The limit for ops that queue: before they came here, they have waited unseen for as long. */
static uint64_t queue_limit(const struct worker *w, uint64_t limit)
{
    unsigned n = 0;

    for (uint32_t i = 0; i <= current_idx(w); i++)
        n += w->ops[i]->w && w->ops[i]->queues;
    return n < QUEUE_MANY ? limit : limit / 4;
}

void op_limits(struct worker *w)
{
    uint64_t now = clock_mono_ns(), limit = w->env->request_limit_ns, queued;

    if (!limit)
        return;
    queued = queue_limit(w, limit);
    for (uint32_t i = 0; i <= current_idx(w); i++) {
        struct op *op = w->ops[i];

        if (op->w && !op->untimed && now - op->rec->started_ns >= (op->queues ? queued : limit))
            end_late(op);
    }
}

bool op_any_stays(const struct worker *w)
{
    for (uint32_t i = 0; i <= current_idx(w); i++) {
        if (w->ops[i]->w && w->ops[i]->stays)
            return true;
    }
    return false;
}
