/* Recovery of a worker slot. The journal states determine what to do with each request
 * (shm_journal.h). Jobs that the dead worker ran (loads, publishes, fetches of blocks) end without
 * a result; the ops that wait for them, or that are replayed here, start them again. */
#include "workers/process/recover.h"

#include <errno.h>
#include <string.h>

#include "base/log.h"
#include "fuse/fuse_name.h"
#include "shm/shm_block.h"
#include "shm/shm_handle.h"
#include "shm/shm_upload.h"
#include "workers/connector/con_op.h"
#include "workers/handlers/fuse_op.h"
#include "workers/handlers/handlers.h"
#include "workers/op/hold.h"
#include "workers/op/op.h"
#include "workers/op/upload_name.h"
#include "workers/write/session_attach.h"
#include "workers/write/session_change.h"
#include "workers/write/session_end.h"

#define CRASHES_MAX 2 /* a request that crashed this many workers gets the reply EIO */
#define CRASHES_FEW (CRASHES_MAX + 1)

static bool end_job(struct worker *w, struct shm_job *job)
{
    bool ours = job->state == SHM_JOB_RUNNING && job->owner == w->slot;

    if (ours) {
        job->state = SHM_JOB_IDLE;
        job->attempts++; /* a request that it has sent may still take effect (op_unlink.c) */
        job->error = 0;
    }
    return ours;
}

/* Ends the jobs that the dead worker ran for a session, and the emptying of its slot. Its waiters
 * stay noted: they check again and may go on waiting. */
static uint32_t end_jobs_of(struct worker *w, uint32_t session)
{
    struct shm_session *s;
    uint32_t waiters = 0;
    bool ours, closing;

    worker_lock(w);
    s = shm_session_edit(w->shm, session);
    ours = end_job(w, &s->load);
    ours |= end_job(w, &s->publish);
    ours |= end_job(w, &s->opening);
    ours |= shm_upload_worker_gone(w->shm, session, w->slot);
    ours |= (s->releasing & UINT32_C(1) << w->slot) != 0; /* what it has not freed stays */
    s->releasing &= ~(UINT32_C(1) << w->slot);
    if (ours)
        waiters = s->waiters;
    closing = (ours && session_end_unused(w, session)) ||
              (s->state == SHM_SESSION_CLOSING && s->publish.owner == w->slot);
    worker_unlock(w);
    if (closing)
        session_clear(w, session);
    return waiters;
}

static uint32_t end_jobs(struct worker *w)
{
    uint32_t waiters = 0;

    for (uint32_t i = 0; i < shm_session_used(w->shm); i++)
        waiters |= end_jobs_of(w, i);
    return waiters;
}

/* A reply was being built: the kernel never got the lookups that it had counted. */
static void uncount(struct worker *w)
{
    struct shm_arena *a = w->arena;

    while (a->counted_n) {
        worker_lock(w);
        shm_node_forget(w->shm, a->counted[a->counted_n - 1], 1);
        shm_set(w->shm, w->shm->meta, a->counted_n, a->counted_n - 1);
        worker_unlock(w);
    }
}

/* True if the request was already moved to a record, but the read area not yet released: the record
 * counts. */
static bool is_doubled(struct worker *w)
{
    uint64_t unique = w->arena->current.unique;

    for (uint32_t i = 0; i < w->shm->header->sizes.records; i++) {
        struct shm_record *r = shm_arena_record(w->shm, w->slot, i);

        if (atomic_load(&r->state) != SHM_RECORD_FREE && r->unique == unique)
            return true;
    }
    return false;
}

/* True if the kernel has delivered a request that no handler has seen. */
static bool was_read(struct worker *w)
{
    const struct fuse_in_header *head = (const void *)shm_arena_read_area(w->shm, w->slot);

    return head->len != 0;
}

/* The session of the handle through which a request changes content; SHM_NIL for all other
 * requests. */
static uint32_t session_by_handle(struct op *op)
{
    uint64_t fh;

    if (fuse_req(op)->opcode == FUSE_WRITE)
        fh = fuse_req(op)->write->fh;
    else if (fuse_req(op)->opcode == FUSE_SETATTR && (fuse_req(op)->setattr->valid & FATTR_FH))
        fh = fuse_req(op)->setattr->fh;
    else if (fuse_req(op)->opcode == FUSE_FALLOCATE)
        fh = fuse_req(op)->fallocate->fh;
    else
        return SHM_NIL;
    return shm_handle_session(op->w->shm, fh);
}

/* The op will not be handled again: releases all that it holds. */
static void give_back(struct op *op)
{
    struct worker *w = op->w;
    uint32_t session, mask = 0;

    hold_give_back(op);
    session_detach(op);
    worker_lock(w);
    session = session_by_handle(op);
    if (session != SHM_NIL && op->rec->change == SHM_CHANGE_BEGUN) {
        session_write_failed(w, session, -EIO); /* half of it may be there */
        mask = session_change_end(op, session);
    }
    worker_unlock(w);
    worker_wake(w, mask);
}

