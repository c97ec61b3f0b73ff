/* Compare-and-set: private nodes, and which sessions belong to which process (cas.h,
 * "Isolation"). */
#include "workers/cas/cas_nodes.h"

#include <string.h>

#include "workers/cas/cas.h"

#define CAS_SHARES 4 /* sessions of one name that one critical section can change */

/* Its bytes have been refused, or their upload failed, and the writer got the error: they are not
 * shown any more. */
static bool has_failed(const struct shm_session *s)
{
    return s->expect.refused || s->write_error ||
           (s->publish.error && s->publishing_seq == s->write_seq);
}

typedef bool whose_fn(const struct op *op, uint32_t session);

static uint32_t next_session(struct op *op, uint32_t at, uint32_t dir, const char *name, size_t len,
                             whose_fn *is_theirs)
{
    struct shm *shm = op->w->shm;

    for (; op->caller.self.tgid && at < shm_session_used(shm); at++) {
        const struct shm_session *s = shm_session_at(shm, at);

        if (s->state == SHM_SESSION_LIVE &&
            !(s->flags & (SHM_SESSION_ORPHAN | SHM_SESSION_REPLACED)) &&
            shm_node_is_named(shm, s->node, dir, name, len) && is_theirs(op, at))
            return at;
    }
    return SHM_NIL;
}

uint32_t cas_next_session(struct op *op, uint32_t at, uint32_t dir, const char *name, size_t len)
{
    return next_session(op, at, dir, name, len, cas_is_party);
}

uint32_t cas_next_of_family(struct op *op, uint32_t at, uint32_t dir, const char *name, size_t len)
{
    return next_session(op, at, dir, name, len, cas_is_family);
}

/* Under shm->meta. The next session of other processes on this name. */
static uint32_t next_of_others(struct op *op, uint32_t at, uint32_t dir, const char *name,
                               size_t len)
{
    struct shm *shm = op->w->shm;

    for (; at < shm_session_used(shm); at++) {
        const struct shm_session *s = shm_session_at(shm, at);

        /* (A file that others have created, and that nobody else has seen, is not the removed
         * one.) */
        if (s->state == SHM_SESSION_LIVE && at != op->rec->session &&
            !(s->flags & (SHM_SESSION_ORPHAN | SHM_SESSION_REPLACED)) && !s->expect.absent &&
            shm_node_is_named(shm, s->node, dir, name, len) && !cas_is_family(op, at))
            return at;
    }
    return SHM_NIL;
}

/* One session per critical section, since there may be more than one section can change. */
void cas_replaced(struct op *op, uint64_t dir_id, const char *name, size_t len, bool moved)
{
    uint32_t flags = SHM_SESSION_REPLACED | (moved ? SHM_SESSION_MOVED : 0);
    struct worker *w = op->w;
    uint32_t at = op->caller.self.tgid ? 0 : SHM_NIL, dir;

    while (at != SHM_NIL) {
        worker_lock(w);
        dir = shm_node_of_id(w->shm, dir_id);
        at = dir == SHM_NIL ? SHM_NIL : next_of_others(op, at, dir, name, len);
        if (at != SHM_NIL)
            shm_session_edit(w->shm, at++)->flags |= flags;
        worker_unlock(w);
    }
}

