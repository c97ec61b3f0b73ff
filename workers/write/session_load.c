/* Loading the content of a session from S3.
 *
 * The load is a job of the session, like a publish: it continues if the op that began it is
 * interrupted, other ops wait for it, and if its worker dies, one of them starts it again. The GET
 * is pinned to the node's version: a node is one version, also because of its readers' page
 * cache.
 *
 * Of a file that is changed in place (shm_patch.h) single pieces are loaded, when they are needed:
 * if the key has another object by then, by version id where the bucket keeps versions. */
#include "workers/write/session_load.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "s3/s3_error.h"
#include "shm/shm_block.h"
#include "shm/shm_patch.h"
#include "workers/op/hold.h"
#include "workers/op/key.h"
#include "workers/op/spool.h"
#include "workers/read/fetch.h"
#include "workers/read/version_id.h"
#include "workers/write/session_end.h"
#include "workers/write/session_patch.h"

struct load {
    struct worker *w;
    uint32_t session;
    uint64_t got;
    int error; /* of writing to the spool */
    char key[KEY_CAP];
    char etag[SHM_ETAG_MAX];
    struct shm_patch_piece piece; /* PATCH: what is loaded; else len 0 */
    struct fetch_source from;     /* PATCH */
    uint64_t asked_ns;            /* PATCH: when a HEAD was sent, clock_mono_ns */
    bool held; /* PATCH: when it began, an op had locked the name, which may wait for it */
};

void session_copy_lost(struct worker *w, uint32_t session)
{
    struct shm_session *s = shm_session_edit(w->shm, session);

    if (s->content == SHM_CONTENT_COPY)
        s->flags |= SHM_SESSION_LOST;
}

/* Under shm->meta. A directory above is being moved, or was moved since: the answer says nothing
 * about the key that the file has, or will have. */
static bool has_moved(const struct load *l, uint32_t node)
{
    char key[KEY_CAP];

    return hold_is_taken(l->w, shm_node_at(l->w->shm, node)->parent, 0) ||
           (key_of_node(l->w, node, key) == 0 && strcmp(key, l->key) != 0);
}

/* Under shm->meta. The file has another key or another version by now: what the answer says of the
 * old one does not count, and whoever needs the bytes asks again. */
static bool is_outdated(const struct load *l, uint32_t node)
{
    char key[KEY_CAP];

    return (!l->held && hold_is_taken(l->w, node, 0)) ||
           (key_of_node(l->w, node, key) == 0 && strcmp(key, l->key) != 0) ||
           !shm_etag_same(shm_node_at(l->w->shm, node)->etag, l->etag);
}

/* Under shm->meta. The session's content is there now, as far as it was loaded. */
static void load_store(const struct load *l, struct shm_session *s)
{
    if (l->piece.len) {
        shm_patch_loaded(l->w->shm, l->session, l->piece);
        return;
    }
    s->content = SHM_CONTENT_SPOOL;
    s->size = l->got;
}

/* A missing object counts as another version too: the kernel looks up again, and may then create
 * it. */
static void load_end(struct load *l, int result)
{
    struct worker *w = l->w;
    int error = result == -ENOENT ? -ESTALE : result;
    struct shm_session *s;
    uint32_t mask;
    bool closed;

    worker_lock(w);
    s = shm_session_edit(w->shm, l->session);
    mask = shm_session_take_waiters(s);
    s->load.state = SHM_JOB_IDLE;
    s->load.attempts++;
    if (error == -ESTALE && l->piece.len && is_outdated(l, s->node))
        error = 0;
    s->load.error = error;
    /* The name must be looked up on S3 again. */
    if (error == -ESTALE && s->content != SHM_CONTENT_COPY && !has_moved(l, s->node)) {
        shm_node_detach(w->shm, s->node);
        shm_node_list_stale(w->shm, shm_node_at(w->shm, s->node)->parent);
    }
    if (error)
        session_copy_lost(w, l->session);
    else if (!result)
        load_store(l, s);
    closed = session_end_unused(w, l->session);
    worker_unlock(w);
    if (closed)
        session_clear(w, l->session);
    worker_wake(w, mask | UINT32_C(1) << w->slot);
    free(l);
}

