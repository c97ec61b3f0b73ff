/* GETATTR, SETATTR, STATFS. Attributes come from the node (node_attr.c), not from S3: the preceding
 * LOOKUP has asked S3. But a LIST returns no metadata. If the kernel wants attributes of a node
 * that is only known from LISTs, one HEAD fetches them. An `ls -l` does not need it, since the
 * attributes from the LOOKUP are still valid (with compare-and-set the kernel sends a GETATTR all
 * the same, and gets those attributes). Two cases need it: a program that is to be executed and has
 * no x bit, and a directory that is looked up and has been known for longer than directories.ttl
 * (node_attr.c).
 *
 * A change of size is a change of content: with a handle it is made in the handle's session; by
 * path (truncate(2)) it gets a session of its own, which is published before the reply. Mode, owner
 * and time are metadata of the object: the next upload carries them if one is due, else a copy of
 * the object onto itself stores them (meta_store.c). Those of a directory are stored at its
 * marker. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "shm/shm_handle.h"
#include "workers/attr/meta_ask.h"
#include "workers/attr/meta_store.h"
#include "workers/attr/node_attr.h"
#include "workers/cas/cas_nodes.h"
#include "workers/handlers/folder_forms.h"
#include "workers/handlers/fuse_entry.h"
#include "workers/handlers/fuse_op.h"
#include "workers/handlers/handlers.h"
#include "workers/names/intent.h"
#include "workers/names/names.h"
#include "workers/names/room.h"
#include "workers/objmeta/meta.h"
#include "workers/op/hold.h"
#include "workers/op/key.h"
#include "workers/op/spool.h"
#include "workers/op/validity.h"
#include "workers/write/publish_wait.h"
#include "workers/write/session.h"
#include "workers/write/session_attach.h"
#include "workers/write/session_change.h"
#include "workers/write/session_end.h"
#include "workers/write/session_pids.h"
#include "workers/write/session_room.h"
#include "workers/write/stream.h"

/* Under shm->meta. True if a HEAD for the metadata is due. (A directory that is open needs none:
 * opendir(3) calls fstat(2) on it, but does not use the metadata.) */
static bool must_ask(struct worker *w, uint32_t node)
{
    const struct shm_node *n = shm_node_at(w->shm, node);

    if ((n->flags & SHM_NODE_DIR) && (n->opens || !(n->flags & SHM_NODE_ASK)))
        return false;
    /* (A listing of more names than there are nodes: while nodes are reclaimed, the kernel asks
     * again for attributes that it has just got. A HEAD for each name would make such a listing
     * unusably slow.) */
    if (room_was_made(w) &&
        validity_holds(n->checked_ns, w->conf->directories.ttl_ns, clock_mono_ns()))
        return false;
    return meta_is_unknown(w, n) && (n->flags & SHM_NODE_CURRENT) && n->session == SHM_NIL;
}

/* Replies with what the node has, even if the HEAD failed. */
static void then_getattr(struct op *op, int error, const struct s3_object *obj)
{
    struct worker *w = op->w;
    struct fuse_attr_out out;
    uint32_t node;

    (void)obj;
    worker_lock(w);
    node = op_node(op);
    if (node != SHM_NIL)
        fuse_entry_attr(w, node, &out);
    /* The HEAD has found a link: the kernel looks up again. */
    if (error == -ESTALE && node != SHM_NIL &&
        !(shm_node_at(w->shm, node)->flags & SHM_NODE_CURRENT))
        node = SHM_NIL;
    worker_unlock(w);
    if (node == SHM_NIL)
        op_fail(op, -ESTALE);
    else
        op_answer(op, &out, sizeof(out));
}

/* True if the metadata are really needed. With isolation attributes of files have no validity, so
 * the kernel sends a GETATTR each time; only execve(2) cannot do without the metadata then. */
static bool is_to_be_run(const struct op *op)
{
    struct intent in;

    if (!op->w->variant->isolates)
        return true;
    intent_look(op->caller.pid, &in);
    return in.kind == INTENT_EXEC;
}

void op_getattr(struct op *op)
{
    struct worker *w = op->w;
    uint32_t node;
    bool ask, dir = false;

    worker_lock(w);
    node = op_node(op);
    ask = node != SHM_NIL && must_ask(w, node);
    if (node != SHM_NIL) {
        validity_used(w, node, op->caller.pid);
        names_wanted(w, shm_node_at(w->shm, node)->parent);
        dir = shm_node_at(w->shm, node)->flags & SHM_NODE_DIR;
    }
    worker_unlock(w);
    if (ask && (dir || is_to_be_run(op)))
        meta_ask(op, then_getattr);
    else
        then_getattr(op, 0, NULL);
}

