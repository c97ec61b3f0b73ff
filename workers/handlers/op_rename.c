/* RENAME and RENAME2. A file is copied and then deleted; a directory likewise, key by key
 * (rename_dir.c). Neither is atomic on S3: between copy and delete both names exist. Unpublished
 * bytes are published first, under the old name.
 *
 * What a replacement finds in op->rec:
 *   node      the source, held (hold_take)
 *   handle    the target that is replaced, held too, or SHM_NIL (the field is free: a rename opens
 *             nothing)
 *   step      rename.h
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

#ifndef RENAME_NOREPLACE
#define RENAME_NOREPLACE 1
#endif

/* ---- a file ---- */

/* The version that was copied. One that was written since is a new file of the old name. */
static void rename_delete_source(struct op *op)
{
    char from[KEY_CAP], to[KEY_CAP], etag[SHM_ETAG_MAX];
    int r = rename_keys_of(op, false, from, to);

    worker_lock(op->w);
    memcpy(etag, shm_node_at(op->w->shm, op->rec->node)->etag, sizeof(etag));
    worker_unlock(op->w);
    if (r < 0)
        rename_finish(op, r);
    else
        delete_key(op, from, etag, DELETE_MOVED, NULL, rename_finish);
}

static void rename_on_copied(void *arg, const struct s3_result *res)
{
    struct op *op = arg;
    struct shm_record *rec;

    op->s3 = NULL;
    if (res->error) {
        /* Another version than we know: the kernel looks up again and repeats the rename. */
        if (res->error == -ESTALE || res->error == -ENOENT) {
            worker_lock(op->w);
            shm_node_detach(op->w->shm, op->rec->node);
            worker_unlock(op->w);
        }
        rename_finish(op, res->error);
        return;
    }
    worker_lock(op->w);
    rec = op_edit(op);
    rec->step = RENAME_COPIED;
    snprintf((char *)rec->reply, sizeof(rec->reply), "%s", res->obj.etag);
    worker_unlock(op->w);
    rename_delete_source(op);
}

static void copy_file(struct op *op, int error)
{
    struct worker *w = op->w;
    char from[KEY_CAP], to[KEY_CAP], etag[SHM_ETAG_MAX];
    struct s3_copy copy = {.from_key = from, .to_key = to, .if_source_match = etag};
    uint64_t size;
    int r = error ? error : rename_keys_of(op, false, from, to);

    worker_lock(w);
    memcpy(etag, shm_node_at(w->shm, op->rec->node)->etag, sizeof(etag));
    size = shm_node_at(w->shm, op->rec->node)->size;
    worker_unlock(w);
    if (!*etag)
        copy.if_source_match = NULL;
    if (r == 0 && size > S3_PUT_MAX)
        r = -EFBIG; /* needs a copy in parts */
    if (r == 0) {
        w->stats->s3[S3_OP_COPY]++;
        r = s3_copy(w->s3, &copy, rename_on_copied, op, &op->s3);
    }
    if (r < 0)
        rename_finish(op, r);
}

/* Who reads the target, which is about to be replaced, has its bytes here now. */
static void target_is_kept(struct op *op, int error)
{
    uint32_t session;

    (void)error;
    worker_lock(op->w);
    session = shm_node_at(op->w->shm, op->rec->node)->session;
    worker_unlock(op->w);
    if (session != SHM_NIL)
        session_publish(op, session, copy_file);
    else
        copy_file(op, 0);
}

/* Copies of what is about to change, the source or the target, are loaded first. */
static void rename_settle(struct op *op, bool dir, bool target,
                          void (*then)(struct op *op, int error))
{
    char from[KEY_CAP], to[KEY_CAP];
    int r = rename_keys_of(op, dir, from, to);

    if (r < 0)
        rename_finish(op, r);
    else
        copy_source_settle(op, target ? to : from, dir, then);
}

static void copies_of_target_are_here(struct op *op, int error)
{
    (void)error;
    orphan_prepare(op, op->rec->handle, target_is_kept);
}

