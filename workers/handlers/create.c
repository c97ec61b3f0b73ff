/* Creating a file: a node that is not published yet, with a session. Shared by CREATE, MKNOD and
 * SYMLINK. */
#include "workers/handlers/create.h"

#include "workers/handlers/fuse_entry.h"
#include "workers/handlers/fuse_op.h"

#include <errno.h>

#include "base/clock.h"
#include "s3/s3_url.h"
#include "workers/attr/node_attr.h"
#include "workers/op/key.h"
#include "workers/write/session_attach.h"
#include "workers/write/session_end.h"

/* With isolation the directory moves again when the file is published, and not beyond the file's
 * own time (publish_end.c): this is left for that. (Python tells times a microsecond apart.) */
#define BEFORE_NS 1000

int create_check(struct op *op)
{
    char key[KEY_CAP];
    uint32_t dir;
    int r;

    if (op->w->conf->mount.read_only)
        return -EROFS;
    if (op->w->shm->header->draining && op_is_current(op))
        return -ESHUTDOWN; /* a kept op continues */
    worker_lock(op->w);
    dir = op_node(op);
    r = dir == SHM_NIL ? -ESTALE
                       : key_of_name(op->w, dir, fuse_req(op)->name, fuse_req(op)->name_len, key);
    worker_unlock(op->w);
    /* A name that is no key (not UTF-8) is refused now, not when its content is to be published. */
    return r < 0 ? r : s3_url_check_key(key);
}

int64_t create_file(struct op *op, const struct newcomer *nc, uint32_t *ret_session)
{
    struct worker *w = op->w;
    uint32_t dir = op_node(op);
    struct shm_version v = {.local = true,
                            .mtime_ns = (int64_t)clock_wall_ns(),
                            .mode = SHM_MODE_UNSET,
                            .uid = SHM_MODE_UNSET,
                            .gid = SHM_MODE_UNSET,
                            .meta = true,
                            .type = nc->type,
                            .rdev = nc->rdev,
                            .atime_ns = SHM_TIME_UNSET,
                            .ctime_ns = SHM_TIME_UNSET};
    int64_t node, session;
    struct shm_session *s;

    if (dir == SHM_NIL)
        return -ESTALE;
    if (nc->type == S_IFLNK)
        v.mode = 0777;
    else if (nc->type || (nc->mode & node_mode_bits(false)) != w->conf->mount.file_mode)
        v.mode = nc->mode & node_mode_bits(false);
    if (op->caller.uid != w->conf->mount.uid)
        v.uid = op->caller.uid;
    v.gid = node_attr_new_group(w, dir, op->caller.gid, NULL);
    node = w->variant->isolates
               ? shm_node_private(w->shm, dir, nc->name, nc->len, &v, clock_mono_ns())
               : shm_node_intern(w->shm, dir, nc->name, nc->len, &v, clock_mono_ns());
    if (node < 0)
        return node;
    session = shm_session_new(w->shm, (uint32_t)node);
    if (session < 0)
        return session;
    s = shm_session_edit(w->shm, (uint32_t)session);
    s->flags |= SHM_SESSION_UNPUBLISHED;
    s->expect.absent = true;
    s->mtime_ns = v.mtime_ns;
    if (w->variant->isolates)
        shm_node_edit(w->shm, (uint32_t)node)->looked_by = op->caller.pid;
    shm_node_names_changed(w->shm, dir, v.mtime_ns - (w->variant->isolates ? BEFORE_NS : 0));
    w->variant->session_begins(op, (uint32_t)session,
                               (struct session_start){.truncate = !nc->loads, .excl = nc->excl});
    *ret_session = (uint32_t)session;
    return node;
}

uint32_t create_taken_by(struct op *op)
{
    uint32_t dir = op_node(op);

    return dir == SHM_NIL
               ? SHM_NIL
               : shm_node_find(op->w->shm, dir, fuse_req(op)->name, fuse_req(op)->name_len);
}

/* Under shm->meta. The node to tell the kernel. A FIFO or socket is found by its inode: with
 * isolation all callers must get the node of the name. */
static uint32_t node_to_tell(struct worker *w, uint32_t node)
{
    const struct shm_node *n = shm_node_at(w->shm, node), *other;
    uint32_t named = n->flags & SHM_NODE_PRIVATE ? shm_node_named(w->shm, node) : SHM_NIL;

    if (!shm_node_type(n) || named == SHM_NIL)
        return node;
    other = shm_node_at(w->shm, named);
    return shm_node_type(other) == shm_node_type(n) && shm_etag_same(other->etag, n->etag) ? named
                                                                                           : node;
}

void create_published(struct op *op, int error)
{
    struct worker *w = op->w;
    uint32_t session = op->rec->session, node;
    struct fuse_entry_out out;
    struct session_detached d;

    worker_lock(w);
    node = shm_session_at(w->shm, session)->node;
    if (!error) {
        node = node_to_tell(w, node);
        shm_node_ref(w->shm, node, 1);
        fuse_entry_out(w, node, &out);
    }
    d = session_detach_begin(op);
    op_applied(op, error, &out, error ? 0 : sizeof(out));
    worker_unlock(w);
    session_detach_end(w, &d);
    op_finish(op);
}
