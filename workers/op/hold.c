/* Names that an op has locked: marks on nodes, noted in the op's record, so that they survive its
 * worker. */
#include "workers/op/hold.h"

#include <errno.h>
#include <string.h>

#include "shm/shm_session.h"
#include "workers/op/key.h"

bool hold_is_publishing(struct worker *w, uint32_t session)
{
    if (shm_session_at(w->shm, session)->publish.state != SHM_JOB_RUNNING)
        return false;
    worker_awaits_session(w, session);
    return true;
}

/* Under shm->meta. */
static bool is_over(struct shm *shm, const struct shm_session *s, uint32_t node)
{
    const struct shm_node *n = shm_node_at(shm, node);

    return s->state == SHM_SESSION_LIVE && s->publish.state == SHM_JOB_RUNNING &&
           ((n->flags & SHM_NODE_CURRENT) || strcmp(s->expect.etag, n->etag) == 0) &&
           shm_node_is_named(shm, s->node, n->parent, shm_node_name(shm, node), n->name_len);
}

uint32_t hold_next_publishing(struct worker *w, uint32_t at, uint32_t node)
{
    struct shm *shm = w->shm;
    const struct shm_node *n = shm_node_at(shm, node);
    uint32_t end = shm->sessions->live ? shm_session_used(shm) : 0;

    if (n->session != SHM_NIL)
        return n->session >= at && hold_is_publishing(w, n->session) ? n->session : SHM_NIL;
    for (; w->variant->isolates && at < end; at++) {
        if (is_over(shm, shm_session_at(shm, at), node) && hold_is_publishing(w, at))
            return at;
    }
    return SHM_NIL;
}

const struct shm_record *hold_of(struct worker *w, uint32_t node)
{
    return shm_record_of_tag(w->shm, shm_node_at(w->shm, node)->busy);
}

bool hold_take(struct op *op, uint32_t node)
{
    struct worker *w = op->w;
    const struct shm_node *n = shm_node_at(w->shm, node);
    uint32_t tag = op_tag(op);

    if (n->busy == tag)
        return true;
    if (n->session != SHM_NIL && hold_is_publishing(w, n->session))
        return false;
    /* The op that has locked it wakes all workers when it unlocks it. */
    if (hold_is_taken(w, node, tag))
        return false;
    shm_node_set_busy(w->shm, node, tag);
    return true;
}

void hold_release(struct op *op, uint32_t node)
{
    if (node != SHM_NIL && shm_node_at(op->w->shm, node)->busy == op_tag(op))
        shm_node_set_busy(op->w->shm, node, 0);
}

void hold_give_back(struct op *op)
{
    struct shm_record *rec = op->rec;

    if (op_is_current(op) || rec->node == SHM_NIL)
        return;
    worker_lock(op->w);
    hold_release(op, rec->node);
    hold_release(op, rec->target);
    op_edit(op)->node = SHM_NIL;
    rec->target = SHM_NIL;
    worker_unlock(op->w);
    worker_wake(op->w, HOLD_WAKE_ALL);
}

bool hold_is_taken(struct worker *w, uint32_t node, uint32_t tag)
{
    for (; node != SHM_NIL; node = shm_node_at(w->shm, node)->parent) {
        uint32_t busy = shm_node_at(w->shm, node)->busy;

        if (busy)
            return busy != tag;
    }
    return false;
}

/* Under shm->meta. */
static bool holds_below(struct worker *w, uint32_t node, uint32_t tag, uint32_t dir)
{
    return node != SHM_NIL && shm_node_at(w->shm, node)->busy == tag && node != dir &&
           key_is_below(w, node, dir);
}

/* Under shm->meta. */
static int hold_enter_locked(struct op *op, const char *name, size_t len, char key[KEY_CAP])
{
    struct worker *w = op->w;
    uint32_t dir = op_node(op);
    int r;

    if (dir == SHM_NIL)
        return -ESTALE;
    if (op->rec->node == SHM_NIL && hold_is_taken(w, dir, op_tag(op)))
        return 0;
    r = key_of_name(w, dir, name, len, key);
    if (r < 0)
        return r;
    op_edit(op)->node = dir;
    op->rec->entered = 1;
    return 1;
}

int hold_enter(struct op *op, const char *name, size_t len, char key[KEY_CAP])
{
    int r;

    worker_lock(op->w);
    r = hold_enter_locked(op, name, len, key);
    worker_unlock(op->w);
    if (r != 0) {
        op_stop_waiting(op);
        op->stays = true;
    }
    return r;
}

/* Under shm->meta. */
static bool has_entered(struct worker *w, const struct shm_record *r, uint32_t dir)
{
    return r->entered && r->node != SHM_NIL && key_is_below(w, r->node, dir);
}

bool hold_is_taken_below(struct worker *w, uint32_t dir)
{
    const struct shm_sizes *sizes = &w->shm->header->sizes;

    for (uint32_t slot = 0; slot < sizes->workers; slot++) {
        for (uint32_t i = 0; i < sizes->records; i++) {
            const struct shm_record *r = shm_arena_record(w->shm, slot, i);
            uint32_t tag = shm_record_tag(slot, i);

            if (atomic_load(&r->state) == SHM_RECORD_IN_FLIGHT &&
                (holds_below(w, r->node, tag, dir) || holds_below(w, r->target, tag, dir) ||
                 has_entered(w, r, dir)))
                return true;
        }
    }
    return false;
}
