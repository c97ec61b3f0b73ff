/* All sessions are in use: an op that needs one waits until a file is closed, as long as S3 would
 * be waited for (less for what makes a name), unless its own process holds all of them: then nobody
 * else would end that. What ends a session (close, fsync, RELEASE, a publish) begins none, so it
 * never waits here.
 *
 * Nothing of an op that waits is noted in its record, so a replacement handles it again from the
 * start, and waits for what is left of the time. Each op that goes on may ask S3 again, as what its
 * LOOKUP found is old: so few of them go on at once, the oldest of each worker first. */
#include "workers/write/session_room.h"

#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/container.h"
#include "base/min.h"
#include "shm/shm_handle.h"
#include "workers/op/proc.h"

#define LOOK_NS NS_PER_S         /* between two looks at who holds them; wake-ups come sooner */
#define GO_ON_NS (5 * NS_PER_MS) /* in which as many ops go on as there are free slots */
#define CREATE_WAIT_NS (10 * NS_PER_S) /* at most, of what makes a name */
#define RECORDS_SHARE 2                /* one record in this many may be that of an op that waits */

struct session_room {
    struct op *op;
    op_handler *again;
    uint64_t looked_ns; /* at who holds them */
    struct loop_timer timer;
};

static uint32_t free_slots(const struct worker *w)
{
    uint32_t live = w->shm->sessions->live, all = w->shm->header->sizes.sessions; /* a hint */

    return live < all ? all - live : 0;
}

uint32_t session_room_waiters(struct worker *w)
{
    uint32_t mask = w->shm->sessions->room_waiters;

    if (mask)
        shm_set(w->shm, w->shm->meta, w->shm->sessions->room_waiters, 0);
    return mask;
}

/* ---- who holds them ---- */

static bool is_opener(const struct shm_session *s, int32_t tgid)
{
    for (int i = 0; i < SHM_SESSION_PIDS; i++) {
        if (s->pids[i].tgid == tgid)
            return true;
    }
    return false;
}

/* True if this process has opened each file that is open for writing. *ret_ino: one of them. */
static bool has_opened_all(struct worker *w, int32_t tgid, uint64_t *ret_ino)
{
    struct shm *shm = w->shm;
    bool all = true;

    worker_lock(w);
    for (uint32_t at = 0; at < shm_session_used(shm) && all; at++) {
        const struct shm_session *s = shm_session_at(shm, at);

        if (s->state == SHM_SESSION_FREE)
            continue;
        all = s->state == SHM_SESSION_LIVE && s->refs && is_opener(s, tgid);
        if (all)
            *ret_ino = shm_node_at(shm, s->node)->ino;
    }
    worker_unlock(w);
    return all && !free_slots(w);
}

/* It may have opened them for its children, and have closed its own descriptors. */
static bool holds_all(struct op *op)
{
    struct worker *w = op->w;
    struct proc_info info;
    uint64_t ino = 0;
    bool known;
    uint32_t n;

    proc_look(op->caller.pid, &info);
    if (!info.tgid || !has_opened_all(w, info.tgid, &ino))
        return false;
    n = proc_writes_beside(info.tgid, ino, &known);
    return !known || n >= w->shm->header->sizes.sessions;
}

/* ---- waiting ---- */

/* The kernel holds the lock of the directory in which a name is made: meanwhile nobody lists it,
 * nor looks up a name that the kernel does not know (fs/namei.c, lookup_open, filename_create). */
static bool locks_directory(const struct op *op)
{
    return op->rec->opcode == FUSE_CREATE || op->rec->opcode == FUSE_MKNOD;
}

/* When the op has waited long enough: before the kernel's limit of requests is near (op_limits). */
static uint64_t due_ns(const struct op *op)
{
    uint64_t limit = op->w->env->request_limit_ns, wait = op->w->conf->s3.deadline_ns;

    if (locks_directory(op))
        wait = min_u64(wait, CREATE_WAIT_NS);

    return op->rec->started_ns + (limit ? min_u64(wait, limit / 2) : wait);
}

static void room_free(void *state)
{
    struct session_room *room = state;

    loop_timer_cancel(room->op->w->loop, &room->timer);
    free(room);
}

