/* RENAME and RENAME2: the checks, holding both names, and then the variant's steps (rename_lww.c,
 * rename_cas.c).
 *
 * A replacement finds in op->rec:
 *   node      the source, held (hold_take)
 *   target    the node that is replaced, held too, or SHM_NIL
 *   progress  how far the steps have come
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "s3/s3_error.h"
#include "shm/shm_session.h"
#include "workers/handlers/fuse_op.h"
#include "workers/handlers/handlers.h"
#include "workers/handlers/rename.h"
#include "workers/names/dir_empty.h"
#include "workers/names/names.h"
#include "workers/op/hold.h"
#include "workers/op/key.h"
#include "workers/op/validity.h"
#include "workers/write/copy_source.h"
#include "workers/write/delete.h"
#include "workers/write/orphan.h"
#include "workers/write/publish_wait.h"
#include "workers/write/session_attach.h"

/* Under shm->meta. 0 if the source may replace the target (SHM_NIL: there is none), or -errno. */
static int check_kinds(struct worker *w, uint32_t node, uint32_t target, uint32_t flags)
{
    bool dir = shm_node_at(w->shm, node)->flags & SHM_NODE_DIR;
    bool target_dir;

    /* Each key would need a PUT of its own: with EXDEV mv(1) copies file by file. */
    if (dir && !w->variant->renames_dirs)
        return -EXDEV;
    if (target == SHM_NIL)
        return 0;
    if (flags & RENAME_NOREPLACE)
        return -EEXIST;
    target_dir = shm_node_at(w->shm, target)->flags & SHM_NODE_DIR;
    if (dir && !target_dir)
        return -ENOTDIR;
    if (!dir && target_dir)
        return -EISDIR;
    return dir && names_local_below(w, target) ? -ENOTEMPTY : 0;
}

/* Under shm->meta. 1: both nodes are held, and noted in op->rec; 0: wait; -errno. */
static int take_nodes(struct op *op, const struct rename_args *a)
{
    struct worker *w = op->w;
    uint32_t dir = op_node(op), to = shm_node_of_id(w->shm, a->new_dir_id);
    uint32_t node, target;
    int r;

    if (op->rec->node != SHM_NIL)
        return 1; /* by a predecessor */
    if (dir == SHM_NIL || to == SHM_NIL)
        return -ESTALE;
    node = shm_node_find(w->shm, dir, a->name, a->len);
    target = shm_node_find(w->shm, to, a->new_name, a->new_len);
    if (node == SHM_NIL)
        return -ESTALE; /* the kernel knew a node: it looks up again */
    if (key_is_below(w, to, node))
        return -EINVAL;
    r = check_kinds(w, node, target, a->flags);
    if (r < 0)
        return r;
    if (!hold_take(op, node))
        return 0;
    if (target != SHM_NIL && !hold_take(op, target)) {
        hold_release(op, node);
        return 0;
    }
    op_edit(op)->node = node;
    op->rec->target = target;
    if (!op->rec->progress.rename.wall_ns) /* (a copy of a worker that died has it) */
        op_progress(op)->rename.wall_ns = (int64_t)clock_wall_ns();
    return 1;
}

/* Under shm->meta. The caller's own session on the source, if it has unpublished bytes, which are
 * published before the rename; SHM_NIL if there is none. */
static uint32_t own_dirty(struct op *op, const struct rename_args *a)
{
    uint32_t dir = op_node(op), node = SHM_NIL;

    if (op->rec->node == SHM_NIL && dir != SHM_NIL)
        node = op->w->variant->own_session(op, dir, a->name, a->len);
    return node == SHM_NIL ? SHM_NIL : shm_node_at(op->w->shm, node)->session;
}

static void rename_attempt(struct op *op);

static void then_published(struct op *op, int error)
{
    if (error) {
        op_fail(op, error);
        return;
    }
    op_wait(op, rename_attempt);
    rename_attempt(op);
}

static void rename_attempt(struct op *op)
{
    struct rename_args a = rename_args_of(op);
    struct worker *w = op->w;
    uint32_t dirty;
    bool dir = false;
    int r = 0;

    worker_lock(w);
    dirty = own_dirty(op, &a);
    if (dirty == SHM_NIL)
        r = take_nodes(op, &a);
    if (r == 1)
        dir = shm_node_at(w->shm, op->rec->node)->flags & SHM_NODE_DIR;
    if (dir && hold_is_taken_below(w, op->rec->node))
        r = 0; /* no new op starts below it, since this op holds it */
    worker_unlock(w);
    if (r == 0 && dirty == SHM_NIL)
        return;
    op_stop_waiting(op);
    if (dirty != SHM_NIL)
        session_publish(op, dirty, then_published);
    else if (r < 0)
        op_fail(op, r);
    else
        w->variant->rename(op, dir);
}

static bool onto_itself(const struct op *op, const struct rename_args *a)
{
    return a->new_dir_id == fuse_req(op)->nodeid && a->new_len == a->len &&
           memcmp(a->name, a->new_name, a->len) == 0;
}

void op_rename(struct op *op)
{
    struct rename_args a = rename_args_of(op);
    char key[KEY_CAP];
    int r = names_check(op, a.name, a.len, key);

    if (r == 0 && (a.flags & ~(uint32_t)RENAME_NOREPLACE))
        r = -EINVAL; /* RENAME_EXCHANGE, RENAME_WHITEOUT */
    if (r == 0 && a.new_len > SHM_NAME_MAX)
        r = -ENAMETOOLONG;
    /* Onto itself: the kernel sends that if two lookups returned two nodes. */
    if (r == 0 && onto_itself(op, &a)) {
        hold_give_back(op);
        op_fail(op, a.flags & RENAME_NOREPLACE ? -EEXIST : 0);
        return;
    }
    if (r < 0) { /* (a predecessor may have come further) */
        hold_give_back(op);
        session_detach_fail(op, r);
        return;
    }
    op->w->variant->identify_family(op);
    if (op_keep(op) < 0)
        return;
    op->stays = true;
    op_wait(op, rename_attempt);
    rename_attempt(op);
}
