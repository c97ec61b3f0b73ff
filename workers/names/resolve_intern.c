/* Applies a reply of S3 (resolve.c) to the name table: versions, metadata, and replies that came
 * too late. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "shm/shm_session.h"
#include "workers/cas/cas.h"
#include "workers/names/resolve.h"
#include "workers/objmeta/meta.h"
#include "workers/op/dir_witness.h"
#include "workers/op/hold.h"
#include "workers/read/fetch.h"
#include "workers/read/version_id.h"

/* PLAIN is left out: it only describes the last reply. */
#define STATE_FLAGS (SHM_NODE_META_FLAGS & ~SHM_NODE_PLAIN)

static void note_state(const struct shm_node *n, struct resolve_known *ret)
{
    ret->content = n->content;
    ret->meta = n->flags & STATE_FLAGS;
    ret->mode = n->mode;
    ret->uid = n->uid;
    ret->gid = n->gid;
    ret->mtime_ns = n->mtime_ns;
    ret->atime_ns = n->atime_ns;
    ret->ctime_ns = n->ctime_ns;
}

/* True if this mount has published the file since S3 was asked, or changed its attributes. (Or has
 * learned a change by another machine, which is just as good a reason.) */
static bool was_changed(const struct shm_node *n, const struct resolve_known *known)
{
    if (n->flags & SHM_NODE_DIR)
        return false;
    if (n->content != known->content)
        return true;
    return (known->meta & SHM_NODE_META) &&
           ((n->flags & STATE_FLAGS) != known->meta || n->mode != known->mode ||
            n->uid != known->uid || n->gid != known->gid || n->mtime_ns != known->mtime_ns ||
            n->atime_ns != known->atime_ns || n->ctime_ns != known->ctime_ns);
}

void resolve_note(struct worker *w, uint32_t node, struct resolve_known *ret)
{
    const struct shm_node *n;
    uint64_t now = clock_mono_ns();

    *ret = (struct resolve_known){.asked_ns = now, .since_ns = now};
    if (node == SHM_NIL)
        return;
    n = shm_node_at(w->shm, node);
    ret->node_id = shm_node_id(w->shm, node);
    if (n->flags & SHM_NODE_DIR)
        return;
    note_state(n, ret);
    if (n->flags & SHM_NODE_LOCAL)
        return;
    if (w->conf->metadata == CONF_METADATA_FULL && !(n->flags & SHM_NODE_META))
        return; /* "not modified" would not contain them */
    if (cas_is_empty(n->etag))
        return; /* nor would it tell which empty file it is, or whether it is a file at all */
    /* "Not modified" helps only if the first bytes are cached: a process that opens a file reads it
     * from the start. */
    if (fetch_has_start(w, n))
        memcpy(ret->etag, n->etag, SHM_ETAG_MAX);
}

/* Whatever S3 returns for a directory, it exists as long as there is an unpublished file below
 * it. */
static bool holds_sessions(struct worker *w, uint32_t dir)
{
    for (uint32_t i = 0; i < shm_session_used(w->shm); i++) {
        const struct shm_session *s = shm_session_at(w->shm, i);
        uint32_t at = s->state == SHM_SESSION_LIVE ? s->node : SHM_NIL;

        while (at != SHM_NIL && at != dir)
            at = shm_node_at(w->shm, at)->parent;
        if (at == dir)
            return true;
    }
    return false;
}

static int64_t nothing_there(struct worker *w, uint32_t node)
{
    if (node == SHM_NIL)
        return -ENOENT;
    if ((shm_node_at(w->shm, node)->flags & SHM_NODE_DIR) && holds_sessions(w, node))
        return node;
    shm_node_gone(w->shm, node);
    return -ENOENT;
}

/* While a directory above it is being moved, the node stays: the keys move one by one, the nodes in
 * the end, with all that is known of them. A directory is there all the time, as the current one of
 * a process may be; a file is not, and nobody may create one now, which would replace the one that
 * has moved already. */
static int64_t moves_now(const struct shm_node *n, uint32_t node)
{
    return n->flags & SHM_NODE_DIR ? (int64_t)node : -ENOENT;
}

/* Times are whole seconds: a listing has a finer resolution than a GET of the same object, and a
 * file's time must not depend on how it was found. For the same reason a known version keeps its
 * time, unless metadata contain another one (a file published here has the time of its last
 * write). */
static void version_of(const struct shm_node *n, const struct resolve_result *res,
                       struct shm_version *v)
{
    const struct s3_object *obj = res->obj;

    *v = (struct shm_version){.mode = SHM_MODE_UNSET,
                              .uid = SHM_MODE_UNSET,
                              .gid = SHM_MODE_UNSET,
                              .dir = res->kind == RESOLVE_DIR};
    if (v->dir)
        return;
    v->size = obj->size;
    v->etag = obj->etag;
    v->mtime_ns = obj->mtime_ns / (int64_t)NS_PER_S * (int64_t)NS_PER_S;
    if (n && !(n->flags & SHM_NODE_DIR) && strcmp(n->etag, obj->etag) == 0)
        v->mtime_ns = n->mtime_ns;
}

