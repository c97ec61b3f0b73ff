/* The name after a publish, where a session has a node of its own beside that of the name. */
#include <string.h>

#include "workers/write/publish_private.h"

/* Nodes that one critical section can change. There is more than one only after the name's was
 * replaced (by an answer that was faster), or where a process reads through its own. */
#define GROWN_MAX 16

/* Under shm->meta. True if the node has readers of the replaced version, and everything that
 * changed is beyond what they have: a log was appended to. (Not after a rename: that brings another
 * file. Nor is a removed file one that was made anew.) */
static bool has_grown(const struct publish *p, const struct shm_node *n)
{
    const struct shm_session *s = shm_session_at(p->w->shm, p->session);

    return n->opens && !n->no_name && n->session == SHM_NIL && !p->absent && *p->etag && !p->like &&
           !(n->flags & (SHM_NODE_DIR | SHM_NODE_TYPED)) && strcmp(n->etag, p->etag) == 0 &&
           s->changed_from >= n->size && p->size > n->size;
}

/* Under shm->meta. Copies version and attributes from the session's node. */
static void inherit(struct shm *shm, uint32_t node, const struct shm_node *n)
{
    struct shm_node *to = shm_node_edit(shm, node);

    to->size = n->size;
    shm_node_copy_meta(to, n);
    to->checked_ns = n->checked_ns;
    memcpy(to->etag, n->etag, SHM_ETAG_MAX);
    to->flags &= (uint16_t)~SHM_NODE_FRESH;
    if (to->flags & SHM_NODE_CURRENT)
        to->told = n->nlookup ? (uint32_t)(n - shm_node_at(shm, 0)) + 1 : 0;
}

/* Under shm->meta. True if it has grown. */
static bool grow_node(struct publish *p, uint32_t at, uint32_t node)
{
    struct shm *shm = p->w->shm;

    if (at == SHM_NIL || at == node || !has_grown(p, shm_node_at(shm, at)))
        return false;
    shm_node_new_content(shm, at);
    inherit(shm, at, shm_node_at(shm, node));
    return true;
}

/* Under shm->meta. The readers of the replaced version follow what was appended. Their node need
 * not be that of the name: somebody may have found the new version on S3 before the answer to the
 * PUT was here. (One that has grown has another version, and does not grow again.) True if that of
 * the name has. */
static bool grow(struct publish *p, uint32_t named, uint32_t node)
{
    bool has = grow_node(p, named, node);
    uint32_t at = SHM_NIL;
    unsigned grown = has;

    while (grown < GROWN_MAX && (at = shm_node_next_of_name(p->w->shm, at, node)) != SHM_NIL)
        grown += grow_node(p, at, node);
    return has;
}

/* Under shm->meta. The session's node stays private; the name gets a node of the published version.
 * It is a new node, so that readers keep theirs; but if the file has only grown, it is the same
 * one, and they see the new data as on a local disk (`tail -f`). */
static void publish_name(struct publish *p, uint32_t node)
{
    struct shm *shm = p->w->shm;
    const struct shm_node *n = shm_node_at(shm, node);
    struct shm_version v = shm_node_version(n);
    uint32_t named = shm_node_named(shm, node);
    int64_t r;

    if (grow(p, named, node))
        return;
    r = shm_node_intern(shm, n->parent, shm_node_name(shm, node), n->name_len, &v, n->checked_ns);
    if (r >= 0) {
        inherit(shm, (uint32_t)r, n);
        return;
    }
    if (named != SHM_NIL)
        shm_node_gone(shm, named);
    shm_node_list_stale(shm, n->parent);
}

uint32_t publish_takes_name(struct publish *p, uint32_t node)
{
    publish_name(p, node);
    return shm_node_named(p->w->shm, node);
}
