/* See session_key.h. Publishing and ending are those of every session. */
#include "workers/write/session_key.h"

#include <errno.h>
#include <string.h>

#include "workers/op/spool.h"
#include "workers/write/names_tell.h"
#include "workers/write/session_change.h"

/* The name of its node: none that a file could have. */
#define NO_NAME "/"

static void note_caller(struct op *op, uint32_t session)
{
    const struct shm_baseline_who *self = &op->caller.self;
    struct shm_session_pid *p;

    if (!self->tgid)
        return;
    p = shm_session_pid(op->w->shm, session, (int32_t)op->caller.pid, self->tgid, self->start);
    if (p)
        p->flags |= SHM_PID_OPENED | SHM_PID_WROTE;
}

/* Last write wins: the version that the mount knows is a condition that keeps a lost PUT from
 * undoing a later one. If it no longer holds, the PUT is repeated on the version that is there. */
static void hint(struct worker *w, struct shm_session *s, const char *key)
{
    if (!w->variant->expects && !s->expect.absent)
        names_known_etag(w, key, s->expect.etag);
}

/* Under shm->meta. */
static int session_key_begin(struct op *op, const char *key, bool exclusive)
{
    struct shm *shm = op->w->shm;
    struct shm_version v = {
        .local = true, .mode = SHM_MODE_UNSET, .uid = SHM_MODE_UNSET, .gid = SHM_MODE_UNSET};
    int64_t node = shm_node_private(shm, SHM_ROOT, NO_NAME, strlen(NO_NAME), &v, 0), idx;
    struct shm_session *s;

    if (node < 0)
        return (int)node;
    idx = shm_session_new(shm, (uint32_t)node);
    if (idx < 0)
        return (int)idx;
    shm_session_set_key(shm, (uint32_t)idx, key);
    s = shm_session_edit(shm, (uint32_t)idx);
    s->expect.absent = exclusive;
    op->w->variant->session_begins(op, (uint32_t)idx,
                                   (struct session_start){.truncate = true, .excl = exclusive});
    hint(op->w, s, key);
    note_caller(op, (uint32_t)idx);
    op_edit(op)->session = (uint32_t)idx;
    return 0;
}

int session_begin_key(struct op *op, const char *key, bool exclusive,
                      char ret_expected[SHM_ETAG_MAX])
{
    struct worker *w = op->w;
    int r;

    worker_lock(w);
    r = session_key_begin(op, key, exclusive);
    if (r == 0)
        memcpy(ret_expected, shm_session_at(w->shm, op->rec->session)->expect.etag, SHM_ETAG_MAX);
    else
        shm_rollback(w->shm, w->shm->meta);
    worker_unlock(w);
    return r;
}

int session_append(struct op *op, const void *data, size_t len, uint64_t off)
{
    struct worker *w = op->w;
    uint32_t session = op->rec->session;
    bool fits;
    int r;

    if (off > S3_OBJECT_MAX || len > S3_OBJECT_MAX - off)
        return -EFBIG;
    worker_lock(w);
    fits = spool_reserve(w, session, off + len);
    worker_unlock(w);
    r = fits ? 0 : session_move_to_disk(op, session);
    return r < 0 ? r : spool_write(w, session, data, len, off);
}

void session_complete(struct op *op, uint64_t size)
{
    struct worker *w = op->w;
    uint32_t session = op->rec->session;

    worker_lock(w);
    session_written(w, session, SESSION_ALL, size);
    shm_session_edit(w->shm, session)->flags |= SHM_SESSION_UNPUBLISHED;
    worker_unlock(w);
}
