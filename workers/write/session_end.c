/* The end of a session: the last ref, discarding, becoming an orphan. */
#include "workers/write/session_end.h"

#include <errno.h>

#include "shm/shm_notify.h"
#include "workers/op/spool.h"
#include "workers/write/session_room.h"
#include "workers/write/upload.h"

bool session_unref(struct worker *w, uint32_t session)
{
    struct shm_session *s = shm_session_edit(w->shm, session);

    if (s->refs)
        s->refs--;
    return session_end_unused(w, session);
}

static void mark_clean(struct shm_session *s)
{
    s->published_seq = s->write_seq;
    s->flags &= ~(uint32_t)SHM_SESSION_UNPUBLISHED;
}

static bool was_refused(const struct shm_session *s)
{
    return s->expect.refused || s->publish.error == -EEXIST;
}

/* Under shm->meta. The writer's private node (PRIVATE) is still open for reading. The session has
 * the only copy of these bytes, as soon as others replace the published version; or they were
 * refused, and will never be published. The session stays, as for a file that has lost its name.
 * (Half of the sessions are reserved for writers.) */
static bool is_read_on(struct worker *w, const struct shm_session *s)
{
    const struct shm_node *n = shm_node_at(w->shm, s->node);

    return (n->flags & SHM_NODE_PRIVATE) && n->opens && !(n->flags & SHM_NODE_LOCAL) &&
           shm_session_has_spool(s) && !s->held_from && !(s->flags & SHM_SESSION_ORPHAN) &&
           (!shm_session_dirty(s) || was_refused(s)) &&
           w->shm->sessions->live <= w->shm->header->sizes.sessions / 2;
}

/* Under shm->meta. Later writes to it are refused, too. */
static void keep_for_readers(struct worker *w, uint32_t session)
{
    struct shm_session *s;

    if (!shm_session_dirty(shm_session_at(w->shm, session)))
        return;
    s = shm_session_edit(w->shm, session);
    s->expect.refused = true;
    mark_clean(s);
}

bool session_end_unused(struct worker *w, uint32_t session)
{
    const struct shm_session *s = shm_session_at(w->shm, session);

    if (s->state != SHM_SESSION_LIVE || s->refs || s->publish.state == SHM_JOB_RUNNING ||
        s->load.state == SHM_JOB_RUNNING || s->opening.state == SHM_JOB_RUNNING || s->releasing ||
        shm_upload_at(w->shm, session)->sending)
        return false;
    if (is_read_on(w, s)) {
        keep_for_readers(w, session);
        return false;
    }
    /* Without a name it cannot be read from anywhere else. */
    if ((s->flags & SHM_SESSION_ORPHAN) && shm_node_at(w->shm, s->node)->opens)
        return false;
    if (shm_session_dirty(s) && !(s->flags & SHM_SESSION_ORPHAN))
        session_discard(w, session);
    shm_session_close(w->shm, session, w->slot);
    return true;
}

void session_clear(struct worker *w, uint32_t session)
{
    struct upload_name upload;
    uint32_t waiters;
    bool told;

    spool_clear(w, session);
    worker_lock(w);
    upload_give_up(w, session, &upload);
    shm_session_free(w->shm, session);
    waiters = session_room_waiters(w);
    told = w->shm->notify->head != w->shm->notify->tail;
    worker_unlock(w);
    worker_wake(w, waiters);
    upload_abort(w, &upload);
    if (told) /* perhaps by session_discard, when it was closed */
        worker_notify_kernel(w);
}

void session_discard(struct worker *w, uint32_t session)
{
    struct shm_session *s = shm_session_edit(w->shm, session);
    uint32_t node = s->node;

    mark_clean(s);
    if (s->flags & SHM_SESSION_KEYED) /* nobody sees its node */
        return;
    if (s->content == SHM_CONTENT_COPY) { /* blocks of the copy are stale now */
        s->content = SHM_CONTENT_S3;
        shm_node_new_content(w->shm, node);
    }
    shm_notify_inode(w->shm, node);
    if (!(shm_node_at(w->shm, node)->flags & SHM_NODE_LOCAL))
        return;
    shm_node_gone(w->shm, node);
    if (s->publish.attempts) /* a failed attempt may have taken effect all the same */
        shm_node_list_stale(w->shm, shm_node_at(w->shm, node)->parent);
}

void session_orphan(struct worker *w, uint32_t session)
{
    struct shm_session *s = shm_session_edit(w->shm, session);

    s->flags |= SHM_SESSION_ORPHAN;
    mark_clean(s);
}

#define LEFT_MAX 8 /* sessions that one critical section can change, besides everything else */

static bool has_left(struct shm *shm, const struct shm_session *s, uint32_t dir, const char *name,
                     size_t len)
{
    const struct shm_node *n;

    if (s->state != SHM_SESSION_LIVE || (s->flags & SHM_SESSION_ORPHAN))
        return false;
    n = shm_node_at(shm, s->node);
    return !(n->flags & SHM_NODE_CURRENT) && shm_node_is_named(shm, s->node, dir, name, len);
}

void session_orphan_left(struct worker *w, uint32_t dir, const char *name, size_t len)
{
    struct shm *shm = w->shm;
    unsigned left = 0;

    if (w->variant->isolates || dir == SHM_NIL)
        return;
    for (uint32_t at = 0; at < shm_session_used(shm) && left < LEFT_MAX; at++) {
        if (!has_left(shm, shm_session_at(shm, at), dir, name, len))
            continue;
        session_orphan(w, at);
        left++;
    }
}