/* Its client lost the connection with the worker. What has not reached S3 is given up. */
static bool is_clients(struct worker *w, uint32_t idx)
{
    return idx < w->shm->header->sizes.records &&
           shm_arena_record(w->shm, w->slot, idx)->opcode >= SHM_OP_HTTP_PUT;
}

/* What is done for a request that has crashed CRASHES_MAX workers; NULL: nothing. Nobody repeats
 * those that free something. Others that were in flight with them are answered by now, so they are
 * handled once more, and then without what may crash: a publish. */
static op_handler *last_handler(const struct op *op)
{
    bool once_more = op->rec->crashes == CRASHES_MAX;

    switch (fuse_req(op)->opcode) {
    case FUSE_FORGET:
    case FUSE_BATCH_FORGET:
    case FUSE_RELEASEDIR:
        return once_more ? op_dispatch : NULL;
    case FUSE_RELEASE:
        return once_more ? op_dispatch : op->rec->crashes == CRASHES_FEW ? op_release_only : NULL;
    case FUSE_FLUSH:
        return once_more ? op_flush_only : NULL;
    default:
        return NULL;
    }
}

static void give_up(struct op *op)
{
    op_handler *handler = last_handler(op);

    if (handler == op_dispatch) {
        op_dispatch(op);
        return;
    }
    give_back(op);
    log_err("request op=%s unique=%llu crashed %u workers: giving it up",
            fuse_op_name(fuse_req(op)->opcode), (unsigned long long)fuse_req(op)->unique,
            op->rec->crashes);
    if (handler)
        handler(op);
    else if (fuse_wants_reply(fuse_req(op)->opcode))
        op_fail(op, -EIO);
    else
        op_done(op);
}

static void again(struct worker *w, uint32_t idx)
{
    struct op *op;

    if (is_clients(w, idx)) {
        con_op_give_up(w, idx);
        return;
    }
    op = fuse_op_begin(w, idx);
    if (!op)
        return;
    worker_count(w, SHM_STAT_RECOVERED, 1);
    if (op->rec->crashes < CRASHES_MAX)
        op_dispatch(op);
    else
        give_up(op);
}

static void send_stored(struct worker *w, uint32_t idx)
{
    struct op *op = fuse_op_begin(w, idx);

    if (!op)
        return;
    worker_count(w, SHM_STAT_RECOVERED, 1);
    op_finish(op);
}

/* Stored replies come first: one of them may be in arena->reply, which a handler may overwrite. */
static void recover_records(struct worker *w, enum shm_record_state state,
                            void (*fn)(struct worker *w, uint32_t idx))
{
    for (uint32_t i = 0; i < w->shm->header->sizes.records; i++) {
        struct shm_record *r = shm_arena_record(w->shm, w->slot, i);

        if (atomic_load(&r->state) == state)
            fn(w, i);
    }
}

/* True if there is anything (left) to do for the request in the read area. */
static bool current_counts(struct worker *w)
{
    struct shm_record *cur = &w->arena->current;

    switch (atomic_load(&cur->state)) {
    case SHM_RECORD_READING:
        return was_read(w);
    case SHM_RECORD_IN_FLIGHT:
        return !is_doubled(w);
    default:
        return false;
    }
}

static void blame(struct worker *w, struct shm_record *r)
{
    if (atomic_load(&r->state) == SHM_RECORD_IN_FLIGHT)
        shm_set(w->shm, w->shm->meta, r->crashes, r->crashes + w->arena->crashed);
}

/* Under shm->meta: what a predecessor had not committed is in flight again. It is unknown which
 * request crashed it: it may be the one just read, or a deferred one that continued. All are
 * blamed; an innocent request is only affected if it is in progress at two crashes. */
static void blame_all(struct worker *w)
{
    if (!w->arena->crashed)
        return;
    blame(w, &w->arena->current);
    for (uint32_t i = 0; i < w->shm->header->sizes.records; i++)
        blame(w, shm_arena_record(w->shm, w->slot, i));
    shm_set(w->shm, w->shm->meta, w->arena->crashed, 0);
}

void recover(struct worker *w)
{
    struct shm_record *cur = &w->arena->current;
    uint32_t idx = w->shm->header->sizes.records;
    uint32_t waiters;
    bool counts;

    if (w->arena->incarnation <= 1)
        return;
    /* First of all, and also for our own replacement: once the record has got its reply and is
     * free, it no longer shows that it is the same request. Under the lock: the first locker after
     * a death inside a locked section rolls that section back, including its changes to the
     * request. */
    worker_lock(w);
    blame_all(w);
    counts = current_counts(w);
    if (!counts && atomic_load(&cur->state) != SHM_RECORD_APPLIED)
        atomic_store(&cur->state, SHM_RECORD_FREE);
    worker_unlock(w);
    waiters = end_jobs(w) | shm_block_worker_gone(w->shm, w->slot);
    uncount(w);
    upload_abort_noted(w);
    recover_records(w, SHM_RECORD_APPLIED, send_stored);
    if (atomic_load(&cur->state) == SHM_RECORD_APPLIED)
        send_stored(w, idx);
    recover_records(w, SHM_RECORD_IN_FLIGHT, again);
    if (counts)
        again(w, idx);
    worker_wake(w, waiters);
}
