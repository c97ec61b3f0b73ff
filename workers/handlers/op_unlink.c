/* UNLINK: one DeleteObject. Processes that have the file open keep it (orphan.c), and the bytes of
 * their session, which publishes nothing any more.
 *
 * The DELETE is conditional on a version: the one that the preceding LOOKUP found, or, with
 * compare-and-set, the one that the caller last read or wrote, if there is one. Compare-and-set
 * refuses to delete another version. Last write wins deletes whatever is there: after a refusal it
 * sends the same DELETE for the version that a HEAD finds. The condition protects against a stray
 * DELETE: one that was taken for lost with its worker, and takes effect after the file has been
 * written again. */
#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "shm/shm_session.h"
#include "workers/cas/cas.h"
#include "workers/handlers/dir_keep.h"
#include "workers/handlers/fuse_op.h"
#include "workers/handlers/handlers.h"
#include "workers/names/names.h"
#include "workers/op/hold.h"
#include "workers/op/sequence.h"
#include "workers/op/validity.h"
#include "workers/write/copy_source.h"
#include "workers/write/delete.h"
#include "workers/write/orphan.h"
#include "workers/write/session_attach.h"
#include "workers/write/session_end.h"

/* Under shm->meta. */
static void take_off(struct worker *w, uint32_t node)
{
    uint32_t session;

    if (node == SHM_NIL)
        return;
    session = shm_node_at(w->shm, node)->session;
    shm_node_unlinked(w->shm, node, (int64_t)clock_wall_ns());
    if (session != SHM_NIL)
        session_orphan(w, session);
}

/* `from_s3`: the key has been deleted, so the node that the name maps to is removed, whichever it
 * is. */
static void unlink_end(struct op *op, int error, bool from_s3)
{
    struct worker *w = op->w;
    uint32_t dir, node = op->rec->node;
    struct session_detached d;

    if (!error)
        w->variant->unlinked(op, fuse_req(op)->name, fuse_req(op)->name_len, from_s3);
    worker_lock(w);
    dir = op_node(op);
    if (!error) {
        take_off(w, node);
        /* A lookup may have found another version while the DELETE was under way. */
        if (from_s3 && dir != SHM_NIL)
            take_off(w, shm_node_find(w->shm, dir, fuse_req(op)->name, fuse_req(op)->name_len));
        session_orphan_left(w, dir, fuse_req(op)->name, fuse_req(op)->name_len);
        validity_dir_changed(w, dir);
        shm_node_names_changed(w->shm, dir, (int64_t)clock_wall_ns());
    } else if (op->rec->progress.unlink.sent) {
        validity_doubted(w, node);
    }
    hold_release(op, node);
    op_edit(op)->node = SHM_NIL;
    d = session_detach_begin(op);
    op_applied(op, error, NULL, 0);
    worker_unlock(w);
    session_detach_end(w, &d);
    worker_wake(w, HOLD_WAKE_ALL);
    op_finish(op);
}

/* ---- the steps ---- */

/* First loads the sessions that are to become copies of the file. */
static void settle_copies(struct op *op)
{
    char key[KEY_CAP];
    int r = names_check(op, fuse_req(op)->name, fuse_req(op)->name_len, key);

    if (r < 0)
        op_step_done(op, r);
    else
        copy_source_settle(op, key, false, op_step_done);
}

/* Saves the bytes for processes that have the file open. */
static void keep_for_readers(struct op *op)
{
    orphan_prepare(op, op->rec->node, op_step_done);
}

/* As a write that is refused is told (publish.c). */
static void unlink_tell_conflict(struct op *op)
{
    struct shm_conflict c = {.tgid = op->caller.self.tgid};
    struct worker *w = op->w;
    struct delete_target target;

    if (names_check(op, fuse_req(op)->name, fuse_req(op)->name_len, c.key) < 0)
        c.key[0] = '\0';
    worker_lock(w);
    w->variant->unlink_target(op, op->rec->node, c.key, &target);
    if (!cas_is_forgotten(target.etag))
        shm_etag_copy(c.expected, target.etag);
    worker_unlock(w);
    cas_note_conflict(w, &c);
    log_notice(
        "conflict key=\"%s\" expected=%s found=another: not removed, as it has changed since "
        "this process read it, or what it read has been forgotten: read it again",
        c.key, *c.expected ? c.expected : "unknown");
}

