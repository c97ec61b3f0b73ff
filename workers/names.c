/* Shared pieces of the handlers that change names: checks, the busy mark, stale listings. */
#include "workers/names.h"

#include <errno.h>

#include "shm/shm_session.h"
#include "workers/cas.h"
#include "workers/session.h"

int names_check(struct op *op, const char *name, size_t len, char key[KEY_CAP])
{
    struct worker *w = op->w;
    uint32_t dir;
    int r;

    if (w->conf->mount.read_only)
        return -EROFS;
    if (w->shm->header->draining && op_is_current(op))
        return -ESHUTDOWN;
    worker_lock(w);
    dir = op_node(op);
    r = dir == SHM_NIL ? -ESTALE : key_of_name(w, dir, name, len, key);
    worker_unlock(w);
    return r;
}

bool names_hold(struct op *op, uint32_t node)
{
    struct worker *w = op->w;
    const struct shm_node *n = shm_node_at(w->shm, node);
    uint32_t tag = op_tag(op);

    if (n->busy == tag)
        return true;
    if (n->session != SHM_NIL && session_is_publishing(w, n->session))
        return false;
    /* Whoever holds it wakes everybody when it lets go. */
    if (names_held(w, node, tag))
        return false;
    shm_node_set_busy(w->shm, node, tag);
    return true;
}

void names_release(struct op *op, uint32_t node)
{
    if (node != SHM_NIL && shm_node_at(op->w->shm, node)->busy == op_tag(op))
        shm_node_set_busy(op->w->shm, node, 0);
}

void names_give_back(struct op *op)
{
    struct shm_record *rec = op->rec;

    if (op_is_current(op) || rec->node == SHM_NIL)
        return;
    worker_lock(op->w);
    names_release(op, rec->node);
    names_release(op, rec->handle);
    op_edit(op)->node = rec->handle = SHM_NIL;
    worker_unlock(op->w);
    worker_wake(op->w, NAMES_WAKE_ALL);
}

bool names_held(struct worker *w, uint32_t node, uint32_t tag)
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
           names_is_below(w, node, dir);
}

int names_enter(struct op *op, char key[KEY_CAP])
{
    struct worker *w = op->w;
    uint32_t dir = op_node(op);
    int r;

    if (dir == SHM_NIL)
        return -ESTALE;
    if (op->rec->node == SHM_NIL && names_held(w, dir, op_tag(op)))
        return 0;
    r = key_of_name(w, dir, op->req.name, op->req.name_len, key);
    if (r < 0)
        return r;
    op_edit(op)->node = dir;
    return 1;
}

/* Under shm->meta. */
static bool has_entered(struct worker *w, const struct shm_record *r, uint32_t dir)
{
    return (r->opcode == FUSE_MKDIR || r->opcode == FUSE_RMDIR) && r->node != SHM_NIL &&
           names_is_below(w, r->node, dir);
}

bool names_held_below(struct worker *w, uint32_t dir)
{
    const struct shm_sizes *sizes = &w->shm->header->sizes;

    for (uint32_t slot = 0; slot < sizes->workers; slot++) {
        for (uint32_t i = 0; i < sizes->records; i++) {
            const struct shm_record *r = shm_arena_record(w->shm, slot, i);
            uint32_t tag = shm_record_tag(slot, i);

            if (atomic_load(&r->state) == SHM_RECORD_IN_FLIGHT &&
                (holds_below(w, r->node, tag, dir) || holds_below(w, r->handle, tag, dir) ||
                 has_entered(w, r, dir)))
                return true;
        }
    }
    return false;
}

void names_changed(struct worker *w, uint32_t dir)
{
    if (dir != SHM_NIL)
        shm_node_new_content(w->shm, dir);
}

void names_wanted(struct worker *w, uint32_t dir)
{
    if (dir != SHM_NIL && !(shm_node_at(w->shm, dir)->flags & SHM_NODE_WANTED))
        shm_node_edit(w->shm, dir)->flags |= SHM_NODE_WANTED;
}

/* Under shm->meta. With compare-and-set a session's node is not the one that the name has: it counts
 * until its upload was refused. */
static bool will_be_there(const struct worker *w, const struct shm_session *s)
{
    const struct shm_node *n = shm_node_at(w->shm, s->node);

    if (!(n->flags & SHM_NODE_LOCAL) || (s->flags & SHM_SESSION_ORPHAN))
        return false;
    return (n->flags & SHM_NODE_CURRENT) ||
           (cas_on(w) && !s->publish.error && !(s->flags & SHM_SESSION_REFUSED));
}

bool names_local_below(struct worker *w, uint32_t dir)
{
    for (uint32_t i = 0; i < w->shm->header->sizes.sessions; i++) {
        const struct shm_session *s = shm_session_at(w->shm, i);

        if (s->state == SHM_SESSION_LIVE && will_be_there(w, s) &&
            names_is_below(w, shm_node_at(w->shm, s->node)->parent, dir))
            return true;
    }
    return false;
}

bool names_is_below(struct worker *w, uint32_t node, uint32_t dir)
{
    while (node != SHM_NIL && node != dir)
        node = shm_node_at(w->shm, node)->parent;
    return node == dir;
}
