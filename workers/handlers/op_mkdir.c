/* MKDIR. A directory is a key prefix; a marker, an empty object "dir/", keeps it if it is empty. */
#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "s3/s3_error.h"
#include "workers/attr/node_attr.h"
#include "workers/handlers/fuse_entry.h"
#include "workers/handlers/fuse_op.h"
#include "workers/handlers/handlers.h"
#include "workers/names/names.h"
#include "workers/names/room.h"
#include "workers/objmeta/meta.h"
#include "workers/op/hold.h"
#include "workers/op/key.h"
#include "workers/op/validity.h"

/* Under shm->meta. */
static struct shm_version version_of(const struct op *op, uint32_t dir)
{
    const struct conf *c = op->w->conf;
    uint32_t bit, gid = node_attr_new_group(op->w, dir, op->caller.gid, &bit);
    uint32_t mode = (fuse_req(op)->mkdir->mode & node_mode_bits(true)) | bit;

    return (struct shm_version){
        .dir = true,
        .local = !c->directories.marker,
        .mtime_ns = (int64_t)clock_wall_ns(),
        .mode = mode == c->mount.dir_mode ? SHM_MODE_UNSET : mode,
        .uid = op->caller.uid == c->mount.uid ? SHM_MODE_UNSET : op->caller.uid,
        .gid = gid,
        .meta = true,
        .atime_ns = SHM_TIME_UNSET,
        .ctime_ns = SHM_TIME_UNSET,
    };
}

/* The new directory is known to be empty from now on, so creating files in it next needs no request
 * to S3. */
static int64_t intern_dir(struct op *op)
{
    struct worker *w = op->w;
    uint32_t dir = op_node(op);
    uint64_t now = clock_mono_ns();
    struct shm_version v;
    struct shm_node *n;
    int64_t node;

    if (dir == SHM_NIL)
        return -ESTALE;
    v = version_of(op, dir);
    node = shm_node_intern(w->shm, dir, fuse_req(op)->name, fuse_req(op)->name_len, &v, now);
    if (node < 0)
        return node;
    n = shm_node_edit(w->shm, (uint32_t)node);
    if (w->conf->directories.marker)
        n->flags |= SHM_NODE_MARKER;
    if (n->children == 0) {
        n->flags |= SHM_NODE_COMPLETE;
        n->listed_ns = now;
        shm_node_new_content(w->shm, (uint32_t)node);
    }
    validity_dir_changed(w, dir);
    shm_node_names_changed(w->shm, dir, v.mtime_ns);
    return node;
}

/* A rename of the directory may have waited for this op: wakes all. */
static void end_failed(struct op *op, int error)
{
    struct worker *w = op->w;

    op_fail(op, error);
    worker_wake(w, HOLD_WAKE_ALL);
}

static void end_applied(struct op *op)
{
    struct worker *w = op->w;

    op_finish(op);
    worker_wake(w, HOLD_WAKE_ALL);
}

static void mkdir_apply(struct op *op)
{
    struct worker *w = op->w;
    struct fuse_entry_out out;
    int64_t node;

    worker_lock(w);
    node = intern_dir(op);
    if (node >= 0) {
        shm_node_ref(w->shm, (uint32_t)node, 1);
        fuse_entry_out(w, (uint32_t)node, &out);
        op_applied(op, 0, &out, sizeof(out));
    } else {
        shm_rollback(w->shm, w->shm->meta);
        if (op_node(op) != SHM_NIL) /* the marker exists all the same */
            shm_node_list_stale(w->shm, op_node(op));
    }
    worker_unlock(w);
    if (node < 0)
        end_failed(op, (int)node);
    else
        end_applied(op);
}

static void on_marker_put(void *arg, const struct s3_result *res)
{
    struct op *op = arg;

    op->s3 = NULL;
    if (res->error)
        end_failed(op, res->error);
    else
        mkdir_apply(op);
}

static int put_marker(struct op *op, char key[KEY_CAP])
{
    struct shm_node n = {
        .flags = SHM_NODE_DIR, .atime_ns = SHM_TIME_UNSET, .ctime_ns = SHM_TIME_UNSET};
    struct shm_version v;
    uint32_t dir;
    struct meta_out meta = {0};
    struct s3_put put;
    int r = key_add_slash(key);

    if (r < 0)
        return r;
    worker_lock(op->w);
    dir = op_node(op);
    if (dir != SHM_NIL) {
        v = version_of(op, dir);
        n.mode = v.mode;
        n.uid = v.uid;
        n.gid = v.gid;
    }
    worker_unlock(op->w);
    if (dir == SHM_NIL)
        return -ESTALE;
    if (op->w->conf->metadata == CONF_METADATA_FULL)
        meta_write(&meta, &n);
    put = meta_marker(key, &meta);
    return s3_put(op->w->s3, &put, on_marker_put, op, &op->s3);
}

/* Enters the directory, or waits for the end of a rename of it. */
static void enter(struct op *op)
{
    char key[KEY_CAP];
    int r = hold_enter(op, fuse_req(op)->name, fuse_req(op)->name_len, key);

    if (r == 1)
        r = put_marker(op, key);
    if (r < 0)
        end_failed(op, r);
}

void op_mkdir(struct op *op)
{
    char key[KEY_CAP];
    int r;

    if (room_wait(op, op_mkdir))
        return;
    r = names_check(op, fuse_req(op)->name, fuse_req(op)->name_len, key);
    if (r < 0) {
        op_fail(op, r);
        return;
    }
    if (op_keep(op) < 0)
        return;
    if (!op->w->conf->directories.marker) {
        mkdir_apply(op);
        return;
    }
    op_wait(op, enter);
    enter(op);
}
