/* FLUSH (each close of a descriptor) and FSYNC: when unpublished bytes go to S3, and when not.
 *
 *   nothing unpublished, or the file was unlinked            -> done
 *   the caller is being killed by a signal                   -> publish nothing, remember that it
 *                                                            was killed
 *   the caller neither opened nor wrote the file (a forked
 *   child that closes what it inherited)                     -> publish nothing
 *   nothing written yet, and the caller has another
 *   descriptor for writing (a shell's `cmd > f`)             -> not yet
 *   else                                                     -> publish, and reply with the result
 *
 * For FSYNC only the first and the last case apply. */
#include <errno.h>

#include "base/log.h"
#include "shm/shm_handle.h"
#include "workers/handlers/fuse_op.h"
#include "workers/handlers/handlers.h"
#include "workers/handlers/lock.h"
#include "workers/op/proc.h"
#include "workers/write/publish_wait.h"
#include "workers/write/session_told.h"

/* What is known of the caller and the session at a close. */
struct closing {
    uint32_t session;
    bool dirty;
    bool empty;   /* created or truncated, and nothing written since */
    bool anybody; /* not all these processes are known: any close counts */
    uint64_t ino;
    struct proc_info who;
};

/* Under shm->meta. */
static uint32_t look_at_session(struct op *op, uint64_t fh, struct closing *c)
{
    struct worker *w = op->w;
    const struct shm_session *s;

    c->session = shm_handle_session(w->shm, fh);
    if (c->session == SHM_NIL)
        return SHM_NIL;
    s = shm_session_at(w->shm, c->session);
    c->dirty = shm_session_dirty(s) && !(s->flags & SHM_SESSION_ORPHAN);
    c->empty = (s->flags & SHM_SESSION_UNPUBLISHED) && s->size == 0;
    c->anybody = s->flags & SHM_SESSION_MANY_PIDS;
    c->ino = shm_node_at(w->shm, s->node)->ino;
    return c->session;
}

/* True if the caller is among the processes that opened or wrote the file. If a signal is killing
 * the caller, marks its entry as killed. */
static bool is_party(struct op *op, struct closing *c)
{
    struct worker *w = op->w;
    struct shm_session *s;
    bool party = false;

    worker_lock(w);
    s = shm_session_edit(w->shm, c->session);
    for (int i = 0; i < SHM_SESSION_PIDS; i++) {
        struct shm_session_pid *p = &s->pids[i];

        if (p->tgid != c->who.tgid || (p->start != c->who.start && !c->who.execs))
            continue;
        party = true;
        if (c->who.signal)
            p->flags |= SHM_PID_KILLED;
    }
    worker_unlock(w);
    return party;
}

/* True if the caller has another session of this file: one that was refused, or that has lost its
 * name. Then an open descriptor proves nothing, since it may belong to that session. */
static bool has_other_session(struct op *op, const struct closing *c)
{
    struct shm *shm = op->w->shm;
    bool found = false;

    worker_lock(op->w);
    for (uint32_t at = 0; at < shm_session_used(shm) && !found; at++) {
        const struct shm_session *s = shm_session_at(shm, at);

        if (at == c->session || s->state != SHM_SESSION_LIVE ||
            shm_node_at(shm, s->node)->ino != c->ino)
            continue;
        for (int i = 0; i < SHM_SESSION_PIDS; i++)
            found |= s->pids[i].tgid == c->who.tgid;
    }
    worker_unlock(op->w);
    return found;
}

static bool must_publish(struct op *op, struct closing *c)
{
    bool known, party, holds;

    if (!c->dirty)
        return false;
    proc_look(op->caller.pid, &c->who);
    if (op->w->conf->write.on_kill == CONF_ON_KILL_PUBLISH)
        c->who.signal = 0;
    if (!c->who.known)
        return true; /* publish: the POSIX behaviour */
    party = is_party(op, c);
    if (c->who.signal) {
        log_notice("writer killed by signal %d pid=%d: its unpublished bytes are "
                   "not published",
                   c->who.signal, c->who.tgid);
        return false;
    }
    if (!party && !c->anybody)
        return false;
    if (!c->empty || c->who.exiting)
        return true;
    if (c->who.execs)
        return false; /* its descriptors cannot be inspected: see proc.c */
    /* If the descriptors cannot be inspected, RELEASE publishes the empty file. */
    holds = proc_holds_write(c->who.tgid, c->ino, &known);
    return known && (!holds || has_other_session(op, c));
}

/* The reply to a close or fsync of the open file `fh`. */
static void answer(struct op *op, uint64_t fh, int error)
{
    struct worker *w = op->w;
    uint32_t session;

    if (!error) {
        op_fail(op, 0);
        return;
    }
    worker_lock(w);
    session = shm_handle_session(w->shm, fh);
    if (session != SHM_NIL)
        session_tell(w, session);
    op_applied(op, error, NULL, 0);
    worker_unlock(w);
    op_finish(op);
}

/* Locks are released last: a process that waits for one then finds on S3 what was written under
 * it. */
static void unlock_and_answer(struct op *op, int error)
{
    lock_flush(op);
    answer(op, fuse_req(op)->flush->fh, error);
}

/* An interrupted close still closes. */
static void flush_abandon(struct op *op, int error)
{
    lock_flush(op);
    op_fail(op, error);
}

void op_flush_only(struct op *op)
{
    unlock_and_answer(op, -EIO);
}

void op_flush(struct op *op)
{
    struct closing c = {0};
    uint32_t session;

    worker_lock(op->w);
    session = look_at_session(op, fuse_req(op)->flush->fh, &c);
    worker_unlock(op->w);
    op->abandon = flush_abandon;
    if (session == SHM_NIL || !must_publish(op, &c))
        unlock_and_answer(op, 0);
    else
        session_publish(op, session, unlock_and_answer);
}

static void then_answer(struct op *op, int error)
{
    answer(op, fuse_req(op)->fsync->fh, error);
}

void op_fsync(struct op *op)
{
    struct closing c = {0};
    uint32_t session;

    worker_lock(op->w);
    session = look_at_session(op, fuse_req(op)->fsync->fh, &c);
    worker_unlock(op->w);
    if (session == SHM_NIL || !c.dirty)
        op_fail(op, 0);
    else
        session_publish(op, session, then_answer);
}