static void note_version_id(struct worker *w, uint32_t node, const struct s3_object *obj)
{
    char key[KEY_CAP];

    if (*obj->version && obj->size > SHM_BLOCK_SIZE && key_of_node(w, node, key) == 0)
        version_id_told(w, node, key, obj);
}

static int64_t resolve_intern_intern(struct worker *w, uint32_t dir, const char *name, size_t len,
                                     uint32_t node, const struct resolve_known *known,
                                     const struct resolve_result *res)
{
    struct shm_version v;
    bool set = false;
    int64_t r;

    version_of(node == SHM_NIL ? NULL : shm_node_at(w->shm, node), res, &v);
    if (res->has_meta)
        set = w->conf->metadata == CONF_METADATA_FULL && meta_read(res->obj, &v);
    r = shm_node_intern(w->shm, dir, name, len, &v, known->asked_ns);
    if (r >= 0 && set && shm_node_at(w->shm, (uint32_t)r)->session == SHM_NIL)
        shm_node_edit(w->shm, (uint32_t)r)->flags |= SHM_NODE_MTIME_SET;
    if (r >= 0 && !v.dir)
        note_version_id(w, (uint32_t)r, res->obj);
    return r;
}

bool resolve_is_ours(struct worker *w, const struct shm_node *n)
{
    const struct shm_session *s;

    if (n->session == SHM_NIL)
        return false;
    s = shm_session_at(w->shm, n->session);
    return shm_session_dirty(s) || s->writing || s->publish.state != SHM_JOB_IDLE ||
           !shm_session_has_spool(s) || (s->flags & SHM_SESSION_ORPHAN);
}

/* Under shm->meta. S3 has another version than this node, whose session has written nothing: the
 * name goes to that version, as it would without the session. */
static void leave_name(struct worker *w, uint32_t node, const struct resolve_result *res)
{
    const struct shm_node *n = shm_node_at(w->shm, node);

    if (n->session != SHM_NIL && !res->not_modified &&
        (res->kind != RESOLVE_FILE || !shm_etag_same(n->etag, res->obj->etag)))
        shm_node_gone(w->shm, node);
}

/* A reply shows the state at some moment between the request and now. What was found out or
 * published here is newer if its own request was sent after this one (checked_ns). If it was sent
 * before and its reply came after, the order of the two is unknown. If the directory has been moved
 * since, the reply is about another key. */
int64_t resolve_intern(struct worker *w, uint32_t dir, const char *name, size_t len,
                       const struct resolve_known *known, const struct resolve_result *res)
{
    uint32_t node = shm_node_find(w->shm, dir, name, len);
    const struct shm_node *n = node == SHM_NIL ? NULL : shm_node_at(w->shm, node);
    struct shm_node *confirmed;

    if (n && (resolve_is_ours(w, n) || n->checked_ns > known->since_ns))
        return node;
    if ((n ? shm_node_id(w->shm, node) : 0) != known->node_id || (n && was_changed(n, known)) ||
        shm_node_was_moved(w->shm, dir, known->asked_ns))
        return -EAGAIN;
    if (n && res->kind == RESOLVE_NONE && hold_is_taken(w, n->parent, 0))
        return moves_now(n, node);
    if (n)
        leave_name(w, node, res);
    if (res->kind == RESOLVE_NONE) {
        dir_witness_gone(w, dir, name, len);
        return nothing_there(w, node);
    }
    if (!res->not_modified)
        return resolve_intern_intern(w, dir, name, len, node, known, res);
    if (!n || strcmp(n->etag, known->etag) != 0)
        return -EAGAIN;
    confirmed = shm_node_edit(w->shm, node);
    confirmed->checked_ns = known->asked_ns;
    confirmed->flags &= (uint16_t)~SHM_NODE_PLAIN; /* its metadata may have changed by now */
    return node;
}

void resolve_keep_data(struct worker *w, uint32_t node, const struct resolve_result *res)
{
    uint64_t first = SHM_BLOCK_SIZE;
    const struct shm_node *n;
    uint32_t content = 0, bytes_node = 0;
    bool same;

    if (!res->data)
        return;
    if (res->obj->size < first)
        first = res->obj->size;
    if (res->data_len < first) /* a partial block is useless */
        return;
    worker_lock(w);
    n = shm_node_at(w->shm, node);
    same =
        !(n->flags & SHM_NODE_DIR) && n->session == SHM_NIL && strcmp(n->etag, res->obj->etag) == 0;
    content = n->content;
    bytes_node = n->bytes_node;
    worker_unlock(w);
    if (same)
        fetch_put(w, bytes_node, content, res->data, (uint32_t)first);
}
