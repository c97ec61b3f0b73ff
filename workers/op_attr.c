/* GETATTR, SETATTR, STATFS. Attributes come from the node (node_attr.c), never from S3: the LOOKUP before has asked.
 *
 * A change of size is a change of content: with a handle it is made in the handle's session; by path (truncate(2)) it
 * gets a session of its own, which is published before the answer. Mode, owner and times are kept on the node and
 * travel with the next upload. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "shm/shm_handle.h"
#include "workers/handlers.h"
#include "workers/node_attr.h"
#include "workers/session.h"
#include "workers/spool.h"

void op_getattr(struct op *op)
{
    struct worker *w = op->w;
    struct fuse_attr_out out;
    uint32_t node;

    worker_lock(w);
    node = op_node(op);
    if (node != SHM_NIL)
        node_attr_out(w, node, &out);
    worker_unlock(w);
    if (node == SHM_NIL)
        op_fail(op, -ESTALE);
    else
        op_answer(op, &out, sizeof(out));
}

/* Large, constant and plausible: programs look whether there is room. */
void op_statfs(struct op *op)
{
    struct fuse_statfs_out out = {0};

    out.st.bsize = out.st.frsize = 1u << 20;
    out.st.blocks = out.st.bfree = out.st.bavail = UINT64_C(1) << 40; /* 1 EiB */
    out.st.files = out.st.ffree = UINT64_C(1) << 40;
    out.st.namelen = SHM_NAME_MAX;
    op_answer(op, &out, sizeof(out));
}

/* Under shm->meta. */
static void set_mtime(struct worker *w, uint32_t node, struct shm_node *n,
                      int64_t mtime_ns)
{
    n->mtime_ns = mtime_ns;
    n->flags |= SHM_NODE_MTIME_SET;
    if (n->session != SHM_NIL)
        shm_session_edit(w->shm, n->session)->mtime_ns = mtime_ns;
    (void)node;
}

/* Under shm->meta: all but the size. */
static void set_attributes(struct op *op, uint32_t node)
{
    const struct fuse_setattr_in *in = op->req.setattr;
    struct shm_node *n = shm_node_edit(op->w->shm, node);

    if (in->valid & FATTR_MODE)
        n->mode = in->mode & NODE_MODE_BITS;
    if (in->valid & FATTR_UID)
        n->uid = in->uid;
    if (in->valid & FATTR_GID)
        n->gid = in->gid;
    if (in->valid & FATTR_MTIME_NOW)
        set_mtime(op->w, node, n, (int64_t)clock_wall_ns());
    else if (in->valid & FATTR_MTIME)
        set_mtime(op->w, node, n,
                  (int64_t)(in->mtime * NS_PER_S) + in->mtimensec);
}

/* The last step of every SETATTR: the other attributes, the answer, and the end of the op's session ref. */
static void apply(struct op *op)
{
    struct worker *w = op->w;
    uint32_t session = op->rec->session;
    struct fuse_attr_out out;
    bool closed = false;
    uint32_t node;

    worker_lock(w);
    node = op_node(op);
    if (node != SHM_NIL) {
        set_attributes(op, node);
        if (session != SHM_NIL) {
            op_edit(op)->session = SHM_NIL;
            closed = session_unref(w, session);
        }
        node_attr_out(w, node, &out);
    }
    op_applied(op, node == SHM_NIL ? -ESTALE : 0, &out,
               node == SHM_NIL ? 0 : sizeof(out));
    worker_unlock(w);
    if (closed)
        session_clear(w, session);
    op_finish(op);
}

static void fail(struct op *op, int error)
{
    session_detach(op);
    op_fail(op, error);
}

static void then_apply(struct op *op, int error)
{
    if (error)
        fail(op, error);
    else
        apply(op);
}

/* ---- size ---- */

static bool has_handle(const struct op *op)
{
    return op->req.setattr->valid & FATTR_FH;
}

/* The change itself, while session_change_begin holds others off. */
static void resize_now(struct op *op, uint32_t session)
{
    struct worker *w = op->w;
    uint64_t size = op->req.setattr->size;
    int r = spool_truncate(w, session, size);
    uint32_t mask;

    worker_lock(w);
    if (r == 0) {
        session_written(w, session, size);
        shm_session_edit(w->shm, session)->flags |= SHM_SESSION_UNPUBLISHED;
    }
    mask = session_change_end(op, session);
    worker_unlock(w);
    worker_wake(w, mask);
    if (r < 0)
        fail(op, r);
    else if (has_handle(op))
        apply(op);
    else
        session_publish(op, session, then_apply);
}

static uint32_t session_to_resize(struct op *op)
{
    uint32_t handle;

    if (!has_handle(op))
        return op->rec->session;
    handle = shm_handle_of_fh(op->w->shm, op->req.setattr->fh, SHM_HANDLE_FILE);
    return handle == SHM_NIL ? SHM_NIL
                             : shm_handle_at(op->w->shm, handle)->session;
}

static void resize(struct op *op)
{
    struct worker *w = op->w;
    uint64_t size = op->req.setattr->size;
    bool disk = false, begun = false;
    uint32_t session;
    int r = 0;

    worker_lock(w);
    session = session_to_resize(op);
    if (session != SHM_NIL) {
        disk = op->rec->step != OP_STEP_CHANGING &&
               session_wants_disk(w, session, size);
        begun = !disk && session_change_begin(op, session, size);
    }
    worker_unlock(w);
    if (session == SHM_NIL) {
        op_fail(op, -EBADF);
        return;
    }
    if (disk)
        r = session_move_to_disk(op, session);
    if (r < 0)
        fail(op, r);
    else if (disk)
        worker_wake_self(w); /* and look again */
    else if (begun) {
        op_stop_waiting(op);
        resize_now(op, session);
    }
}

static void then_resize(struct op *op, int error)
{
    if (error) {
        op_fail(op, error);
        return;
    }
    op_wait(op, resize);
    resize(op);
}

static void set_size(struct op *op)
{
    struct worker *w = op->w;
    uint32_t node;

    if (op_keep(op) < 0)
        return;
    if (has_handle(op)) {
        op_wait(op, resize);
        resize(op);
        return;
    }
    worker_lock(w);
    node = op_node(op);
    worker_unlock(w);
    if (node == SHM_NIL)
        op_fail(op, -ESTALE);
    else
        session_attach(op, node, op->req.setattr->size == 0, then_resize);
}

void op_setattr(struct op *op)
{
    if (op->w->conf->mount.read_only)
        op_fail(op, -EROFS);
    else if (op->req.setattr->valid & FATTR_SIZE)
        set_size(op);
    else
        apply(op);
}
