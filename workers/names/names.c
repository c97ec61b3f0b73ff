/* Functions shared by the handlers that change names: the checks at the start, and what is below a
 * directory. hold.c has the names that an op has locked. */
#include "workers/names/names.h"

#include <errno.h>

#include "shm/shm_session.h"
#include "workers/op/key.h"

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

void names_wanted(struct worker *w, uint32_t dir)
{
    if (dir != SHM_NIL && !(shm_node_at(w->shm, dir)->flags & SHM_NODE_WANTED))
        shm_node_edit(w->shm, dir)->flags |= SHM_NODE_WANTED;
}

/* Under shm->meta. With isolation a session's node is not the name's own node: it counts until its
 * upload has been refused. */
static bool will_be_there(const struct worker *w, const struct shm_session *s)
{
    const struct shm_node *n = shm_node_at(w->shm, s->node);

    if (!(n->flags & SHM_NODE_LOCAL) || (s->flags & SHM_SESSION_ORPHAN))
        return false;
    return (n->flags & SHM_NODE_CURRENT) ||
           (w->variant->isolates && !s->publish.error && !s->expect.refused);
}

bool names_local_below(struct worker *w, uint32_t dir)
{
    for (uint32_t i = 0; i < shm_session_used(w->shm); i++) {
        const struct shm_session *s = shm_session_at(w->shm, i);

        if (s->state == SHM_SESSION_LIVE && will_be_there(w, s) &&
            key_is_below(w, shm_node_at(w->shm, s->node)->parent, dir))
            return true;
    }
    return false;
}