static int on_load_data(void *arg, uint64_t off, const void *data, size_t len)
{
    struct load *l = arg;
    int r = spool_write(l->w, l->session, data, len, off);

    l->got = off + len;
    return r;
}

static void on_load_restart(void *arg)
{
    struct load *l = arg;

    spool_clear(l->w, l->session);
    l->got = 0;
}

static void on_load_done(void *arg, const struct s3_result *res)
{
    struct load *l = arg;

    if (res->error && res->error != -ESTALE && res->error != -ENOENT) /* changed, or gone */
        log_warn("cannot load for writing key=\"%s\" error=\"%s\" detail=\"%s\"", l->key,
                 strerror(-res->error), res->text);
    load_end(l, res->error);
}

/* ---- a piece of a patch ---- */

static int on_piece_data(void *arg, uint64_t off, const void *data, size_t len)
{
    struct load *l = arg;

    if (off != l->piece.off + l->got || len > l->piece.len - l->got)
        return -EPROTO;
    l->got += len;
    return spool_write(l->w, l->session, data, len, off);
}

/* Detects a server that ignores If-Match or the version id. */
static int on_piece_head(void *arg, const struct s3_object *obj)
{
    const struct load *l = arg;

    return shm_etag_same(obj->etag, l->etag) && obj->size == l->from.size ? 0 : -ESTALE;
}

static int ask_piece(struct load *l);

/* If the key has another object now, requests the missing bytes by version id. */
static bool goes_on_by_version(struct load *l, int error)
{
    return (error == -ESTALE || error == -ENOENT) && !*l->from.version &&
           version_id_go_on(l->w, &l->from) && ask_piece(l) == 0;
}

static void piece_failed(struct load *l, int error, const char *detail)
{
    log_warn("cannot load a piece for writing key=\"%s\" offset=%llu bytes=%llu error=\"%s\" "
             "detail=\"%s\"",
             l->key, (unsigned long long)l->piece.off, (unsigned long long)l->piece.len,
             strerror(-error), detail);
    load_end(l, error);
}

/* (After an adoption the load is outdated: whoever needs the bytes asks again.) */
static void on_piece_found(void *arg, const struct s3_result *res)
{
    struct load *l = arg;

    if (res->error && res->error != -ENOENT)
        piece_failed(l, res->error, res->text);
    else if (!res->error && session_patch_adopt(l->w, l->session, l->key, &res->obj, l->asked_ns))
        load_end(l, -ESTALE);
    else
        piece_failed(l, -ESTALE, "the file has been replaced since it was opened");
}

/* True: a HEAD shows whether an upload of the session, whose answer was lost, has replaced the
 * version that is asked for. */
static bool piece_may_be_ours(struct load *l, int error)
{
    bool may;

    worker_lock(l->w);
    may = error == -ESTALE && *shm_session_at(l->w->shm, l->session)->lost_etag;
    worker_unlock(l->w);
    l->asked_ns = clock_mono_ns();
    return may && s3_head(l->w->s3, l->key, on_piece_found, l, NULL) == 0;
}

static void on_piece_done(void *arg, const struct s3_result *res)
{
    struct load *l = arg;
    int error = res->error == -ERANGE ? -ESTALE : res->error;

    if (!error && l->got < l->piece.len)
        error = -EIO;
    if (goes_on_by_version(l, error))
        return;
    if (error && *l->from.version)
        error = version_id_failed(l->w, &l->from, res, error);
    if (piece_may_be_ours(l, error))
        return;
    if (error)
        piece_failed(l, error, res->text);
    else
        load_end(l, 0);
}

static int ask_piece(struct load *l)
{
    struct s3_get get = {
        .key = l->key,
        .version = *l->from.version ? l->from.version : NULL,
        .off = l->piece.off + l->got,
        .len = l->piece.len - l->got,
        .if_match = l->etag,
        .on_head = on_piece_head,
        .on_data = on_piece_data,
    };

    return s3_get(l->w->s3, &get, on_piece_done, l, NULL);
}

/* ---- all of it ---- */