void cas_sessions_copied(struct worker *w, uint32_t node, const char from[SHM_ETAG_MAX],
                         const char to[SHM_ETAG_MAX])
{
    struct shm *shm = w->shm;
    const struct shm_node *n = shm_node_at(shm, node);
    unsigned moved = 0;

    for (uint32_t at = 0; at < shm_session_used(shm) && moved < SHM_BASELINE_MOVES; at++) {
        const struct shm_session *s = shm_session_at(shm, at);

        if (s->state != SHM_SESSION_LIVE || strcmp(s->expect.etag, from) != 0 ||
            !shm_node_is_named(shm, s->node, n->parent, shm_node_name(shm, node), n->name_len))
            continue;
        shm_session_expect(shm, at, to);
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

uint32_t cas_own_clean(struct op *op, uint32_t named)
{
    struct shm *shm = op->w->shm;
    const struct shm_node *n = shm_node_at(shm, named);
    uint32_t at = 0;

    while ((at = cas_next_session(op, at, n->parent, shm_node_name(shm, named), n->name_len)) !=
           SHM_NIL) {
        const struct shm_session *s = shm_session_at(shm, at++);

        if (!shm_session_dirty(s) && !has_failed(s) && s->publish.state == SHM_JOB_IDLE &&
            shm_etag_same(s->expect.etag, n->etag))
            return s->node;
    }
    return SHM_NIL;
}

/* (Making the copy may evict the node, so its fields are copied first.) */
int64_t cas_copy(struct worker *w, uint32_t node, bool private)
{
    const struct shm_node n = *shm_node_at(w->shm, node);
    const char *name = shm_node_name(w->shm, node);
    struct shm_version v = shm_node_version(&n);
    struct shm_node *copy;
    int64_t r = private ? shm_node_private(w->shm, n.parent, name, n.name_len, &v, n.checked_ns)
                        : shm_node_intern(w->shm, n.parent, name, n.name_len, &v, n.checked_ns);

    if (r < 0)
        return r;
    copy = shm_node_edit(w->shm, (uint32_t)r);
    shm_node_copy_meta(copy, &n);
    copy->content = n.content;
    copy->bytes_node = n.bytes_node;
    return r;
}

int64_t cas_private(struct op *op, uint32_t node)
{
    struct worker *w = op->w;
    uint16_t fresh = shm_node_at(w->shm, node)->flags & SHM_NODE_FRESH;
    int64_t r = cas_copy(w, node, true);
    struct shm_node *own;

    if (r < 0)
        return r;
    own = shm_node_edit(w->shm, (uint32_t)r);
    own->flags |= fresh;
    own->looked_by = op->caller.pid;
    own->maker = (uint32_t)op->caller.self.tgid;
    return r;
}

uint32_t cas_made(struct op *op, uint32_t named)
{
    struct shm *shm = op->w->shm;
    const struct shm_node *n = shm_node_at(shm, named), *made;
    uint32_t told = cas_told(op->w, named);
    struct shm_node *own;

    if (told == named || !op->caller.self.tgid)
        return SHM_NIL;
    made = shm_node_at(shm, told);
    if (made->maker != (uint32_t)op->caller.self.tgid || made->opens || made->session != SHM_NIL ||
        !shm_etag_same(made->etag, n->etag) || made->content != n->content ||
        made->bytes_node != n->bytes_node)
        return SHM_NIL;
    own = shm_node_edit(shm, told);
    own->flags |= n->flags & SHM_NODE_FRESH;
    own->checked_ns = n->checked_ns;
    return told;
}

uint32_t cas_told(struct worker *w, uint32_t named)
{
    const struct shm_node *n = shm_node_at(w->shm, named), *told;

    if ((n->flags & SHM_NODE_DIR) || !n->told || n->told > w->shm->header->sizes.nodes)
        return named;
    told = shm_node_at(w->shm, n->told - 1);
    return told->state == SHM_NODE_LIVE && (told->flags & SHM_NODE_PRIVATE) &&
                   shm_node_named(w->shm, n->told - 1) == named
               ? n->told - 1
               : named;
}

void cas_tells(struct worker *w, uint32_t node)
{
    const struct shm_node *n = shm_node_at(w->shm, node);
    bool own = n->flags & SHM_NODE_PRIVATE;
    uint32_t named = node, told = own ? node + 1 : 0;

    if (n->flags & SHM_NODE_DIR)
        return;
    if (own)
        named = shm_node_named(w->shm, node);
    if (named != SHM_NIL && !(shm_node_at(w->shm, named)->flags & SHM_NODE_DIR) &&
        shm_node_at(w->shm, named)->told != told)
        shm_node_edit(w->shm, named)->told = told;
}

static bool is_written(struct worker *w, const struct shm_node *n)
{
    return n->session != SHM_NIL && shm_session_dirty(shm_session_at(w->shm, n->session));
}

/* Under shm->meta. Gives `to`, if it has version `from` or that of `n`, the metadata of `n`. (What
 * is being written has a time of its own.) */
static void share_with(struct worker *w, uint32_t to, const struct shm_node *n, const char *from)
{
    const struct shm_node *old = shm_node_at(w->shm, to);
    bool written = is_written(w, old);
    int64_t mtime_ns = old->mtime_ns;
    uint16_t mtime_set = old->flags & SHM_NODE_MTIME_SET;
    struct shm_node *other;

    if (old == n || (strcmp(old->etag, from) != 0 && strcmp(old->etag, n->etag) != 0))
        return;
    other = shm_node_edit(w->shm, to);
    memcpy(other->etag, n->etag, SHM_ETAG_MAX);
    shm_node_copy_meta(other, n);
    if (written) {
        other->mtime_ns = mtime_ns;
        other->flags = (uint16_t)((other->flags & ~SHM_NODE_MTIME_SET) | mtime_set);
    } else if (other->session != SHM_NIL && (n->flags & SHM_NODE_MTIME_SET)) {
        shm_session_edit(w->shm, other->session)->mtime_ns = n->mtime_ns;
    }
}

/* Under shm->meta. The same for the time of the last change of attributes alone. */
static void share_ctime(struct worker *w, uint32_t to, const struct shm_node *n, const char *from)
{
    const struct shm_node *old = shm_node_at(w->shm, to);

    if (old != n && strcmp(old->etag, from) == 0 && !is_written(w, old) &&
        old->ctime_ns < n->ctime_ns)
        shm_node_edit(w->shm, to)->ctime_ns = n->ctime_ns;
}

typedef void share_fn(struct worker *w, uint32_t to, const struct shm_node *n, const char *from);

/* Under shm->meta. Calls `share` for all nodes of the name of `node`. */
static void share_by_name(struct worker *w, uint32_t node, const char *from, share_fn *share)
{
    struct shm *shm = w->shm;
    const struct shm_node *n = shm_node_at(shm, node);
    const char *name = shm_node_name(shm, node);
    uint32_t named;
    unsigned shared = 0;

    if (!w->variant->isolates || (n->flags & SHM_NODE_DIR))
        return;
    named = shm_node_named(shm, node);
    if (named != SHM_NIL)
        share(w, named, n, from);
    for (uint32_t at = 0; at < shm_session_used(shm) && shared < CAS_SHARES; at++) {
        const struct shm_session *s = shm_session_at(shm, at);

        if (s->state == SHM_SESSION_LIVE &&
            shm_node_is_named(shm, s->node, n->parent, name, n->name_len)) {
            share(w, s->node, n, from);
            shared++;
        }
    }
}

void cas_share(struct worker *w, uint32_t node, const char from[SHM_ETAG_MAX])
{
    share_by_name(w, node, from, share_with);
}

void cas_share_ctime(struct worker *w, uint32_t node)
{
    const struct shm_node *n = shm_node_at(w->shm, node);

    if (*n->etag && !n->no_name && (n->flags & (SHM_NODE_CURRENT | SHM_NODE_PRIVATE)))
        share_by_name(w, node, n->etag, share_ctime);
}
