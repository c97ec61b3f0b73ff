/* Compare-and-set: nodes that nobody shares, and whose sessions are whose (cas.h, "Isolation"). */
#include <string.h>

#include "workers/cas.h"

static bool is_named(struct shm *shm, uint32_t node, uint32_t dir, const char *name,
                     size_t len)
{
    const struct shm_node *n = shm_node_at(shm, node);

    return n->parent == dir && n->name_len == len &&
           memcmp(shm_node_name(shm, node), name, len) == 0;
}

/* Its bytes have been refused, or their upload failed, and the writer was told so: nobody sees them
 * any more. */
static bool has_failed(const struct shm_session *s)
{
    return (s->flags & SHM_SESSION_REFUSED) || s->write_error ||
           (s->publish.error && s->publishing_seq == s->write_seq);
}

uint32_t cas_next_session(struct op *op, uint32_t at, uint32_t dir, const char *name, size_t len)
{
    struct shm *shm = op->w->shm;

    for (; op->caller.self.tgid && at < shm->header->sizes.sessions; at++) {
        const struct shm_session *s = shm_session_at(shm, at);

        if (s->state == SHM_SESSION_LIVE && !(s->flags & SHM_SESSION_ORPHAN) &&
            is_named(shm, s->node, dir, name, len) && cas_is_party(op, at))
            return at;
    }
    return SHM_NIL;
}

void cas_sessions_copied(struct worker *w, uint32_t node, const char from[SHM_ETAG_MAX],
                         const char to[SHM_ETAG_MAX])
{
    struct shm *shm = w->shm;
    const struct shm_node *n = shm_node_at(shm, node);
    unsigned moved = 0;

    if (!cas_on(w))
        return;
    for (uint32_t at = 0; at < shm->header->sizes.sessions && moved < SHM_BASELINE_MOVES; at++) {
        struct shm_session *s = shm_session_at(shm, at);

        if (s->state != SHM_SESSION_LIVE || strcmp(s->base_etag, from) != 0 ||
            !is_named(shm, s->node, n->parent, shm_node_name(shm, node), n->name_len))
            continue;
        shm_save(shm, shm->meta, s->base_etag, SHM_ETAG_MAX);
        memcpy(s->base_etag, to, SHM_ETAG_MAX);
        moved++;
    }
}

uint32_t cas_own_session(struct op *op, uint32_t dir, const char *name, size_t len)
{
    struct shm *shm = op->w->shm;
    uint32_t at = 0;

    while ((at = cas_next_session(op, at, dir, name, len)) != SHM_NIL) {
        const struct shm_session *s = shm_session_at(shm, at++);

        if (shm_session_dirty(s) && !has_failed(s))
            return s->node;
    }
    return SHM_NIL;
}

/* Nobody has it. The caller of the LOOKUP that it was meant for must not get it as well. */
static void take_over(struct worker *w, uint32_t node)
{
    shm_node_edit(w->shm, node)->flags &= (uint16_t)~(SHM_NODE_LOOKED | SHM_NODE_FRESH);
}

bool cas_in_use(const struct shm_node *n)
{
    return n->nlookup || n->opens || n->session != SHM_NIL;
}

void cas_make_way(struct worker *w, uint32_t node, const char *etag)
{
    const struct shm_node *n = shm_node_at(w->shm, node);

    if (n->flags & SHM_NODE_DIR)
        return;
    if (cas_in_use(n) || strcmp(n->etag, etag) != 0)
        shm_node_detach(w->shm, node);
    else
        take_over(w, node);
}

int64_t cas_twin(struct worker *w, uint32_t node)
{
    const struct shm_node *n = shm_node_at(w->shm, node);
    char name[SHM_NAME_MAX], etag[SHM_ETAG_MAX];
    uint32_t parent = n->parent;
    size_t len = n->name_len;
    struct shm_version v = {.size = n->size,
                            .mtime_ns = n->mtime_ns,
                            .etag = etag,
                            .mode = n->mode,
                            .uid = n->uid,
                            .gid = n->gid};
    uint64_t checked = n->checked_ns;
    uint16_t set = n->flags & (SHM_NODE_MTIME_SET | SHM_NODE_META_FLAGS);
    int64_t r;

    memcpy(name, shm_node_name(w->shm, node), len);
    memcpy(etag, n->etag, sizeof(etag));
    shm_node_detach(w->shm, node);
    r = shm_node_intern(w->shm, parent, name, len, &v, checked);
    if (r >= 0)
        shm_node_edit(w->shm, (uint32_t)r)->flags |= set;
    return r;
}

int64_t cas_private(struct worker *w, uint32_t node)
{
    const struct shm_node *n = shm_node_at(w->shm, node);

    if (n->flags & SHM_NODE_DIR)
        return node;
    if (!cas_in_use(n)) {
        take_over(w, node);
        return node;
    }
    return cas_twin(w, node);
}
