/* Compare-and-set: readers keep the version that they have open when this mount replaces it, as
 * with last write wins (orphan.c). Their node is detached from the name, and the blocks that are
 * not cached are loaded into a session before S3 loses the version. */
#include "workers/write/cas_readers.h"

#include <errno.h>
#include <string.h>

#include "workers/cas/cas_nodes.h"
#include "workers/read/fetch.h"
#include "workers/write/orphan.h"
#include "workers/write/session_load.h"

/* Under shm->meta. */
static bool is_needed(struct worker *w, const struct shm_node *n)
{
    if (!n->opens || n->session != SHM_NIL || !*n->etag || n->size > ORPHAN_LOAD_MAX ||
        (n->flags & (SHM_NODE_DIR | SHM_NODE_LOCAL | SHM_NODE_TYPED)))
        return false;
    return !fetch_is_whole(w, n);
}

/* Under shm->meta. The name gets another node of the same version. */
static void step_aside(struct worker *w, uint32_t node)
{
    shm_node_gone(w->shm, node);
    if (cas_copy(w, node, false) < 0)
        shm_node_list_stale(w->shm, shm_node_at(w->shm, node)->parent);
}

void cas_keep_readers(struct worker *w, uint32_t named)
{
    struct shm_session *s;
    int64_t r;

    if (named == SHM_NIL || !is_needed(w, shm_node_at(w->shm, named)))
        return;
    r = shm_session_new(w->shm, named);
    if (r < 0) /* no free slot: its readers get only what is cached */
        return;
    s = shm_session_edit(w->shm, (uint32_t)r);
    s->refs = 0; /* its readers keep it alive */
    s->size = shm_node_at(w->shm, named)->size;
    s->mtime_ns = shm_node_at(w->shm, named)->mtime_ns;
    s->flags = SHM_SESSION_ORPHAN;
    s->content = SHM_CONTENT_S3;
    memcpy(s->expect.etag, shm_node_at(w->shm, named)->etag, SHM_ETAG_MAX);
    step_aside(w, named);
}

/* Under shm->meta. */
static bool is_waited_for(struct shm *shm, const struct shm_session *s)
{
    return s->state == SHM_SESSION_LIVE && (s->flags & SHM_SESSION_ORPHAN) &&
           !shm_session_is_loaded(s) && shm_node_at(shm, s->node)->opens &&
           !(s->load.attempts && s->load.error);
}

uint32_t cas_readers_wait(struct worker *w, uint32_t dir, const char *name, size_t len)
{
    struct shm *shm = w->shm;

    for (uint32_t at = 0; at < shm->header->sizes.sessions; at++) {
        const struct shm_session *s = shm_session_at(shm, at);

        if (is_waited_for(shm, s) && shm_node_is_named(shm, s->node, dir, name, len))
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
