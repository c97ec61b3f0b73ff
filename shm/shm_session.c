/* The table of write sessions. workers/ decides what a session means (publish.c, op_write.c). */
#include "shm/shm_session.h"

#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>

size_t shm_session_size(const struct shm_sizes *s)
{
    return sizeof(struct shm_session_table) + (size_t)s->sessions * sizeof(struct shm_session);
}

uint32_t shm_session_used(const struct shm *shm)
{
    uint32_t used = shm->sessions->used, all = shm->header->sizes.sessions;

    return used < all ? used : all;
}

unsigned shm_session_names(const struct shm_session *s, const char *ret[SHM_SESSION_NAMES_MAX])
{
    static const char *const contents[] = {
        [SHM_CONTENT_SPOOL] = "loaded", [SHM_CONTENT_EMPTYING] = "emptying",
        [SHM_CONTENT_S3] = "on-s3",     [SHM_CONTENT_COPY] = "copy",
        [SHM_CONTENT_PATCH] = "patch",
    };
    static const char *const flags[SHM_SESSION_FLAGS] = {
        "on-disk",  "no-copy", "lost",   "xattr",   "unpublished", "excl", "orphan", "many-pids",
        "replaced", "moved",   "stream", "renewed", "keyed",       "late", "told",
    };
    const struct shm_expectation *e = &s->expect;
    const struct {
        bool holds;
        const char *name;
    } expectation[] = {
        {e->must, "expects"},          {e->absent, "absent"}, {e->refused, "refused"},
        {e->lineage_known, "lineage"}, {e->ours, "ours"},     {e->tried, "tried"},
    };
    uint32_t content = s->content;
    unsigned n = 0;

    ret[n++] = content <= SHM_CONTENT_PATCH ? contents[content] : "?";
    for (unsigned bit = 0; bit < SHM_SESSION_FLAGS; bit++) {
        if (s->flags & (1u << bit))
            ret[n++] = flags[bit];
    }
    for (unsigned i = 0; i < sizeof(expectation) / sizeof(expectation[0]); i++) {
        if (expectation[i].holds)
            ret[n++] = expectation[i].name;
    }
    return n;
}

const struct shm_session *shm_session_at(struct shm *shm, uint32_t idx)
{
    assert(idx < shm->header->sizes.sessions);
    return &shm->sessions->slot[idx];
}

struct shm_session *shm_session_edit(struct shm *shm, uint32_t idx)
{
    struct shm_session *s = &shm->sessions->slot[idx];

    assert(idx < shm->header->sizes.sessions);
    shm_save(shm, shm->meta, s, offsetof(struct shm_session, copy));
    return s;
}

static void set_text(struct shm *shm, uint32_t idx, const char *text, uint32_t flag)
{
    struct shm_session *s = shm_session_edit(shm, idx);
    size_t len = strnlen(text, sizeof(s->xattr) - 1);

    shm_save(shm, shm->meta, s->xattr, sizeof(s->xattr));
    memcpy(s->xattr, text, len);
    s->xattr[len] = '\0';
    s->flags |= flag;
}

void shm_session_expect(struct shm *shm, uint32_t idx, const char etag[SHM_ETAG_MAX])
{
    struct shm_session *s = &shm->sessions->slot[idx];

    shm_save(shm, shm->meta, s->expect.etag, SHM_ETAG_MAX);
    memcpy(s->expect.etag, etag, SHM_ETAG_MAX);
}

void shm_session_set_xattr(struct shm *shm, uint32_t idx, const char *text)
{
    set_text(shm, idx, text, SHM_SESSION_XATTR);
}

void shm_session_set_key(struct shm *shm, uint32_t idx, const char *key)
{
    set_text(shm, idx, key, SHM_SESSION_KEYED);
}

