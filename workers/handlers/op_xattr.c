/* GETXATTR, LISTXATTR, SETXATTR, REMOVEXATTR: extended attributes of the user namespace, kept in
 * the metadata of the object (xattr.h); those of a directory in the metadata of its marker.
 *
 *   which        closed file, directory        file with unpublished bytes
 *   read         HEAD; no request if it is     those set since; else as a closed file
 *                known that there are none
 *   changed      HEAD, COPY (meta_store.c)     kept with the session; the upload carries them
 *
 * Other namespaces are not supported, which costs no request: programs ask for
 * system.posix_acl_access and security.capability of each file. Those of object_attr.h are not
 * listed (a program that copies all attributes must not copy them); only content_type can be set,
 * of a file that is published.
 */
#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "workers/attr/meta_ask.h"
#include "workers/attr/meta_store.h"
#include "workers/handlers/folder_forms.h"
#include "workers/handlers/fuse_op.h"
#include "workers/handlers/handlers.h"
#include "workers/handlers/object_attr.h"
#include "workers/objmeta/meta.h"
#include "workers/op/hold.h"
#include "workers/op/spool.h"
#include "workers/op/validity.h"
#include "workers/write/session.h"

static_assert(XATTR_CODED_MAX == SHM_SESSION_META_MAX, "a session keeps them coded");

/* 0 if the name can be one of ours; -ENOSYS, -EOPNOTSUPP. */
static int check_name(const struct op *op)
{
    if (op->w->conf->metadata == CONF_METADATA_IGNORE)
        return -ENOSYS; /* the kernel remembers that, and sends no more requests */
    if (!xattr_is_shown(fuse_req(op)->name) || fuse_req(op)->name_len > XATTR_NAME_LEN_MAX)
        return -EOPNOTSUPP;
    return 0;
}

/* ---- where the attributes are ---- */

enum look { LOOK_FAILED, LOOK_CODED, LOOK_ASK };

/* Under shm->meta. The attributes that are known without asking S3, coded. (For a file without a
 * name, S3 cannot be asked.) */
static enum look xattr_look(struct op *op, char coded[XATTR_CODED_MAX], int *ret_error)
{
    struct worker *w = op->w;
    uint32_t node = op_node(op);
    const struct shm_node *n = node == SHM_NIL ? NULL : shm_node_at(w->shm, node);
    const struct shm_session *s;

    *ret_error = -ESTALE;
    if (!n)
        return LOOK_FAILED;
    *coded = '\0';
    s = n->session == SHM_NIL ? NULL : shm_session_at(w->shm, n->session);
    if (s && (s->flags & SHM_SESSION_XATTR))
        memcpy(coded, s->xattr, XATTR_CODED_MAX);
    else if (n->parent != SHM_NIL && (n->flags & (SHM_NODE_CURRENT | SHM_NODE_PRIVATE)) &&
             !(n->flags & SHM_NODE_LOCAL) && !(s && shm_session_is_nameless(s)) &&
             (n->flags & (SHM_NODE_META | SHM_NODE_XATTR)) != SHM_NODE_META)
        return LOOK_ASK;
    return LOOK_CODED;
}

/* The coded attributes of an object. A version that no longer exists (NULL) has none. */
static const char *coded_of(const struct s3_object *obj)
{
    return obj ? meta_xattr(obj) : "";
}

/* ---- GETXATTR ---- */

static void answer_get(struct op *op, const char *coded)
{
    struct xattr_set set;
    size_t len;
    const uint8_t *value;

    (void)!xattr_decode(coded, &set); /* returns those that could be decoded */
    value = xattr_get(&set, fuse_req(op)->name, &len);
    if (value)
        fuse_op_answer_xattr(op, value, len);
    else
        op_fail(op, -ENODATA);
}

static void then_get(struct op *op, int error, const struct s3_object *obj)
{
    if (error == 0 || error == -ENOENT || (error == -ESTALE && obj))
        answer_get(op, coded_of(obj));
    else
        op_fail(op, error);
}

