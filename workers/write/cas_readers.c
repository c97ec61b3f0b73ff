/* Compare-and-set: readers keep the version that they have open when this mount replaces it, as
 * with last write wins (orphan.c). Their node is detached from the name, and the blocks that are
 * not cached are loaded into a session before S3 loses the version. */
#include "workers/write/cas_readers.h"

#include <errno.h>
#include <string.h>

#include "shm/shm_patch.h"
#include "workers/cas/cas_nodes.h"
#include "workers/read/fetch.h"
#include "workers/write/orphan.h"
#include "workers/write/session_load.h"

#define KEPT_MAX 4 /* nodes of a version that one critical section can give sessions */

/* Under shm->meta. (A removed file has the version of another one only by its ETag.) */
static bool is_needed(struct worker *w, const struct shm_node *n)
{
    if (!n->opens || n->no_name || n->session != SHM_NIL || !*n->etag ||
        n->size > ORPHAN_LOAD_MAX || (n->flags & (SHM_NODE_DIR | SHM_NODE_LOCAL | SHM_NODE_TYPED)))
        return false;
    return !fetch_is_whole(w, n);
}

/* Under shm->meta. Readers on many nodes leave half of the sessions to those who write. */
static bool readers_have_room(struct worker *w)
{
    return w->shm->sessions->live < w->shm->header->sizes.sessions / 2;
}

/* Under shm->meta. The name gets another node of the same version. */
static void step_aside(struct worker *w, uint32_t node)
{
    shm_node_gone(w->shm, node);
    if (cas_copy(w, node, false) < 0)
        shm_node_list_stale(w->shm, shm_node_at(w->shm, node)->parent);
}

/* Under shm->meta. Gives the node's readers a session for its bytes. False: there is no free slot,
 * they get only what is cached. */
static bool keep_node(struct worker *w, uint32_t node)
{
    const struct shm_node *n = shm_node_at(w->shm, node);
    int64_t r = shm_session_new(w->shm, node);
    struct shm_session *s;

    if (r < 0)
        return false;
    s = shm_session_edit(w->shm, (uint32_t)r);
    s->refs = 0; /* its readers keep it alive */
    s->size = n->size;
    s->mtime_ns = n->mtime_ns;
    s->flags = SHM_SESSION_ORPHAN;
    s->content = SHM_CONTENT_S3;
    memcpy(s->expect.etag, n->etag, SHM_ETAG_MAX);
    if (n->flags & SHM_NODE_CURRENT)
        step_aside(w, node);
    return true;
}

void cas_keep_readers(struct worker *w, uint32_t named)
{
    uint32_t at = SHM_NIL;
    unsigned kept = 0;

    if (named == SHM_NIL)
        return;
    while (kept < KEPT_MAX && (at = shm_node_next_of_name(w->shm, at, named)) != SHM_NIL) {
        const struct shm_node *n = shm_node_at(w->shm, at);

        if (!is_needed(w, n) || !shm_etag_same(n->etag, shm_node_at(w->shm, named)->etag) ||
            (at != named && !readers_have_room(w)))
            continue;
        if (!keep_node(w, at))
            return;
        kept++;
    }
}

/* Under shm->meta. */
static bool is_waited_for(struct shm *shm, uint32_t session)
{
    const struct shm_session *s = shm_session_at(shm, session);

    return s->state == SHM_SESSION_LIVE && (s->flags & SHM_SESSION_ORPHAN) &&
           shm_node_at(shm, s->node)->opens && shm_patch_is_short(shm, session) &&
           !(s->load.attempts && s->load.error);
}

uint32_t cas_readers_wait(struct worker *w, uint32_t dir, const char *name, size_t len)
{
    struct shm *shm = w->shm;

    for (uint32_t at = 0; at < shm_session_used(shm); at++) {
        if (is_waited_for(shm, at) &&
            shm_node_is_named(shm, shm_session_at(shm, at)->node, dir, name, len))
            return at;
    }
    return SHM_NIL;
}

void cas_readers_load(struct worker *w, uint32_t session)
{
    int r = session_load(w, session);
    struct shm_session *s;

    if (r < 0 && r != -EAGAIN) {
        worker_lock(w);
        s = shm_session_edit(w->shm, session);
        s->load.attempts++;
        s->load.error = r;
        worker_unlock(w);
    }
    worker_wake_self(w);
}