bool shm_session_set_copy(struct shm *shm, uint32_t idx, const char *key, const char *etag)
{
    struct shm_session *s = shm_session_edit(shm, idx);
    size_t len = strlen(key);

    if (len >= sizeof(s->copy.key))
        return false;
    shm_save(shm, shm->meta, &s->copy, sizeof(s->copy));
    memset(s->copy.key, 0, sizeof(s->copy.key));
    memcpy(s->copy.key, key, len);
    shm_etag_copy(s->copy.etag, etag);
    s->content = SHM_CONTENT_COPY;
    s->flags &= ~(uint32_t)(SHM_SESSION_NO_COPY | SHM_SESSION_LOST);
    return true;
}

int64_t shm_session_new(struct shm *shm, uint32_t node)
{
    assert(shm_node_at(shm, node)->session == SHM_NIL);
    for (uint32_t i = 0; i < shm->header->sizes.sessions; i++) {
        struct shm_session *s;
        uint32_t generation;

        if (shm_session_at(shm, i)->state != SHM_SESSION_FREE)
            continue;
        s = shm_session_edit(shm, i);
        generation = s->generation + 1;
        memset(s, 0, offsetof(struct shm_session, copy));
        s->state = SHM_SESSION_LIVE;
        s->generation = generation;
        s->node = node;
        s->refs = 1;
        s->content = SHM_CONTENT_SPOOL;
        s->changed_from = UINT64_MAX;
        shm_set(shm, shm->meta, shm->sessions->live, shm->sessions->live + 1);
        if (i >= shm->sessions->used)
            shm_set(shm, shm->meta, shm->sessions->used, i + 1);
        shm_node_set_session(shm, node, i);
        return i;
    }
    return -ENFILE;
}

void shm_session_close(struct shm *shm, uint32_t idx, uint32_t owner)
{
    struct shm_session *s = shm_session_edit(shm, idx);

    if (s->state != SHM_SESSION_LIVE)
        return;
    shm_node_set_session(shm, s->node, SHM_NIL);
    s->state = SHM_SESSION_CLOSING;
    s->publish.owner = owner;
    s->node = SHM_NIL;
}

void shm_session_free(struct shm *shm, uint32_t idx)
{
    struct shm_session *s = shm_session_edit(shm, idx);

    if (s->state != SHM_SESSION_CLOSING)
        return;
    s->state = SHM_SESSION_FREE;
    shm_set(shm, shm->meta, shm->sessions->mem_used, shm->sessions->mem_used - s->mem_reserved);
    s->mem_reserved = 0;
    shm_set(shm, shm->meta, shm->sessions->live, shm->sessions->live - 1);
}

bool shm_session_dirty(const struct shm_session *s)
{
    return s->write_seq != s->published_seq || (s->flags & SHM_SESSION_UNPUBLISHED);
}

const struct shm_session_pid *shm_session_pid_by_tid(const struct shm_session *s, int32_t tid)
{
    for (int i = 0; tid && i < SHM_SESSION_PIDS; i++) {
        if (s->pids[i].tgid && s->pids[i].tid == tid)
            return &s->pids[i];
    }
    return NULL;
}

/* The entry of (tgid, start), or a free one, or NULL. A thread is in one process at a time: if
 * another entry has the same tid, that thread no longer exists. */
static struct shm_session_pid *find_pid(struct shm_session *s, int32_t tid, int32_t tgid,
                                        uint64_t start)
{
    struct shm_session_pid *found = NULL, *free_slot = NULL;

    for (int i = 0; i < SHM_SESSION_PIDS; i++) {
        struct shm_session_pid *p = &s->pids[i];

        if (!p->tgid && !free_slot)
            free_slot = p;
        else if (p->tgid == tgid && p->start == start)
            found = p;
        else if (p->tid == tid)
            p->tid = 0;
    }
    return found ? found : free_slot;
}