void op_getxattr(struct op *op)
{
    char coded[XATTR_CODED_MAX];
    enum look what;
    int r = check_name(op);

    if (r < 0) {
        op_fail(op, r);
        return;
    }
    if (object_attr_is(fuse_req(op)->name)) {
        object_attr_get(op);
        return;
    }
    worker_lock(op->w);
    what = xattr_look(op, coded, &r);
    worker_unlock(op->w);
    if (what == LOOK_FAILED)
        op_fail(op, r);
    else if (what == LOOK_CODED)
        answer_get(op, coded);
    else
        meta_ask(op, then_get);
}

/* ---- LISTXATTR ---- */

static void answer_list(struct op *op, const char *coded)
{
    struct xattr_set set;
    char names[sizeof(set.bytes)];
    ssize_t len;

    (void)!xattr_decode(coded, &set);
    len = xattr_list(&set, names, sizeof(names));
    if (len < 0)
        op_fail(op, (int)len);
    else
        fuse_op_answer_xattr(op, names, (size_t)len);
}

static void then_list(struct op *op, int error, const struct s3_object *obj)
{
    if (error == 0 || error == -ENOENT || (error == -ESTALE && obj))
        answer_list(op, coded_of(obj));
    else
        op_fail(op, error);
}

/* Under shm->meta. True if a listing reported the file less than a TTL ago. Newer versions of ls(1)
 * request this list for every file that they show. Then the reply is as the listing shows the file:
 * without any attributes. */
static bool just_listed(struct op *op)
{
    struct worker *w = op->w;
    const struct shm_node *n = shm_node_at(w->shm, op_node(op));

    return !(n->flags & SHM_NODE_META) &&
           validity_holds(n->checked_ns, w->conf->directories.ttl_ns, clock_mono_ns());
}

void op_listxattr(struct op *op)
{
    char coded[XATTR_CODED_MAX];
    enum look what;
    int r;

    if (op->w->conf->metadata == CONF_METADATA_IGNORE) {
        op_fail(op, -ENOSYS);
        return;
    }
    worker_lock(op->w);
    what = xattr_look(op, coded, &r);
    if (what == LOOK_ASK && just_listed(op))
        what = LOOK_CODED;
    worker_unlock(op->w);
    if (what == LOOK_FAILED)
        op_fail(op, r);
    else if (what == LOOK_CODED)
        answer_list(op, coded);
    else
        meta_ask(op, then_list);
}

/* ---- SETXATTR, REMOVEXATTR ---- */

static bool removes(const struct op *op)
{
    return fuse_req(op)->opcode == FUSE_REMOVEXATTR;
}

/* Clears the value in the parking file. Only a kept op has one there: it was stored before the op
 * was kept. */
static void unpark(struct op *op)
{
    uint32_t len = op->rec->parked_len;

    if (op_is_current(op) || !len)
        return;
    op->rec->parked_len = 0;
    spool_park_clear(op->w, op->rec_idx, len);
}

static int park(struct op *op)
{
    uint32_t idx = op_next_record(op->w);
    uint32_t len = (uint32_t)fuse_req(op)->data_len;
    int r;

    if (!op_is_current(op) || removes(op) || !len || idx == SHM_NIL)
        return 0;
    r = spool_park(op->w, idx, fuse_req(op)->data, len);
    if (r == 0)
        op->rec->parked_len = len;
    return r;
}

/* (The value stays parked until the reply is stored: a replacement that handled the op again would
 * set whatever is there.) */
static void xattr_finish(struct op *op, int error)
{
    struct worker *w = op->w;

    worker_lock(w);
    hold_release(op, op->rec->node);
    op_edit(op)->node = SHM_NIL;
    op_applied(op, error, NULL, 0);
    worker_unlock(w);
    unpark(op);
    worker_wake(w, HOLD_WAKE_ALL);
    op_finish(op);
}

/* Changes the set. If a worker has died, its change may already be in the set. */
static int change(struct op *op, struct xattr_set *set, const void *value)
{
    bool again = op->rec->progress.meta.sent;
    size_t len;
    const uint8_t *there = xattr_get(set, fuse_req(op)->name, &len);
    int flags = removes(op) ? 0 : (int)fuse_req(op)->setxattr->flags;
    int r;

    if (removes(op)) {
        r = xattr_remove(set, fuse_req(op)->name);
        return again && r == -ENODATA ? 0 : r;
    }
    if (again && there && len == fuse_req(op)->setxattr->size && memcmp(there, value, len) == 0)
        return 0;
    return xattr_put(set, fuse_req(op)->name, value, fuse_req(op)->setxattr->size, flags);
}

