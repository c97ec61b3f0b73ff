/* FALLOCATE: changes the session's spool, as a change of the content (session_change.c).
 *
 *   mode                       effect
 *   0                          the file is at least offset + length long; new bytes are zeroes
 *   KEEP_SIZE                  no visible change, but ENOSPC or EFBIG if the bytes would not fit
 *   PUNCH_HOLE | KEEP_SIZE     zeroes, up to the end of the file
 *   ZERO_RANGE (| KEEP_SIZE)   the same; without KEEP_SIZE the file grows as with 0
 *   all else, and any of a stream     EOPNOTSUPP
 *
 * The space is that of the spool; S3 has no limit. In memory, spool_reserve() counts it. On disk it
 * is reserved with fallocate(2); if the file system does not support that, a later write may fail.
 * Zeroed ranges release their space. */
#include <errno.h>
#include <fcntl.h>

#include "base/min.h"
#include "shm/shm_handle.h"
#include "workers/handlers/fuse_op.h"
#include "workers/handlers/handlers.h"
#include "workers/op/spool.h"
#include "workers/write/session_change.h"
#include "workers/write/session_pids.h"

#define KEEP FALLOC_FL_KEEP_SIZE
#define PUNCH (FALLOC_FL_PUNCH_HOLE | KEEP)
#define ZERO FALLOC_FL_ZERO_RANGE

static int check_request(const struct fuse_fallocate_in *in)
{
    if (in->mode != 0 && in->mode != KEEP && in->mode != PUNCH && in->mode != ZERO &&
        in->mode != (ZERO | KEEP))
        return -EOPNOTSUPP;
    if (in->length == 0)
        return -EINVAL;
    if (in->offset > S3_OBJECT_MAX || in->length > S3_OBJECT_MAX - in->offset)
        return -EFBIG;
    return 0;
}

static uint64_t end_of(const struct fuse_fallocate_in *in)
{
    return in->offset + in->length;
}

/* What the spool must have, and have space for. */
static struct session_range room_for(struct op *op, uint32_t session)
{
    const struct fuse_fallocate_in *in = fuse_req(op)->fallocate;
    uint64_t end = end_of(in);

    if (in->mode == PUNCH) {
        worker_lock(op->w);
        end = min_u64(end, shm_session_at(op->w->shm, session)->size);
        worker_unlock(op->w);
    }
    return (struct session_range){in->offset, end};
}

/* The session of the request's handle, SHM_NIL if the handle is not open for writing. */
static uint32_t session_of(struct op *op)
{
    uint32_t session;

    worker_lock(op->w);
    session = shm_handle_session(op->w->shm, fuse_req(op)->fallocate->fh);
    worker_unlock(op->w);
    return session;
}

/* ---- the change ---- */

static int call_fallocate(struct op *op, uint32_t session, uint32_t mode, uint64_t from,
                          uint64_t to)
{
    return fallocate(spool_fd(op->w, session), (int)mode, (off_t)from, (off_t)(to - from)) < 0
               ? -errno
               : 0;
}

static int reserve_on_disk(struct op *op, uint32_t session)
{
    const struct fuse_fallocate_in *in = fuse_req(op)->fallocate;
    int r = call_fallocate(op, session, KEEP, in->offset, end_of(in));

    return r == -EOPNOTSUPP ? 0 : r;
}

/* Steps that can fail for lack of space come before those that change bytes. `size` and `new_size`:
 * of the file, before and after. */
static int change_spool(struct op *op, uint32_t session, bool on_disk, uint64_t size,
                        uint64_t new_size)
{
    const struct fuse_fallocate_in *in = fuse_req(op)->fallocate;
    uint64_t to = end_of(in) < size ? end_of(in) : size;
    int r = 0;

    if (on_disk && in->mode != PUNCH)
        r = reserve_on_disk(op, session);
    if (r == 0 && (in->mode & ~(uint32_t)KEEP) && in->offset < to)
        r = call_fallocate(op, session, PUNCH, in->offset, to);
    if (r == 0 && new_size > size)
        r = spool_truncate(op->w, session, new_size);
    return r;
}

/* What is noted as changed. (To a file that is changed in place it matters what is not.) */
static struct session_range changed(const struct fuse_fallocate_in *in, const struct shm_session *s,
                                    bool zeroes, bool grows)
{
    if (zeroes && !grows && s->content == SHM_CONTENT_PATCH)
        return (struct session_range){in->offset, min_u64(end_of(in), s->size)};
    return SESSION_FROM(zeroes ? in->offset : s->size);
}

/* Requires session_change_begin, which keeps others away. */
static void change_now(struct op *op, uint32_t session)
{
    const struct fuse_fallocate_in *in = fuse_req(op)->fallocate;
    bool grows, zeroes, on_disk;
    struct worker *w = op->w;
    uint64_t size, new_size;
    uint32_t mask;
    int r;

    worker_lock(w);
    size = shm_session_at(w->shm, session)->size;
    on_disk = shm_session_at(w->shm, session)->flags & SHM_SESSION_ON_DISK;
    worker_unlock(w);
    grows = !(in->mode & KEEP) && end_of(in) > size;
    zeroes = (in->mode & ~(uint32_t)KEEP) && in->offset < size;
    new_size = grows ? end_of(in) : size;
    r = change_spool(op, session, on_disk, size, new_size);
    worker_lock(w);
    if (r == 0 && (grows || zeroes))
        session_written(w, session, changed(in, shm_session_at(w->shm, session), zeroes, grows),
                        new_size);
    mask = session_change_end(op, session);
    op_applied(op, r, NULL, 0);
    worker_unlock(w);
    worker_wake(w, mask);
    op_finish(op);
}

static void fallocate_attempt(struct op *op)
{
    uint32_t session = session_of(op);
    int r = -EBADF;

    if (session != SHM_NIL)
        r = session_take_turn(op, session, room_for(op, session));
    if (r < 0)
        op_fail(op, r);
    else if (r)
        change_now(op, session);
    else if (op_keep(op) == 0)
        op_wait(op, fallocate_attempt);
}

void op_fallocate(struct op *op)
{
    int r = op->w->variant->streams ? -EOPNOTSUPP : check_request(fuse_req(op)->fallocate);
    uint32_t session;

    if (r < 0) {
        op_fail(op, r);
        return;
    }
    session = session_of(op);
    if (session != SHM_NIL)
        session_note_pid(op->w, session, op->caller.pid, SHM_PID_WROTE);
    fallocate_attempt(op);
}