struct shm_session_pid *shm_session_pid(struct shm *shm, uint32_t idx, int32_t tid, int32_t tgid,
                                        uint64_t start)
{
    struct shm_session *s = shm_session_edit(shm, idx);
    struct shm_session_pid *p = tgid > 0 ? find_pid(s, tid, tgid, start) : NULL;

    if (!p) {
        s->flags |= SHM_SESSION_MANY_PIDS;
        return NULL;
    }
    if (!p->tgid)
        *p = (struct shm_session_pid){.tgid = tgid, .start = start};
    p->tid = tid;
    return p;
}

static int check_slot(struct shm *shm, uint32_t i, struct err *err)
{
    const struct shm_session *s = shm_session_at(shm, i);

    if (s->state > SHM_SESSION_CLOSING)
        return err_set(err, EUCLEAN, "session %u: state %u", i, s->state);
    if (s->state != SHM_SESSION_LIVE)
        return s->node == SHM_NIL
                   ? 0
                   : err_set(err, EUCLEAN, "session %u: ended, on node %u", i, s->node);
    if (s->node >= shm->header->sizes.nodes || shm_node_at(shm, s->node)->session != i)
        return err_set(err, EUCLEAN, "session %u: its node %u has another", i, s->node);
    if (s->content > SHM_CONTENT_PATCH)
        return err_set(err, EUCLEAN, "session %u: content %u", i, s->content);
    if (s->base > s->held_from || s->held_from > s->size)
        return err_set(err, EUCLEAN, "session %u: its spool begins beyond its end", i);
    if (s->published_seq > s->write_seq)
        return err_set(err, EUCLEAN, "session %u: published the future", i);
    if (s->opening.state == SHM_JOB_RUNNING && s->publish.state == SHM_JOB_RUNNING)
        return err_set(err, EUCLEAN, "session %u: published while its upload is opened", i);
    if (s->refs == 0 && s->publish.state == SHM_JOB_IDLE && s->load.state == SHM_JOB_IDLE &&
        s->opening.state == SHM_JOB_IDLE && !shm_session_dirty(s) &&
        !(shm_node_at(shm, s->node)->opens &&
          ((s->flags & SHM_SESSION_ORPHAN) ||
           (shm_node_at(shm, s->node)->flags & SHM_NODE_PRIVATE))))
        return err_set(err, EUCLEAN, "session %u: nobody uses it", i);
    return 0;
}

/* The other direction: the session of each node belongs to that node. */
static int check_nodes(struct shm *shm, struct err *err)
{
    for (uint32_t i = 0; i < shm->nodes->fresh_node; i++) {
        const struct shm_node *n = shm_node_at(shm, i);

        if (n->state != SHM_NODE_LIVE || n->session == SHM_NIL)
            continue;
        if (n->session >= shm->header->sizes.sessions || shm_session_at(shm, n->session)->node != i)
            return err_set(err, EUCLEAN, "node %u: session %u is not its own", i, n->session);
    }
    return 0;
}

static int session_check_locked(struct shm *shm, struct err *err)
{
    const struct shm_session_table *t = shm->sessions;
    uint64_t mem = 0;
    uint32_t live = 0;

    if (t->used > shm->header->sizes.sessions)
        return err_set(err, EUCLEAN, "%u sessions were in use, of %u", t->used,
                       shm->header->sizes.sessions);
    for (uint32_t i = 0; i < t->used; i++) {
        int r = check_slot(shm, i, err);

        if (r < 0)
            return r;
        live += t->slot[i].state != SHM_SESSION_FREE;
        mem += t->slot[i].mem_reserved;
    }
    if (live != t->live || mem != t->mem_used)
        return err_set(err, EUCLEAN, "%u sessions live, counted %u; %llu bytes, counted %llu",
                       t->live, live, (unsigned long long)t->mem_used, (unsigned long long)mem);
    return check_nodes(shm, err);
}

int shm_session_check(struct shm *shm, struct err *err)
{
    int r;

    shm_lock(shm, shm->meta);
    r = session_check_locked(shm, err);
    shm_unlock(shm, shm->meta);
    return r;
}