/* Large, constant and plausible values: programs check whether there is space. Longer names than
 * this are taken where the key has room for them; one of this length fits nearly everywhere, at
 * every server, and into the buffers of programs. */
void op_statfs(struct op *op)
{
    struct fuse_statfs_out out = {0};

    out.st.bsize = out.st.frsize = 1u << 20;
    out.st.blocks = out.st.bfree = out.st.bavail = UINT64_C(1) << 40; /* 1 EiB */
    out.st.files = out.st.ffree = UINT64_C(1) << 40;
    out.st.namelen = SHM_NAME_LONG;
    op_answer(op, &out, sizeof(out));
}

/* What has never been set, and shall be as it is configured, needs no metadata. What somebody has
 * set stays set: for another mount, or another program, the configured value is another one. */
static void set_value(uint32_t *value, uint32_t to, uint32_t configured)
{
    if (*value != SHM_MODE_UNSET || to != configured)
        *value = to;
}

/* Of a time that 64 bits of nanoseconds cannot hold (beyond the year 2262), the nearest that they
 * do. */
static int64_t held_time(uint64_t seconds, uint32_t ns)
{
    const int64_t last = INT64_MAX / (int64_t)NS_PER_S - 1;
    int64_t s = (int64_t)seconds;

    if (s > last || s < -last)
        return (s > 0 ? last : -last) * (int64_t)NS_PER_S;
    return s * (int64_t)NS_PER_S + ns;
}

/* Sets the attributes of the request in a node or in a copy of one. */
static void set_attributes(const struct op *op, struct shm_node *n)
{
    const struct fuse_setattr_in *in = fuse_req(op)->setattr;
    const struct conf *c = op->w->conf;
    bool dir = n->flags & SHM_NODE_DIR;

    if (in->valid & FATTR_MODE)
        set_value(&n->mode, (in->mode & node_mode_bits(dir)) | shm_node_type(n),
                  dir ? c->mount.dir_mode : c->mount.file_mode);
    if (in->valid & FATTR_UID)
        set_value(&n->uid, in->uid, c->mount.uid);
    if (in->valid & FATTR_GID)
        set_value(&n->gid, in->gid, c->mount.gid);
    if (in->valid & FATTR_ATIME)
        n->atime_ns = in->valid & FATTR_ATIME_NOW ? meta_change_time(op)
                                                  : held_time(in->atime, in->atimensec);
    if (!(in->valid & (FATTR_MTIME | FATTR_MTIME_NOW)))
        return;
    n->flags |= SHM_NODE_MTIME_SET;
    n->mtime_ns =
        in->valid & FATTR_MTIME_NOW ? meta_change_time(op) : held_time(in->mtime, in->mtimensec);
}

#define STORED (FATTR_MODE | FATTR_UID | FATTR_GID | FATTR_ATIME | FATTR_MTIME | FATTR_MTIME_NOW)

/* Under shm->meta. The node's session has an upload due, or its file has no name. */
static bool is_of_session_alone(struct worker *w, const struct shm_node *n)
{
    const struct shm_session *s;

    if (n->session == SHM_NIL)
        return false;
    s = shm_session_at(w->shm, n->session);
    return shm_session_dirty(s) || shm_session_is_nameless(s);
}

/* Under shm->meta. A change to what is there already moves ctime, too, as POSIX wants it: here, not
 * on S3, where it would cost a copy of each file that a `chown -R` comes by. The next change that
 * is stored takes it along. */
static void apply_attributes(struct op *op, uint32_t node)
{
    struct worker *w = op->w;
    struct shm_node *n = shm_node_edit(w->shm, node);

    set_attributes(op, n);
    if (fuse_req(op)->setattr->valid & STORED) {
        n->ctime_ns = meta_change_time(op);
        if (!is_of_session_alone(w, n))
            cas_share_ctime(w, node);
    }
    if (n->session != SHM_NIL && (n->flags & SHM_NODE_MTIME_SET))
        shm_session_edit(w->shm, n->session)->mtime_ns = n->mtime_ns;
}

/* The last step of every SETATTR: applies the other attributes, stores the reply, and releases the
 * op's session ref. */
