/* What all renames share: the names of the request, both keys, and the end, when the source's node
 * moves to the new name, whose key the file already has. */
#include "workers/handlers/rename.h"

#include "workers/handlers/fuse_op.h"

#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "workers/handlers/dir_keep.h"
#include "workers/op/dir_witness.h"
#include "workers/op/hold.h"
#include "workers/op/sequence.h"
#include "workers/op/validity.h"
#include "workers/write/orphan.h"
#include "workers/write/session_attach.h"
#include "workers/write/session_end.h"

struct rename_args rename_args_of(const struct op *op)
{
    bool two = fuse_req(op)->opcode == FUSE_RENAME2;

    return (struct rename_args){
        .name = fuse_req(op)->name,
        .len = fuse_req(op)->name_len,
        .new_name = fuse_req(op)->name2,
        .new_len = fuse_req(op)->name2_len,
        .new_dir_id = two ? fuse_req(op)->rename2->newdir : fuse_req(op)->rename->newdir,
        .flags = two ? fuse_req(op)->rename2->flags : 0,
    };
}

void rename_note_copied(struct op *op, const char *etag)
{
    union shm_progress *p;

    worker_lock(op->w);
    p = op_progress(op);
    p->rename.step = SHM_RENAME_COPIED;
    shm_etag_copy(p->rename.etag, etag);
    worker_unlock(op->w);
}

/* Under shm->meta. If it is a directory: what was listed in it, or below, while its keys were moved
 * may be a part. */
static void forget_below(struct worker *w, uint32_t node)
{
    if (node != SHM_NIL && (shm_node_at(w->shm, node)->flags & SHM_NODE_DIR))
        shm_node_dir_moved(w->shm, node, clock_mono_ns());
}

/* Under shm->meta, after the keys were moved. 0 or -errno: the caller must roll back. */
static int move_node(struct op *op, const struct rename_args *a)
{
    struct worker *w = op->w;
    uint32_t from = op_node(op), to = shm_node_of_id(w->shm, a->new_dir_id);
    uint32_t node = op->rec->node, target = op->rec->target;
    struct shm_node *n = shm_node_edit(w->shm, node);
    int r;

    if (to == SHM_NIL)
        return -ESTALE;
    if (rename_is_copied(op) && *op->rec->progress.rename.etag)
        memcpy(n->etag, op->rec->progress.rename.etag, SHM_ETAG_MAX);
    if (target != SHM_NIL && shm_node_at(w->shm, target)->session != SHM_NIL)
        session_orphan(w, shm_node_at(w->shm, target)->session);
    session_orphan_left(w, from, a->name, a->len);
    session_orphan_left(w, to, a->new_name, a->new_len);
    if (target != SHM_NIL)
        shm_node_unlinked(w->shm, target, op->rec->progress.rename.wall_ns);
    r = shm_node_move(w->shm, node, to, a->new_name, a->new_len);
    if (r == 0) {
        n->ctime_ns = op->rec->progress.rename.wall_ns;
        validity_dir_changed(w, from);
        validity_dir_changed(w, to);
        shm_node_names_changed(w->shm, from, (int64_t)clock_wall_ns());
        shm_node_names_changed(w->shm, to, (int64_t)clock_wall_ns());
        forget_below(w, node);
    }
    return r;
}

/* Under shm->meta. The rename failed, perhaps half-way: marks the listings as stale, so that S3 is
 * asked again. */
static void forget_listings(struct op *op, const struct rename_args *a)
{
    struct worker *w = op->w;
    uint32_t from = op_node(op), to = shm_node_of_id(w->shm, a->new_dir_id);

    if (from != SHM_NIL)
        shm_node_list_stale(w->shm, from);
    if (to != SHM_NIL)
        shm_node_list_stale(w->shm, to);
    forget_below(w, op->rec->node);
    if (to != SHM_NIL)
        forget_below(w, shm_node_find(w->shm, to, a->new_name, a->new_len));
}

void rename_finish(struct op *op, int error)
{
    struct rename_args a = rename_args_of(op);
    struct worker *w = op->w;
    struct session_detached d;

    worker_lock(w);
    if (error == 0)
        error = move_node(op, &a);
    if (error) {
        shm_rollback(w->shm, w->shm->meta);
        forget_listings(op, &a);
        validity_doubted(w, op->rec->node);
        validity_doubted(w, op->rec->target);
    }
    hold_release(op, op->rec->node);
    hold_release(op, op->rec->target);
    op_edit(op)->node = SHM_NIL;
    op->rec->target = SHM_NIL;
    d = session_detach_begin(op);
    op_applied(op, error, NULL, 0);
    worker_unlock(w);
    session_detach_end(w, &d);
    worker_wake(w, HOLD_WAKE_ALL);
    op_finish(op);
}

void rename_keep_dir(struct op *op)
{
    struct rename_args a = rename_args_of(op);
    uint32_t dir;

    if (a.new_dir_id != op->rec->node_id) {
        dir_keep(op, a.name, a.len);
        return;
    }
    worker_lock(op->w); /* the new name is in it */
    dir = op_node(op);
    dir_witness_gone(op->w, dir, a.name, a.len);
    validity_dir_changed(op->w, dir); /* a page that is being loaded may still have the name */
    worker_unlock(op->w);
    op_step_done(op, 0);
}

int rename_keys_of(struct op *op, bool dir, char from[KEY_CAP], char to[KEY_CAP])
{
    struct rename_args a = rename_args_of(op);
    struct worker *w = op->w;
    uint32_t from_dir, to_dir;
    int r = -ESTALE;

    worker_lock(w);
    from_dir = op_node(op);
    to_dir = shm_node_of_id(w->shm, a.new_dir_id);
    if (from_dir != SHM_NIL && to_dir != SHM_NIL) {
        r = key_of_name(w, from_dir, a.name, a.len, from);
        if (r == 0)
            r = key_of_name(w, to_dir, a.new_name, a.new_len, to);
    }
    worker_unlock(w);
    if (r == 0 && dir)
        r = key_add_slash(from);
    if (r == 0 && dir)
        r = key_add_slash(to);
    return r;
}