static int xattr_edit(struct op *op, const char *old, char new[XATTR_CODED_MAX])
{
    uint8_t value[XATTR_CODED_MAX];
    struct xattr_set set;
    int r = xattr_decode(old, &set); /* -EIO: attributes of other programs would be lost */

    if (r == 0 && !removes(op) && op->rec->parked_len != fuse_req(op)->setxattr->size)
        r = -EINTR; /* cannot be: it is there until the reply is stored */
    if (r == 0 && !removes(op) && op->rec->parked_len)
        r = spool_unpark(op->w, op->rec_idx, 0, value, op->rec->parked_len);
    if (r == 0)
        r = change(op, &set, value);
    if (r == 0)
        r = xattr_encode(&set, new);
    return r;
}

/* Under shm->meta. True if the file was unlinked, so that no object will get the change. (With
 * isolation the node of a session is never the one that the name has.) */
static bool is_nameless(const struct worker *w, const struct shm_node *n)
{
    return w->variant->isolates ? shm_session_is_nameless(shm_session_at(w->shm, n->session))
                                : !(n->flags & SHM_NODE_CURRENT);
}

/* Under shm->meta. True if the object has, or may have, other metadata, which the upload will keep:
 * only a HEAD tells how much room they leave. */
static bool must_see_room(const struct op *op, const struct shm_node *n)
{
    return !removes(op) && !(n->flags & SHM_NODE_LOCAL) && !is_nameless(op->w, n) &&
           (n->flags & (SHM_NODE_META | SHM_NODE_MORE)) != SHM_NODE_META;
}

enum how { HOW_FAILED, HOW_WAIT, HOW_STORE, HOW_SESSION, HOW_ASK };

/* Under shm->meta. Where the change belongs. `coded`: for HOW_SESSION, the attributes to change. */
static enum how how(struct op *op, char coded[XATTR_CODED_MAX], int *ret_error)
{
    struct worker *w = op->w;
    enum look what = xattr_look(op, coded, ret_error);
    const struct shm_node *n;

    if (what == LOOK_FAILED)
        return HOW_FAILED;
    n = shm_node_at(w->shm, op_node(op));
    *ret_error = n->parent == SHM_NIL ? -EOPNOTSUPP : -ESTALE;
    if (object_attr_sets_type(op) && (n->flags & SHM_NODE_DIR)) {
        *ret_error = -EPERM;
        return HOW_FAILED;
    }
    if (n->parent == SHM_NIL || ((n->flags & SHM_NODE_DIR) && (n->flags & SHM_NODE_LOCAL)))
        return HOW_FAILED;
    if (op->rec->node != SHM_NIL) /* a predecessor has begun the change */
        return HOW_STORE;
    if (n->session == SHM_NIL)
        return !(n->flags & SHM_NODE_LOCAL) && (n->flags & (SHM_NODE_CURRENT | SHM_NODE_PRIVATE))
                   ? HOW_STORE
                   : HOW_FAILED;
    if (hold_is_publishing(w, n->session))
        return HOW_WAIT;
    if (is_nameless(w, n) || shm_session_dirty(shm_session_at(w->shm, n->session))) {
        if (object_attr_sets_type(op)) {
            *ret_error = -EBUSY;
            return HOW_FAILED;
        }
        return what == LOOK_CODED && !must_see_room(op, n) ? HOW_SESSION : HOW_ASK;
    }
    return HOW_STORE;
}

/* Stores the attributes in the session, and the reply, if the session still waits for its upload;
 * -EAGAIN: look again. */
static int put_into_session(struct op *op, const char *coded)
{
    struct worker *w = op->w;
    char was[XATTR_CODED_MAX];
    int error, r = -EAGAIN;
    enum how where;

    worker_lock(w);
    where = how(op, was, &error);
    if (where == HOW_SESSION || where == HOW_ASK) {
        shm_session_set_xattr(w->shm, shm_node_at(w->shm, op_node(op))->session, coded);
        shm_node_edit(w->shm, op_node(op))->ctime_ns = (int64_t)clock_wall_ns();
        op_applied(op, 0, NULL, 0);
        r = 0;
    }
    worker_unlock(w);
    return r;
}