static void attr_apply(struct op *op)
{
    struct worker *w = op->w;
    struct session_detached d;
    struct fuse_attr_out out;
    bool held = false;
    uint32_t node;

    worker_lock(w);
    node = op_node(op);
    if (node != SHM_NIL)
        apply_attributes(op, node);
    d = session_detach_begin(op);
    if (node != SHM_NIL)
        fuse_entry_attr(w, node, &out);
    if (op->rec->node != SHM_NIL) {
        hold_release(op, op->rec->node);
        op_edit(op)->node = SHM_NIL;
        held = true;
    }
    op_applied(op, node == SHM_NIL ? -ESTALE : 0, &out, node == SHM_NIL ? 0 : sizeof(out));
    worker_unlock(w);
    session_detach_end(w, &d);
    if (held)
        worker_wake(w, HOLD_WAKE_ALL);
    op_finish(op);
}

static void then_apply(struct op *op, int error)
{
    if (error)
        session_detach_fail(op, error);
    else
        attr_apply(op);
}

/* ---- size ---- */

static bool has_handle(const struct op *op)
{
    return fuse_req(op)->setattr->valid & FATTR_FH;
}

/* Makes the change, while session_change_begin keeps others away. By path it is published next.
 * SHM_CHANGE_TRUNCATED keeps a replacement from making it again, which compare-and-set would take
 * for another write. */
static void resize_now(struct op *op, uint32_t session)
{
    struct worker *w = op->w;
    uint64_t size = fuse_req(op)->setattr->size;
    struct upload_name left;
    uint32_t mask;
    int r;

    worker_lock(w);
    session_cut(w, session, size);
    stream_empty(w, session, &left);
    worker_unlock(w);
    upload_abort(w, &left);
    r = spool_truncate(w, session, size);
    worker_lock(w);
    if (r == 0) {
        session_written(w, session, SESSION_FROM(shm_session_at(w->shm, session)->size), size);
        shm_session_edit(w->shm, session)->flags |= SHM_SESSION_UNPUBLISHED;
    }
    mask = session_change_end(op, session);
    if (r == 0 && !has_handle(op))
        op_edit(op)->change = SHM_CHANGE_TRUNCATED;
    worker_unlock(w);
    worker_wake(w, mask);
    if (r < 0)
        session_detach_fail(op, r);
    else if (has_handle(op))
        attr_apply(op);
    else
        session_publish(op, session, then_apply);
}

static uint32_t session_to_resize(struct op *op)
{
    uint32_t session;

    if (!has_handle(op))
        return op->rec->session;
    worker_lock(op->w);
    session = shm_handle_session(op->w->shm, fuse_req(op)->setattr->fh);
    worker_unlock(op->w);
    return session;
}

/* A stream can only be emptied. -EALREADY: it has this size; -EAGAIN: wait. */
static int is_refused(struct op *op, uint32_t session)
{
    uint64_t size = fuse_req(op)->setattr->size;
    const struct shm_session *s;
    int r = 0;

    worker_lock(op->w);
    s = shm_session_at(op->w->shm, session);
    if (stream_is(s) && size && op->rec->change != SHM_CHANGE_BEGUN)
        r = size == s->size ? -EALREADY : -EINVAL;
    if (r == 0 && s->releasing) {
        worker_awaits_session(op->w, session);
        r = -EAGAIN;
    }
    worker_unlock(op->w);
    return r;
}

/* Nothing before the new size changes, except that the last piece of the file may go on. */
static struct session_range range_of(struct op *op)
{
    uint64_t size = fuse_req(op)->setattr->size;

    return (struct session_range){size, size};
}

static void resize(struct op *op)
{
    uint32_t session = session_to_resize(op);
    int r;

    if (session == SHM_NIL) {
        op_fail(op, -EBADF);
        return;
    }
    r = is_refused(op, session);
    if (r == 0)
        r = session_take_turn(op, session, range_of(op));
    if (r == -EALREADY) {
        op_stop_waiting(op);
        attr_apply(op);
    } else if (r == -EAGAIN) {
        return;
    } else if (r < 0) {
        session_detach_fail(op, r);
    } else if (r) {
        op_stop_waiting(op);
        resize_now(op, session);
    }
}

static void then_resize(struct op *op, int error)
{
    if (error) {
        if (!session_room_wait(op, error, op_setattr))
            op_fail(op, error);
        return;
    }
    session_note_pid(op->w, op->rec->session, op->caller.pid,
                     SHM_PID_OPENED); /* the process that this write belongs to */
    if (op->rec->change == SHM_CHANGE_TRUNCATED) {
        session_publish(op, op->rec->session, then_apply);
        return;
    }
    op_wait(op, resize);
    resize(op);
}