static void then_deleted(struct op *op, int error)
{
    if (error == -EEXIST)
        unlink_tell_conflict(op);
    op_step_done(op, error);
}

static void delete_file(struct op *op)
{
    struct worker *w = op->w;
    struct delete_target target;
    struct delete_args args;
    char key[KEY_CAP];
    int r = names_check(op, fuse_req(op)->name, fuse_req(op)->name_len, key);

    if (r < 0) {
        op_step_done(op, r);
        return;
    }
    worker_lock(w);
    w->variant->unlink_target(op, op->rec->node, key, &target);
    worker_unlock(w);
    args = (struct delete_args){.key = key,
                                .etag = target.etag,
                                .id = target.id,
                                .how = target.strict ? DELETE_SEEN : DELETE_LAST,
                                .note = &op->rec->progress.unlink};
    delete_key(op, &args, then_deleted);
}

static void keep_directory(struct op *op)
{
    dir_keep(op, fuse_req(op)->name, fuse_req(op)->name_len);
}

static void unlink_apply(struct op *op, int error)
{
    unlink_end(op, error, true);
}

/* (If an optional step fails, readers may lose the bytes, or the directory goes with its last file;
 * the file is deleted all the same.) */
static const struct op_step unlink_steps[] = {
    {.run = settle_copies, .optional = true},
    {.run = keep_for_readers, .optional = true},
    {.run = delete_file},
    {.run = keep_directory, .optional = true},
};
static const struct op_sequence unlink_sequence = OP_SEQUENCE_OF(unlink_steps, unlink_apply);

/* ---- the beginning ---- */

/* Under shm->meta. True if S3 has never had the file: no upload was tried, so not even a failed one
 * can have created it. */
static bool is_local(struct worker *w, uint32_t node)
{
    const struct shm_node *n = shm_node_at(w->shm, node);

    return (n->flags & SHM_NODE_LOCAL) &&
           (n->session == SHM_NIL || shm_session_at(w->shm, n->session)->publish.attempts == 0);
}

/* Under shm->meta. True if this op holds the node, noted in op->rec->node, or if there is none (it
 * was evicted); false: wait. */
static bool take_node(struct op *op, bool *ret_local)
{
    struct worker *w = op->w;
    uint32_t dir = op_node(op), node = SHM_NIL;

    *ret_local = false;
    if (op->rec->node != SHM_NIL)
        node = op->rec->node; /* a predecessor held it */
    else if (dir != SHM_NIL)  /* the node that the preceding LOOKUP returned */
        node = w->variant->own_session(op, dir, fuse_req(op)->name, fuse_req(op)->name_len);
    if (node == SHM_NIL && dir != SHM_NIL)
        node = shm_node_find(w->shm, dir, fuse_req(op)->name, fuse_req(op)->name_len);
    if (node == SHM_NIL)
        return true;
    if (!hold_take(op, node))
        return false;
    op_edit(op)->node = node;
    *ret_local = is_local(w, node);
    return true;
}

static void unlink_attempt(struct op *op)
{
    struct worker *w = op->w;
    bool ours, local;

    worker_lock(w);
    ours = take_node(op, &local);
    worker_unlock(w);
    if (!ours)
        return;
    op_stop_waiting(op);
    if (local) {
        unlink_end(op, 0, false);
        return;
    }
    op_sequence_start(op, &unlink_sequence);
}

void op_unlink(struct op *op)
{
    char key[KEY_CAP];
    int r = names_check(op, fuse_req(op)->name, fuse_req(op)->name_len, key);

    op->w->variant->identify_family(op);
    if (r < 0) {
        hold_give_back(op);
        session_detach_fail(op, r); /* (a predecessor may have come further) */
        return;
    }
    if (op_keep(op) < 0)
        return;
    op->stays = true;
    op_wait(op, unlink_attempt);
    unlink_attempt(op);
}
