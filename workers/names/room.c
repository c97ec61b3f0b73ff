/* The kernel keeps a dentry, and with it our node, for every name that was looked up, until memory
 * is short. So a walk over a million names would fill the table. Before the table is full, the
 * kernel is asked to forget nodes that no process has open (FORGETs follow), in the order of the
 * table, which is roughly the order of their creation: with NOTIFY_PRUNE, many at once.
 *
 * Kernels before Linux 6.18 do not support that. There NOTIFY_INVAL_ENTRY does it, name by name,
 * which is slow: it takes the directory's lock, which the LOOKUPs there keep sharing; the kernel
 * hands the lock over to the notifier after 4 ms (kernel/locking/rwsem.c), so a directory that is
 * being searched gives back 250 nodes a second. */
#include "workers/names/room.h"

#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/container.h"
#include "base/log.h"
#include "shm/shm_notify.h"

#define LOW_SHARE 16 /* room is low if less than 1/16 of the nodes is free or evictable */
/* notifications per locked section: each takes up to 1,100 bytes of the undo log */
#define BATCH 16
#define PENDING_MAX (SHM_NOTIFY_SLOTS / 2)
#define MADE_NS NS_PER_S
#define SCAN 512 /* nodes checked for each of them */
/* room_wait lets nobody have the last nodes: what it sees without the lock may have changed */
#define RESERVE 32
#define TELL_NS (60 * NS_PER_S)

static uint32_t cursor; /* of this worker */

static uint32_t left(const struct worker *w)
{
    const struct shm_node_table *t = w->shm->nodes; /* read as a hint */

    return w->shm->header->sizes.nodes - t->live + t->evictable;
}

static bool is_low(const struct worker *w)
{
    return left(w) < w->shm->header->sizes.nodes / LOW_SHARE;
}

bool room_was_made(const struct worker *w)
{
    uint64_t at = w->shm->notify->room_ns; /* read as a hint */

    return at && clock_mono_ns() - at < MADE_NS;
}

static bool is_asked(const struct worker *w)
{
    const struct shm_notify_ring *r = w->shm->notify;

    return r->tail - r->head >= PENDING_MAX;
}

/* Directories only if no file is found: one may be the working directory of a process, which would
 * then have no path any more. */
static uint32_t candidate(struct worker *w, uint32_t *scan)
{
    uint32_t other = SHM_NIL;

    while (*scan) {
        uint32_t from = cursor, node;

        node = shm_node_kernel_only(w->shm, &cursor, *scan);
        *scan -= cursor - from < *scan ? cursor - from : *scan;
        if (node == SHM_NIL)
            break;
        if (!(shm_node_at(w->shm, node)->flags & SHM_NODE_DIR))
            return node;
        other = node;
    }
    return other;
}

/* Under shm->meta. One notification; false: no node is left that the kernel could forget. */
static bool ask_name(struct worker *w, uint32_t *scan)
{
    uint32_t node = candidate(w, scan);
    const struct shm_node *n;

    if (node == SHM_NIL)
        return false;
    n = shm_node_at(w->shm, node);
    shm_notify_entry(w->shm, n->parent, shm_node_name(w->shm, node), n->name_len);
    return true;
}

static bool ask_nodes(struct worker *w, uint32_t *scan)
{
    uint64_t ids[SHM_NOTIFY_NODES];
    uint32_t n = 0, node;

    while (n < SHM_NOTIFY_NODES && (node = candidate(w, scan)) != SHM_NIL)
        ids[n++] = shm_node_id(w->shm, node);
    if (n)
        shm_notify_prune(w->shm, ids, n);
    return n == SHM_NOTIFY_NODES;
}

void room_make(struct worker *w)
{
    bool by_name = atomic_load(&w->shm->notify->no_prune);
    uint32_t scan = BATCH * SCAN;

    if (is_asked(w))
        return;
    worker_lock(w);
    shm_set(w->shm, w->shm->meta, w->shm->notify->room_ns, clock_mono_ns());
    for (unsigned i = 0; i < BATCH && scan; i++) {
        if (!(by_name ? ask_name(w, &scan) : ask_nodes(w, &scan)))
            break;
    }
    worker_unlock(w);
    worker_notify_kernel(w);
}

void room_keep(struct worker *w)
{
    if (is_low(w))
        room_make(w);
}

/* ---- waiting ---- */

struct room_wait {
    struct op *op;
    op_handler *then;
    unsigned tries;
    struct loop_timer timer;
};

void room_tell(struct worker *w)
{
    static uint64_t told_ns; /* of this worker */

    worker_count(w, SHM_STAT_OVERLOAD, 1);
    if (clock_due(&told_ns, TELL_NS))
        log_warn("no room for another name nodes=%u: programs hold all that fit: raise "
                 "memory.limit, or have them hold fewer",
                 w->shm->header->sizes.nodes);
}

static void room_wait_free(void *state)
{
    struct room_wait *rw = state;

    loop_timer_cancel(rw->op->w->loop, &rw->timer);
    free(rw);
}

static void on_room_time(struct loop_timer *t)
{
    struct room_wait *rw = container_of(t, struct room_wait, timer);
    struct op *op = rw->op;
    op_handler *then = rw->then;
    bool is_full = left(op->w) < RESERVE;

    if (is_full && ++rw->tries < ROOM_TRIES) {
        room_make(op->w);
        loop_timer_set(op->w->loop, &rw->timer, ROOM_RETRY_NS);
        return;
    }
    op_set_state(op, NULL, NULL);
    room_wait_free(rw);
    if (!is_full) {
        then(op);
        return;
    }
    room_tell(op->w);
    op_fail(op, -ENOMEM);
}

bool room_wait(struct op *op, op_handler *then)
{
    struct room_wait *rw;

    room_keep(op->w);
    if (left(op->w) >= RESERVE || !op_is_current(op)) /* (or a predecessor has begun it) */
        return false;
    if (op_keep(op) < 0)
        return true;
    rw = calloc(1, sizeof(*rw));
    if (!rw) {
        op_fail(op, -ENOMEM);
        return true;
    }
    rw->op = op;
    rw->then = then;
    rw->timer.on_time = on_room_time;
    op_set_state(op, rw, room_wait_free);
    room_make(op->w);
    loop_timer_set(op->w->loop, &rw->timer, ROOM_RETRY_NS);
    return true;
}
