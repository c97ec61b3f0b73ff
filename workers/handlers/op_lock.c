/* GETLK, SETLK, SETLKW: fcntl(2) and flock(2) locks, local to the mount. shm/shm_flock.h has the
 * rules.
 *
 * A lock and its reply are stored in one locked section. A SETLKW that has to wait keeps its op and
 * tries again at each wake. It holds nothing meanwhile, so a replacement simply runs it again, and
 * an interrupt simply ends it. Deadlocks are not detected: processes that wait for each other wait
 * until a signal comes (EDEADLK is never returned).
 *
 * close(2) waits for FLUSH, which releases ranges, but not for RELEASE, which releases flock locks.
 * So a non-blocking flock(2) that finds a conflicting lock tries again for GRACE_NS: the file of
 * that lock may already be closed. */
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/container.h"
#include "shm/shm_flock.h"
#include "workers/handlers/fuse_op.h"
#include "workers/handlers/handlers.h"
#include "workers/handlers/lock.h"

#define GRACE_NS (20 * NS_PER_MS)

/* Waiting locks leave this part of the records free: other requests need some, among them those
 * that unlock. */
#define WAITERS_LEAVE 4 /* one in so many */

static int lock_type_of(uint32_t kernel_type, uint16_t *ret)
{
    switch (kernel_type) {
    case F_RDLCK:
        *ret = SHM_FLOCK_READ;
        return 0;
    case F_WRLCK:
        *ret = SHM_FLOCK_WRITE;
        return 0;
    case F_UNLCK:
        *ret = SHM_FLOCK_NONE;
        return 0;
    default:
        return -EINVAL;
    }
}

static int read_request(const struct op *op, struct shm_flock *ret)
{
    const struct fuse_lk_in *in = fuse_req(op)->lk;

    *ret = (struct shm_flock){.owner = in->owner,
                              .start = in->lk.start,
                              .end = in->lk.end,
                              .pid = in->lk.pid,
                              .whole = !!(in->lk_flags & FUSE_LK_FLOCK)};
    if (!ret->whole && (ret->start > ret->end || ret->end > SHM_FLOCK_END))
        return -EINVAL;
    return lock_type_of(in->lk.type, &ret->type);
}

void op_getlk(struct op *op)
{
    struct worker *w = op->w;
    struct fuse_lk_out out = {.lk = {.type = F_UNLCK}};
    struct shm_flock want, found;
    uint32_t node;
    int r = read_request(op, &want);

    if (r < 0) {
        op_fail(op, r);
        return;
    }
    worker_lock(w);
    node = lock_node(w, fuse_req(op)->lk->fh, &want.handle);
    if (node != SHM_NIL && shm_flock_find(w->shm, node, &want, &found))
        out.lk = (struct fuse_file_lock){.start = found.start,
                                         .end = found.end,
                                         .type = found.type == SHM_FLOCK_READ ? F_RDLCK : F_WRLCK,
                                         .pid = found.pid};
    worker_unlock(w);
    if (node == SHM_NIL)
        op_fail(op, -EBADF);
    else
        op_answer(op, &out, sizeof(out));
}

/* ---- locking and unlocking ---- */

/* A flock lock that is not granted at once, although the caller does not want to wait: until when
 * the op tries again. */
struct grace {
    struct loop_timer over;
    struct worker *w;
    uint64_t until_ns;
};

static bool may_wait(const struct op *op, const struct shm_flock *want)
{
    const struct grace *grace = op->state;

    if (fuse_req(op)->opcode == FUSE_SETLKW)
        return true;
    return want->whole && (!grace || clock_mono_ns() < grace->until_ns);
}

/* One attempt. 1: the op must wait; else the reply is stored. */
static int try_to_set(struct op *op)
{
    struct worker *w = op->w;
    struct shm_flock want;
    uint32_t node, wake = 0;
    bool waits;
    int r = read_request(op, &want);

    waits = may_wait(op, &want);
    worker_lock(w);
    node = lock_node(w, fuse_req(op)->lk->fh, &want.handle);
    if (r == 0)
        r = node == SHM_NIL ? -EBADF : shm_flock_set(w->shm, node, &want, &wake);
    waits = waits && r == -EAGAIN;
    if (waits)
        shm_flock_wait(w->shm, node, &want, w->slot);
    else
        op_applied(op, r, NULL, 0);
    worker_unlock(w);
    worker_wake(w, wake);
    return waits;
}

/* Any signal ends the wait for a lock, not only a fatal one (op_interrupts); the kernel repeats the
 * request if the signal handler was installed with SA_RESTART. */
static void lock_attempt(struct op *op)
{
    if (fuse_req(op)->opcode == FUSE_SETLKW && atomic_load(&op->rec->interrupted))
        op_fail(op, -EINTR);
    else if (!try_to_set(op))
        op_finish(op);
}

static void grace_free(void *state)
{
    struct grace *grace = state;

    loop_timer_cancel(grace->w->loop, &grace->over);
    free(grace);
}

static void on_over(struct loop_timer *t)
{
    struct grace *grace = container_of(t, struct grace, over);

    worker_wake_self(grace->w);
}

/* False: out of memory. */
static bool start_grace(struct op *op)
{
    struct grace *grace = calloc(1, sizeof(*grace));

    if (!grace)
        return false;
    grace->w = op->w;
    grace->over.on_time = on_over;
    grace->until_ns = clock_mono_ns() + GRACE_NS;
    op_set_state(op, grace, grace_free);
    loop_timer_set(op->w->loop, &grace->over, GRACE_NS);
    return true;
}

static bool is_crowded(const struct op *op)
{
    const struct worker *w = op->w;

    return op_is_current(op) && w->n_free_records <= w->shm->header->sizes.records / WAITERS_LEAVE;
}

void op_setlk(struct op *op)
{
    bool waits_long = fuse_req(op)->opcode == FUSE_SETLKW;

    if (!try_to_set(op)) {
        op_finish(op);
        return;
    }
    if (is_crowded(op)) {
        op_fail(op, waits_long ? -ENOLCK : -EAGAIN);
        return;
    }
    if (op_keep(op) < 0)
        return;
    if (!waits_long && !start_grace(op)) {
        op_fail(op, -EAGAIN);
        return;
    }
    op_wait(op, lock_attempt);
}
