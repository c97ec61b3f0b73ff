/* Loading the content of a session from S3.
 *
 * The load is a job of the session, like a publish: it continues if the op that began it is
 * interrupted, other ops wait for it, and if its worker dies, one of them starts it again. The GET
 * is pinned to the node's version: a node is one version, also because of its readers' page
 * cache. */
#include "workers/write/session_load.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "s3/s3_error.h"
#include "shm/shm_block.h"
#include "workers/op/hold.h"
#include "workers/op/key.h"
#include "workers/op/spool.h"
#include "workers/read/fetch.h"
#include "workers/write/session_end.h"

struct load {
    struct worker *w;
    uint32_t session;
    uint64_t got;
    int error; /* of writing to the spool */
    char key[KEY_CAP];
    char etag[SHM_ETAG_MAX];
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
    s->load.error = error;
    /* The name must be looked up on S3 again. */
    if (error == -ESTALE && s->content != SHM_CONTENT_COPY && !has_moved(l, s->node)) {
        shm_node_detach(w->shm, s->node);
        shm_node_list_stale(w->shm, shm_node_at(w->shm, s->node)->parent);
    }
    if (error)
        session_copy_lost(w, l->session);
    else {
        s->content = SHM_CONTENT_SPOOL;
        s->size = l->got;
    }
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

    if (load_from_block(l, from->node, from->content, from->size)) {
        load_end(l, l->error);
        return;
    }
    r = s3_get(l->w->s3, &get, on_load_done, l, NULL);
    if (r < 0)
        load_end(l, r);
}

/* Under shm->meta: makes the job RUNNING and fills *l. A file that does not fit into memory goes to
 * disk from the start. */
static int load_begin(struct load *l, const struct fetch_source *from)
{
    struct worker *w = l->w;
    struct shm_session *s = shm_session_edit(w->shm, l->session);

    if (!spool_reserve(w, l->session, from->size)) {
        if (w->env->spool[l->session].file_fd < 0)
            return -ENOSPC;
        s->flags |= SHM_SESSION_ON_DISK;
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
    return s->state == SHM_SESSION_LIVE && s->load.state == SHM_JOB_IDLE &&
           !shm_session_is_loaded(s);
}

int session_load(struct worker *w, uint32_t session)
{
    struct load *l = calloc(1, sizeof(*l));
    struct fetch_source from;
    int r = -EAGAIN;

    if (!l)
        return -ENOMEM;
    l->w = w;
    l->session = session;
    worker_lock(w);
    if (may_load(shm_session_at(w->shm, session))) {
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
    worker_unlock(w);
    return false;
}