static void stop(struct op *op)
{
    struct session_room *room = op->state;

    op_stop_waiting(op);
    op_set_state(op, NULL, NULL);
    room_free(room);
}

static void room_resume(struct op *op);

static bool waits_for_room(const struct op *op)
{
    return op->w && op->waiting && op->resume == room_resume;
}

static unsigned count_waiting(const struct worker *w)
{
    unsigned n = 0;

    for (uint32_t i = 0; i <= w->shm->header->sizes.records; i++)
        n += waits_for_room(w->ops[i]);
    return n;
}

static bool is_oldest(const struct op *op)
{
    const struct worker *w = op->w;

    for (uint32_t i = 0; i <= w->shm->header->sizes.records; i++) {
        if (waits_for_room(w->ops[i]) && w->ops[i]->rec->started_ns < op->rec->started_ns)
            return false;
    }
    return true;
}

/* True if the op may try now; then one fewer may in the same moment. */
static bool may_go_on(const struct op *op)
{
    static uint64_t since_ns; /* of this worker */
    static uint32_t n;

    if (clock_due(&since_ns, GO_ON_NS))
        n = 0;
    if (n >= free_slots(op->w) || !is_oldest(op))
        return false;
    n++;
    return true;
}

/* This worker is woken when a slot is free. False: one is. */
static bool await_free(struct worker *w)
{
    struct shm_session_table *t = w->shm->sessions;
    uint32_t bit = UINT32_C(1) << w->slot;
    bool full;

    if (t->room_waiters & bit && !free_slots(w)) /* read as a hint: the timer looks again */
        return true;
    worker_lock(w);
    full = !free_slots(w);
    if (full && !(t->room_waiters & bit))
        shm_set(w->shm, w->shm->meta, t->room_waiters, t->room_waiters | bit);
    worker_unlock(w);
    return full;
}

/* Nobody else would make room. */
static bool is_hopeless(struct op *op)
{
    struct session_room *room = op->state;
    uint64_t now = clock_mono_ns();

    if (now >= due_ns(op))
        return true;
    if (now - room->looked_ns < LOOK_NS)
        return false;
    room->looked_ns = now;
    return holds_all(op);
}

static void room_resume(struct op *op)
{
    struct session_room *room = op->state;
    op_handler *again = room->again;

    if (worker_is_ending(op->w)) {
        stop(op);
        op_fail(op, -ESHUTDOWN);
    } else if (may_go_on(op)) {
        stop(op);
        again(op);
    } else if (free_slots(op->w)) {
        loop_timer_set(op->w->loop, &room->timer, GO_ON_NS);
    } else if (is_hopeless(op)) {
        stop(op);
        op_fail(op, -ENFILE);
    } else {
        loop_timer_set(op->w->loop, &room->timer, await_free(op->w) ? LOOK_NS : 0);
    }
}

static void room_on_time(struct loop_timer *t)
{
    room_resume(container_of(t, struct session_room, timer)->op);
}

/* True if the error is not that all handles are in use, and a wait has a chance. */
static bool is_worth_it(struct op *op, int error)
{
    const struct shm *shm = op->w->shm;

    return error == -ENFILE && shm->handles->live < shm->header->sizes.handles &&
           clock_mono_ns() < due_ns(op) &&
           count_waiting(op->w) < shm->header->sizes.records / RECORDS_SHARE && !holds_all(op);
}

bool session_room_wait(struct op *op, int error, op_handler *again)
{
    struct session_room *room;

    if (!is_worth_it(op, error))
        return false;
    if (op_keep(op) < 0)
        return true;
    room = calloc(1, sizeof(*room));
    if (!room)
        return false;
    *room = (struct session_room){
        .op = op, .again = again, .looked_ns = clock_mono_ns(), .timer = {.on_time = room_on_time}};
    op_set_state(op, room, room_free);
    op->abandon = NULL; /* it holds nothing */
    op->stays = op->ends_late = false;
    op_wait(op, room_resume);
    loop_timer_set(op->w->loop, &room->timer, await_free(op->w) ? LOOK_NS : 0);
    return true;
}