static void set_size_by_path(struct op *op);

/* After the HEAD: the file is a link (ESTALE: the kernel looks up again, and follows it), or it is
 * known not to be one. */
static void then_set_size(struct op *op, int error, const struct s3_object *obj)
{
    (void)obj;
    if (error)
        op_fail(op, error == -ENOENT ? -ESTALE : error);
    else
        set_size_by_path(op);
}

static void set_size_by_path(struct op *op)
{
    struct worker *w = op->w;
    bool ask = false;
    uint32_t node;

    worker_lock(w);
    node = op_node(op);
    if (node != SHM_NIL && op->rec->session == SHM_NIL &&
        shm_node_at(w->shm, node)->session == SHM_NIL)
        ask = meta_may_be_typed(w, shm_node_at(w->shm, node));
    worker_unlock(w);
    if (node == SHM_NIL)
        op_fail(op, -ESTALE);
    else if (ask)
        meta_ask(op, then_set_size);
    else
        session_attach(op, node, fuse_req(op)->setattr->size == 0, then_resize);
}

static void set_size(struct op *op)
{
    uint32_t session;

    if (op_keep(op) < 0)
        return;
    if (has_handle(op)) {
        session = session_to_resize(op);
        if (session != SHM_NIL)
            session_note_pid(op->w, session, op->caller.pid, SHM_PID_WROTE);
        op_wait(op, resize);
        resize(op);
    } else {
        set_size_by_path(op);
    }
}

/* ---- mode, owner, time ---- */

static void then_stored(struct op *op, int error)
{
    if (error == 0) {
        attr_apply(op);
        return;
    }
    hold_give_back(op);
    op_fail(op, error);
}

/* Under shm->meta. True if the metadata of the object must be changed: it is a published file (not
 * unlinked) or a directory with a marker, no upload is due that would carry the change, and an
 * attribute changes or may change (the present metadata may be unknown). */
static bool must_store(struct op *op)
{
    struct worker *w = op->w;
    uint32_t node = op_node(op);
    const struct shm_node *n;
    struct shm_node changed;

    if (!(fuse_req(op)->setattr->valid & STORED) || node == SHM_NIL ||
        w->conf->metadata == CONF_METADATA_IGNORE)
        return false;
    n = shm_node_at(w->shm, node);
    if (!(n->flags & (SHM_NODE_CURRENT | SHM_NODE_PRIVATE)) || n->parent == SHM_NIL ||
        (n->flags & SHM_NODE_LOCAL))
        return false;
    if ((n->flags & SHM_NODE_DIR) && !w->conf->directories.marker)
        return false;
    if (is_of_session_alone(w, n))
        return false;
    changed = *n;
    set_attributes(op, &changed);
    return meta_is_unknown(w, n) || meta_differ(n, &changed);
}

/* Under shm->meta. True if a publish is under way, which would not carry the change. */
static bool must_wait(struct op *op)
{
    uint32_t node = op_node(op);
    uint32_t session = node == SHM_NIL ? SHM_NIL : shm_node_at(op->w->shm, node)->session;

    return session != SHM_NIL && hold_is_publishing(op->w, session);
}

static void then_store(struct op *op, int error)
{
    static const struct meta_change change = {.set = set_attributes};

    if (error)
        then_stored(op, error);
    else
        meta_store(op, &change, then_stored);
}

static void set_others(struct op *op)
{
    bool begun, wait, store;

    worker_lock(op->w);
    begun = op->rec->node != SHM_NIL; /* by a predecessor */
    wait = !begun && must_wait(op);
    store = begun || (!wait && must_store(op));
    worker_unlock(op->w);
    if (wait) {
        if (op_keep(op) == 0)
            op_wait(op, set_others);
        return;
    }
    if (!op_is_current(op))
        op_stop_waiting(op);
    if (store) /* (of a folder that another program keeps in another form: on a marker) */
        folder_forms_for_node(op, then_store);
    else
        attr_apply(op);
}

void op_setattr(struct op *op)
{
    op->w->variant->identify_family(op);
    if (op->w->conf->mount.read_only)
        op_fail(op, -EROFS);
    else if (fuse_req(op)->setattr->valid & FATTR_SIZE)
        set_size(op);
    else
        set_others(op);
}
