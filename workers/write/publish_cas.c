/* The rules of a publish with compare-and-set: applies the decisions of cas_put.c to the session,
 * and gives the name its node after a publish. */
#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "shm/shm_win.h"
#include "workers/cas/cas.h"
#include "workers/write/publish_private.h"

static void cas_begins(struct publish *p, struct shm_session *s)
{
    p->cas.since_ns = s->expect.sent_ns;
    p->cas.look = s3_habit_has(p->w->s3, S3_HABIT_CONTRADICTS);
    cas_put_begin(&p->cas, s, p->ask_meta && !p->like);
}

static enum put_next cas_first(const struct publish *p)
{
    return cas_put_first(&p->cas);
}

/* Refusals in a row, of the whole mount, after which one is examined; the second for an expected
 * version without a write-id, which cannot be distinguished from another one with the same
 * content. */
#define DOUBT_AFTER 3
#define DOUBT_AFTER_FOREIGN 6

static bool is_odd(const struct publish *p, const struct s3_result *res)
{
    uint32_t *refused = &p->w->shm->header->refused;

    return res->error == -EEXIST && !p->absent &&
           __atomic_add_fetch(refused, 1, __ATOMIC_RELAXED) >=
               (*p->cas.expected ? DOUBT_AFTER : DOUBT_AFTER_FOREIGN);
}

static enum put_next cas_refused_put(struct publish *p, const struct s3_result *res)
{
    enum put_next next;

    if (!p->cas.expects)
        return publish_lww_refused(p, res);
    if (res->http_status != 412 && res->error != -ENOENT) {
        p->cas.ambiguous |= res->may_have_acted;
        return PUT_FAILED;
    }
    next = cas_put_refused(&p->cas, res);
    return next == PUT_CONFLICT && is_odd(p, res) ? PUT_DOUBT : next;
}

/* (If nothing is expected but a PUT is in doubt, the version that is there may be ours, or be built
 * on ours.) */
static enum put_next cas_found(struct publish *p, const struct s3_result *res)
{
    if (p->cas.expects || p->cas.ambiguous)
        return cas_put_found(&p->cas, res, p->etag, &p->absent);
    return publish_lww_found(p, res);
}

static void cas_done(struct publish *p, struct shm_session *s, const struct s3_result *res)
{
    const char *replaced = p->absent ? "" : p->etag;

    if (p->cas.expects && !p->cas.ambiguous && !res->may_have_acted && res->attempts == 1)
        p->contradicts =
            !shm_win_add(p->w->shm, p->key, replaced, res->obj.etag, p->sent_ns, clock_mono_ns());
    cas_put_done(&p->cas, s, p->size);
    cas_published(p->w, p->session, p->key, replaced, res->obj.etag);
}

/* Under shm->meta. S3 no longer has the version of the name's node. */
static void lose_name(struct publish *p, uint32_t node)
{
    struct shm *shm = p->w->shm;
    uint32_t named = shm_node_named(shm, node);

    if (named != SHM_NIL && !p->absent && shm_etag_same(shm_node_at(shm, named)->etag, p->etag))
        shm_node_detach(shm, named);
}

static void cas_failed(struct publish *p, struct shm_session *s, int error)
{
    if (!p->cas.ambiguous)
        s->expect.tried = false;
    if (error == -EEXIST) {
        cas_conflict(p->w, p->session, p->key, p->cas.gone);
        lose_name(p, s->node);
    }
    if (s->expect.must)
        shm_node_list_stale(p->w->shm, shm_node_at(p->w->shm, s->node)->parent);
}

/* Under shm->meta. True if everything that changed is beyond what the readers of the name's node
 * have: a log was appended to. (Not after a rename: that brings another file.) */
static bool has_grown(const struct publish *p, const struct shm_node *named)
{
    const struct shm_session *s = shm_session_at(p->w->shm, p->session);

    return named->opens && named->session == SHM_NIL && !p->absent && *p->etag && !p->like &&
           !(named->flags & (SHM_NODE_DIR | SHM_NODE_LINK)) && strcmp(named->etag, p->etag) == 0 &&
           s->changed_from >= named->size && p->size > named->size;
}

/* Under shm->meta. Copies version and attributes from the session's node. */
static void inherit(struct shm *shm, uint32_t named, const struct shm_node *n)
{
    const uint16_t told = SHM_NODE_MTIME_SET | SHM_NODE_META_FLAGS;
    struct shm_node *to = shm_node_edit(shm, named);

    to->size = n->size;
    to->mtime_ns = n->mtime_ns;
    to->mode = n->mode;
    to->uid = n->uid;
    to->gid = n->gid;
    to->checked_ns = n->checked_ns;
    memcpy(to->etag, n->etag, SHM_ETAG_MAX);
    to->flags = (uint16_t)((to->flags & ~(told | SHM_NODE_FRESH)) | (n->flags & told));
    to->told = n->nlookup ? (uint32_t)(n - shm_node_at(shm, 0)) + 1 : 0;
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

    if (named != SHM_NIL && has_grown(p, shm_node_at(shm, named))) {
        shm_node_new_content(shm, named);
        inherit(shm, named, n);
        return;
    }
    r = shm_node_intern(shm, n->parent, shm_node_name(shm, node), n->name_len, &v, n->checked_ns);
    if (r >= 0) {
        inherit(shm, (uint32_t)r, n);
        return;
    }
    if (named != SHM_NIL)
        shm_node_gone(shm, named);
    shm_node_list_stale(shm, n->parent);
}

static uint32_t cas_takes_name(struct publish *p, uint32_t node)
{
    publish_name(p, node);
    return shm_node_named(p->w->shm, node);
}

const struct publish_rules publish_cas = {
    .begin = cas_begins,
    .first = cas_first,
    .refused = cas_refused_put,
    .found = cas_found,
    .published = cas_done,
    .takes_name = cas_takes_name,
    .failed = cas_failed,
};
