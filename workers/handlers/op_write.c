/* WRITE: the bytes go to the session's spool. A WRITE that must wait (a publish streams from the
 * spool, or the content moves to disk) puts its bytes into the worker's parking file, so that the
 * read area is free for the next request. */
#include <errno.h>

#include "shm/shm_handle.h"
#include "workers/handlers/fuse_op.h"
#include "workers/handlers/handlers.h"
#include "workers/op/proc.h"
#include "workers/op/spool.h"
#include "workers/write/session_change.h"
#include "workers/write/session_pids.h"
#include "workers/write/stream.h"
#include "workers/write/upload_open.h"

/* The session of the request's handle, SHM_NIL if the handle is not open for writing. */
static uint32_t session_of(struct op *op)
{
    uint32_t session;

    worker_lock(op->w);
    session = shm_handle_session(op->w->shm, fuse_req(op)->write->fh);
    worker_unlock(op->w);
    return session;
}

/* True if the bytes are in the parking file. (While a request is in the read area, its bytes are
 * there, whatever was noted before its worker died.) */
static bool is_parked(const struct op *op)
{
    return !op_is_current(op) && op->rec->parked_len;
}

/* In this order: otherwise a replacement could read the hole instead of the bytes. */
static void unpark(struct op *op)
{
    uint32_t len = op->rec->parked_len;

    if (!is_parked(op))
        return;
    op->rec->parked_len = 0;
    spool_park_clear(op->w, op->rec_idx, len);
}

/* The bytes are in the spool (or not, if r < 0): sets the size, stores the reply and ends the
 * change in one section. */
static void write_apply(struct op *op, uint32_t session, int r)
{
    const struct fuse_write_in *in = fuse_req(op)->write;
    struct fuse_write_out out = {.size = in->size};
    struct worker *w = op->w;
    const struct shm_session *s;
    uint64_t end = in->offset + in->size;
    uint32_t mask;
    bool goes_on;

    worker_lock(w);
    s = shm_session_at(w->shm, session);
    if (r == 0)
        session_written(w, session, (struct session_range){in->offset, end},
                        end > s->size ? end : s->size);
    else
        session_write_failed(w, session, r);
    mask = session_change_end(op, session);
    goes_on = upload_may_go_on(w, session);
    op_applied(op, r, &out, r ? 0 : sizeof(out));
    worker_unlock(w);
    if (r == 0)
        worker_count(w, SHM_STAT_WRITTEN_BYTES, in->size);
    unpark(op);
    worker_wake(w, mask);
    op_finish(op);
    if (goes_on)
        upload_go_on(w, session);
}

static int write_parked(struct op *op, uint32_t session)
{
    char buf[65536];
    const struct fuse_write_in *in = fuse_req(op)->write;
    uint32_t done = 0;

    while (done < in->size) {
        uint32_t n = in->size - done < sizeof(buf) ? in->size - done : sizeof(buf);
        int r = spool_unpark(op->w, op->rec_idx, done, buf, n);

        if (r == 0)
            r = spool_write(op->w, session, buf, n, in->offset + done);
        if (r < 0)
            return r;
        done += n;
    }
    return 0;
}

static void write_now(struct op *op, uint32_t session)
{
    const struct fuse_write_in *in = fuse_req(op)->write;
    int r;

    if (is_parked(op))
        r = write_parked(op, session);
    else
        r = spool_write(op->w, session, fuse_req(op)->data, in->size, in->offset);
    write_apply(op, session, r);
}

static void spoil(struct op *op, uint32_t session, int error);
static void park_and_go_on(struct op *op, uint32_t session);

/* As session_take_turn. A stream is only appended to, and waits while too many of its bytes are not
 * on S3 yet. */
static int write_turn(struct op *op, uint32_t session, const struct fuse_write_in *in)
{
    struct worker *w = op->w;
    int r = 0;

    if (w->variant->streams && op->rec->change != SHM_CHANGE_BEGUN) {
        worker_lock(w);
        r = stream_may_write(w, session, in->offset, in->size);
        if (r > 0)
            worker_awaits_session(w, session);
        worker_unlock(w);
    }
    if (r)
        return r > 0 ? 0 : r;
    return session_take_turn(op, session,
                             (struct session_range){in->offset, in->offset + in->size});
}

static void write_attempt(struct op *op)
{
    const struct fuse_write_in *in = fuse_req(op)->write;
    uint32_t session = session_of(op);
    int r = -EBADF;

    if (session != SHM_NIL) {
        r = write_turn(op, session, in);
        if (r < 0) {
            spoil(op, session, r);
            unpark(op);
        }
    }
    if (r < 0)
        op_fail(op, r);
    else if (r)
        write_now(op, session);
    else
        park_and_go_on(op, session);
}

/* Poisons the session. The writer gets the error, but may ignore it: nothing is published without
 * these bytes. */
static void spoil(struct op *op, uint32_t session, int error)
{
    worker_lock(op->w);
    session_write_failed(op->w, session, error);
    worker_unlock(op->w);
}

/* The WRITE ends without having been carried out: its process is being killed, or the time limit of
 * requests has come. */
static void write_abandon(struct op *op, int error)
{
    uint32_t session = session_of(op);

    if (session != SHM_NIL && !proc_is_dying(op->caller.pid))
        spoil(op, session, -ETIMEDOUT);
    unpark(op);
    op_fail(op, error);
}

/* Waits, with the bytes parked: at the place of the record that op_keep will take, and before it
 * takes it. If the worker dies in between, the request, with its bytes, is still in the read
 * area. */
static void park(struct op *op, uint32_t session)
{
    uint32_t len = fuse_req(op)->write->size;
    uint32_t idx = op_next_record(op->w);
    int r = 0;

    if (op_is_current(op) && idx == SHM_NIL) {
        spoil(op, session, -ENOMEM); /* as op_keep will reply */
    } else if (op_is_current(op)) {
        r = spool_park(op->w, idx, fuse_req(op)->data, len);
        op->rec->parked_len = len;
    }
    if (r < 0) {
        spoil(op, session, r);
        op_fail(op, r);
        return;
    }
    if (op_keep(op) < 0)
        return;
    worker_count(op->w, SHM_STAT_PARKED, 1);
    op->abandon = write_abandon;
    op_wait(op, write_attempt);
}

/* (A worker that was to send parts may have died.) */
static void park_and_go_on(struct op *op, uint32_t session)
{
    struct worker *w = op->w;

    park(op, session);
    upload_go_on(w, session);
}

void op_write(struct op *op)
{
    uint32_t session;

    if (fuse_req(op)->data_len < fuse_req(op)->write->size && !is_parked(op)) {
        op_fail(op, -EIO);
        return;
    }
    session = session_of(op);
    if (session == SHM_NIL) {
        op_fail(op, -EBADF);
        return;
    }
    if (!(fuse_req(op)->write->write_flags & FUSE_WRITE_CACHE))
        session_note_pid(op->w, session, op->caller.pid, SHM_PID_WROTE);
    write_attempt(op);
}