static void copies_of_source_are_here(struct op *op, int error)
{
    (void)error;
    rename_settle(op, false, true, copies_of_target_are_here);
}

static void rename_file(struct op *op)
{
    if (rename_is_copied(op))
        rename_delete_source(op);
    else
        rename_settle(op, false, false, copies_of_source_are_here);
}

/* ---- a directory ---- */

static void publish_below(struct op *op, int error);

static void target_is_empty(struct op *op, const char *to, int error)
{
    (void)to;
    if (error) {
        rename_finish(op, error);
        return;
    }
    worker_lock(op->w);
    op_edit(op)->step = RENAME_MOVING;
    worker_unlock(op->w);
    publish_below(op, 0);
}

/* A directory may only replace an empty one. */
static void check_target(struct op *op)
{
    char from[KEY_CAP], to[KEY_CAP];
    int r = rename_keys_of(op, true, from, to);

    if (r == 0)
        r = dir_check_empty(op, to, target_is_empty);
    if (r < 0)
        rename_finish(op, r);
}

/* Under shm->meta. A session below the directory with unpublished bytes, SHM_NIL if there is none.
 * */
static uint32_t dirty_below(struct worker *w, uint32_t dir)
{
    for (uint32_t i = 0; i < w->shm->header->sizes.sessions; i++) {
        const struct shm_session *s = shm_session_at(w->shm, i);

        if (s->state == SHM_SESSION_LIVE && shm_session_dirty(s) &&
            !(s->flags & SHM_SESSION_ORPHAN) && key_is_below(w, s->node, dir))
            return i;
    }
    return SHM_NIL;
}

static void move_keys(struct op *op, int error)
{
    char from[KEY_CAP], to[KEY_CAP];
    int r = rename_keys_of(op, true, from, to);

    (void)error;
    if (r < 0)
        rename_finish(op, r);
    else
        rename_keys(op, from, to, rename_finish);
}

static void publish_below(struct op *op, int error)
{
    uint32_t session;

    if (error) {
        rename_finish(op, error);
        return;
    }
    worker_lock(op->w);
    session = dirty_below(op->w, op->rec->node);
    worker_unlock(op->w);
    if (session != SHM_NIL)
        session_publish(op, session, publish_below);
    else
        rename_settle(op, true, false, move_keys);
}

void rename_lww(struct op *op, bool dir)
{
    if (dir && op->rec->step == RENAME_MOVING)
        publish_below(op, 0);
    else if (dir)
        check_target(op);
    else
        rename_file(op);
}

/* ---- the beginning ---- */

/* Under shm->meta: may the source replace the target? */
static int check_kinds(struct worker *w, uint32_t node, uint32_t target, uint32_t flags)
{
    bool dir = shm_node_at(w->shm, node)->flags & SHM_NODE_DIR;
    bool target_dir;

    /* Each key would be a PUT of its own: mv(1) goes on with a copy, file by file. */
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

/* Under shm->meta. 1: both nodes are held; 0: wait; -errno. */
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
        return -ESTALE; /* the kernel knew one: it looks up again */
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
    op->rec->handle = target;
    return 1;
}

/* Under shm->meta. A session of the caller's own on the source with something unpublished, which is
 * to be published first; SHM_NIL if there is none. */
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
        r = 0; /* nobody begins anything more there, as we hold it */
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
    /* Onto itself: the kernel lets that through when two lookups gave it two nodes. */
    if (r == 0 && onto_itself(op, &a)) {
        hold_give_back(op);
        op_fail(op, a.flags & RENAME_NOREPLACE ? -EEXIST : 0);
        return;
    }
    if (r < 0) {
        hold_give_back(op);
        op_fail(op, r);
        return;
    }
    op->w->variant->identify_family(op);
    if (op_keep(op) < 0)
        return;
    op->stays = true;
    op_wait(op, rename_attempt);
    rename_attempt(op);
}
