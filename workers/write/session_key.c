/* See session_key.h. Publishing and ending are those of every session. A stream's parts go to S3
 * while its bytes are appended, as those of a file that is being written (stream.c). */
#include "workers/write/session_key.h"

#include <errno.h>
#include <string.h>

#include "workers/op/spool.h"
#include "workers/write/names_tell.h"
#include "workers/write/session_change.h"
#include "workers/write/stream.h"
#include "workers/write/upload_open.h"

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
    char known[SHM_ETAG_MAX];
    struct shm_session *s;

    if (node < 0)
        return (int)node;
    idx = shm_session_new(shm, (uint32_t)node);
    if (idx < 0)
        return (int)idx;
    shm_session_set_key(shm, (uint32_t)idx, key);
    s = shm_session_edit(shm, (uint32_t)idx);
    s->expect.absent = exclusive;
    names_known_etag(op->w, key, known);
    op->w->variant->session_begins(
        op, (uint32_t)idx,
        (struct session_start){.truncate = true, .excl = exclusive, .version = known});
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

/* As op_write.c does for a WRITE: 0: the content may be changed; 1: not yet; -errno. */
static int stream_turn(struct op *op, uint64_t off, size_t len)
{
    struct worker *w = op->w;
    uint32_t session = op->rec->session;
    int r;

    worker_lock(w);
    r = stream_may_write(w, session, off, len);
    if (r > 0)
        worker_awaits_session(w, session);
    worker_unlock(w);
    if (r)
        return r;
    r = session_take_turn(op, session, (struct session_range){off, off + len});
    return r < 0 ? r : r == 0;
}

/* (The session becomes dirty when it is complete: what breaks off is not to be published.) */
static int stream_append(struct op *op, const void *data, size_t len, uint64_t off)
{
    struct worker *w = op->w;
    uint32_t session = op->rec->session, mask;
    int r = stream_turn(op, off, len);

    if (r == 0) {
        r = spool_write(w, session, data, len, off);
        worker_lock(w);
        if (r == 0)
            shm_session_edit(w->shm, session)->size = off + len;
        mask = session_change_end(op, session);
        worker_unlock(w);
        worker_wake(w, mask);
    }
    if (r >= 0) /* (also if it waits: a worker that was to send parts may have died) */
        upload_go_on(w, session);
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
    if (w->variant->streams)
        return stream_append(op, data, len, off);
    worker_lock(w);
    fits = spool_reserve(w, session, off + len);
    worker_unlock(w);
    r = fits ? 0 : session_move_to_disk(op, session);
    return r < 0 ? r : spool_write(w, session, data, len, off);
}

void session_failure(struct op *op, int *ret_http_status, enum s3_fail *ret_fail)
{
    const struct shm_session *s;

    *ret_http_status = 0;
    *ret_fail = S3_FAIL_NONE;
    if (op->rec->session == SHM_NIL)
        return;
    worker_lock(op->w);
    s = shm_session_at(op->w->shm, op->rec->session);
    *ret_http_status = (int)s->failed_http;
    *ret_fail = (enum s3_fail)s->failed_how;
    worker_unlock(op->w);
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