static void xattr_attempt(struct op *op);

/* True if they fit into an object together with its other metadata, which the upload will keep. */
static bool has_room(const struct s3_object *obj, const char *coded)
{
    static const struct shm_node none = {.mode = SHM_MODE_UNSET,
                                         .uid = SHM_MODE_UNSET,
                                         .gid = SHM_MODE_UNSET,
                                         .atime_ns = SHM_TIME_UNSET,
                                         .ctime_ns = SHM_TIME_UNSET};
    struct meta_out out;

    meta_write(&out, &none);
    meta_write_xattr(&out, coded);
    return meta_keep(&out, obj, META_KEEP_CHANGED) == obj->kept_lost &&
           out.bytes <= META_BYTES_MAX - META_OWN * META_VALUE_MAX;
}

/* `obj`: the object that has the attributes now; NULL: there is none, or its other metadata need
 * not be counted. */
static void change_in_session(struct op *op, const char *old, const struct s3_object *obj)
{
    char new[XATTR_CODED_MAX];
    int r = xattr_edit(op, old, new);

    if (r == 0 && obj && strlen(new) > strlen(old) && !has_room(obj, new))
        r = -ENOSPC;
    if (r == 0)
        r = put_into_session(op, new);
    if (r == -EAGAIN) {
        xattr_attempt(op);
        return;
    }
    if (r < 0) {
        xattr_finish(op, r);
        return;
    }
    unpark(op);
    op_finish(op);
}

/* (What the session has is newer than what the object has.) */
static void then_change(struct op *op, int error, const struct s3_object *obj)
{
    char coded[XATTR_CODED_MAX];
    enum look what;
    int r;

    if (error && error != -ENOENT && !(error == -ESTALE && obj)) {
        xattr_finish(op, error);
        return;
    }
    worker_lock(op->w);
    what = xattr_look(op, coded, &r);
    worker_unlock(op->w);
    if (what == LOOK_FAILED)
        xattr_finish(op, r);
    else
        change_in_session(op, what == LOOK_CODED ? coded : coded_of(obj), obj);
}

/* The attributes of a folder that another program keeps in another form go to a marker, with those
 * that it has. */
static void xattr_store(struct op *op, int error)
{
    static const struct meta_change attributes = {.edit = xattr_edit};
    static const struct meta_change type = {.set_type = object_attr_type};

    if (error)
        xattr_finish(op, error);
    else
        meta_store(op, object_attr_sets_type(op) ? &type : &attributes, xattr_finish);
}

static void xattr_attempt(struct op *op)
{
    char coded[XATTR_CODED_MAX];
    enum how where;
    int error;

    worker_lock(op->w);
    where = how(op, coded, &error);
    worker_unlock(op->w);
    if (where != HOW_WAIT)
        op_stop_waiting(op);
    switch (where) {
    case HOW_FAILED:
        xattr_finish(op, error);
        break;
    case HOW_WAIT:
        op_wait(op, xattr_attempt);
        break;
    case HOW_STORE:
        folder_forms_for_node(op, xattr_store);
        break;
    case HOW_SESSION:
        change_in_session(op, coded, NULL);
        break;
    case HOW_ASK:
        meta_ask(op, then_change);
        break;
    }
}

static int check_change(const struct op *op)
{
    int r = check_name(op);

    if (r == 0 && op->w->conf->mount.read_only)
        r = -EROFS;
    if (r == 0 && object_attr_is(fuse_req(op)->name))
        r = object_attr_check(op);
    if (r == 0 && !removes(op) && fuse_req(op)->setxattr->size >= XATTR_CODED_MAX)
        r = -E2BIG;
    return r;
}

static void begin_change(struct op *op)
{
    int r = check_change(op);

    if (r == 0)
        r = park(op);
    if (r < 0) {
        op_fail(op, r);
        return;
    }
    if (op_keep(op) < 0)
        return;
    op->abandon = xattr_finish;
    xattr_attempt(op);
}

void op_setxattr(struct op *op)
{
    begin_change(op);
}

void op_removexattr(struct op *op)
{
    begin_change(op);
}