/* True: no request is needed, since the first block holds the whole file. */
static bool load_from_block(struct load *l, uint32_t node, uint32_t content, uint64_t size)
{
    struct shm_block_key key = {.node = node, .content = content, .no = 0};
    uint32_t idx;
    bool all = false;

    if (size == 0)
        return true;
    if (size > SHM_BLOCK_SIZE || shm_block_get(l->w->shm, key, l->w->slot, &idx) != SHM_BLOCK_HIT)
        return false;
    if (shm_block_len(l->w->shm, idx) >= size) {
        l->error = spool_write(l->w, l->session, shm_block_data(l->w->shm, idx), size, 0);
        l->got = size;
        all = true;
    }
    shm_block_unpin(l->w->shm, idx, l->w->slot);
    return all;
}

static void load_start(struct load *l, const struct fetch_source *from)
{
    struct s3_get get = {.key = l->key,
                         .if_match = *l->etag ? l->etag : NULL,
                         .on_data = on_load_data,
                         .on_restart = on_load_restart};
    int r;

    if (l->piece.len) {
        r = ask_piece(l);
        if (r < 0)
            load_end(l, r);
        return;
    }
    if (load_from_block(l, from->node, from->content, from->size)) {
        load_end(l, l->error);
        return;
    }
    r = s3_get(l->w->s3, &get, on_load_done, l, NULL);
    if (r < 0)
        load_end(l, r);
}

int session_load_reserve(struct worker *w, uint32_t session, uint64_t size)
{
    if (spool_reserve(w, session, size))
        return 0;
    if (w->env->spool[session].file_fd < 0)
        return -ENOSPC;
    shm_session_edit(w->shm, session)->flags |= SHM_SESSION_ON_DISK;
    return 0;
}

/* Under shm->meta: makes the job RUNNING and fills *l. A file that does not fit into memory goes to
 * disk from the start. */
static int load_begin(struct load *l, const struct fetch_source *from)
{
    struct worker *w = l->w;
    struct shm_session *s = shm_session_edit(w->shm, l->session);
    int r = l->piece.len ? 0 : session_load_reserve(w, l->session, from->size);

    if (r < 0)
        return r;
    if (l->piece.len) {
        l->from = *from;
        l->held = hold_is_taken(w, s->node, 0);
    }
    memcpy(l->key, from->key, sizeof(l->key));
    memcpy(l->etag, from->etag, SHM_ETAG_MAX);
    s->load.state = SHM_JOB_RUNNING;
    s->load.owner = w->slot;
    return 0;
}

/* Under shm->meta: there is something to be loaded, and no load is running. */
static bool may_load(const struct shm_session *s)
{
    return s->state == SHM_SESSION_LIVE && shm_session_may_load(s) && !shm_session_is_loaded(s);
}

/* Under shm->meta: what is to be loaded of the range. */
static bool wants(struct load *l, uint64_t from, uint64_t to)
{
    const struct shm_session *s = shm_session_at(l->w->shm, l->session);

    if (!may_load(s))
        return false;
    if (s->content == SHM_CONTENT_PATCH)
        l->piece = shm_patch_needs(l->w->shm, l->session, from, to);
    return s->content != SHM_CONTENT_PATCH || l->piece.len;
}

int session_load(struct worker *w, uint32_t session)
{
    return session_load_range(w, session, 0, UINT64_MAX);
}

int session_load_range(struct worker *w, uint32_t session, uint64_t off, uint64_t end)
{
    struct load *l = calloc(1, sizeof(*l));
    struct fetch_source from;
    int r = -EAGAIN;

    if (!l)
        return -ENOMEM;
    l->w = w;
    l->session = session;
    worker_lock(w);
    if (wants(l, off, end)) {
        r = fetch_source(w, shm_session_at(w->shm, session)->node, &from);
        if (r == 0)
            r = load_begin(l, &from);
    }
    worker_unlock(w);
    if (r == 0)
        load_start(l, &from);
    else
        free(l);
    return r;
}

bool session_load_copy(struct worker *w, uint32_t session)
{
    int r = session_load(w, session);

    if (r == 0 || r == -EAGAIN)
        return true;
    worker_lock(w);
    session_copy_lost(w, session);
    shm_session_edit(w->shm, session)->load.error = r; /* a patch is not asked for again either */
    worker_unlock(w);
    return false;
}
