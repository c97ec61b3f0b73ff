/* RMDIR. The directory goes with its marker, in whichever form; the one above stays: dir_keep.h. */
#include <errno.h>

#include "base/clock.h"
#include "workers/handlers/dir_keep.h"
#include "workers/handlers/folder_forms.h"
#include "workers/handlers/fuse_op.h"
#include "workers/handlers/handlers.h"
#include "workers/names/dir_empty.h"
#include "workers/names/names.h"
#include "workers/op/hold.h"
#include "workers/op/key.h"
#include "workers/op/sequence.h"
#include "workers/op/validity.h"

/* ---- the steps ---- */

/* The marker's key. 0 or -errno. */
static int marker_key(struct op *op, char key[KEY_CAP])
{
    int r = names_check(op, fuse_req(op)->name, fuse_req(op)->name_len, key);

    return r < 0 ? r : key_add_slash(key);
}

static void rmdir_on_checked(struct op *op, const char *key, int error, bool marker)
{
    (void)key, (void)marker;
    op_step_done(op, error);
}

static void check_empty(struct op *op)
{
    char key[KEY_CAP];
    int r = marker_key(op, key);

    if (r == 0)
        r = dir_check_empty(op, key, rmdir_on_checked);
    if (r < 0)
        op_step_done(op, r);
}

static void delete_forms(struct op *op)
{
    char key[KEY_CAP];
    int r = marker_key(op, key);

    if (r < 0)
        op_step_done(op, r);
    else
        folder_forms(op, key, SHM_NIL, FOLDER_FORMS_REMOVE, op_step_done);
}

static void on_marker_deleted(void *arg, const struct s3_result *res)
{
    struct op *op = arg;

    op->s3 = NULL;
    op_step_done(op, res->error == -ENOENT ? 0 : res->error);
}

/* Sends the DELETE even if the listing showed no marker: it removes folders that some servers keep
 * without an object. */
static void delete_marker(struct op *op)
{
    char key[KEY_CAP];
    int r = marker_key(op, key);

    if (r == 0)
        r = s3_delete(op->w->s3, &(struct s3_delete){.key = key}, on_marker_deleted, op, &op->s3);
    if (r < 0)
        op_step_done(op, r);
}

static void keep_directory(struct op *op)
{
    dir_keep(op, fuse_req(op)->name, fuse_req(op)->name_len);
}

static void rmdir_end(struct op *op, int error)
{
    struct worker *w = op->w;
    uint32_t dir, node;

    worker_lock(w);
    dir = op_node(op);
    if (!error && dir != SHM_NIL) {
        node = shm_node_find(w->shm, dir, fuse_req(op)->name, fuse_req(op)->name_len);
        if (node != SHM_NIL)
            shm_node_unlinked(w->shm, node, (int64_t)clock_wall_ns());
        validity_dir_changed(w, dir);
        shm_node_names_changed(w->shm, dir, (int64_t)clock_wall_ns());
    }
    op_applied(op, error, NULL, 0);
    worker_unlock(w);
    op_finish(op);
    worker_wake(w, HOLD_WAKE_ALL);
}

static const struct op_step rmdir_steps[] = {
    {.run = check_empty},
    {.run = delete_forms},
    {.run = delete_marker},
    {.run = keep_directory, .optional = true},
};
static const struct op_sequence rmdir_sequence = OP_SEQUENCE_OF(rmdir_steps, rmdir_end);

/* ---- the beginning ---- */

static bool has_local(struct op *op)
{
    struct worker *w = op->w;
    uint32_t dir, node = SHM_NIL;
    bool local = false;

    worker_lock(w);
    dir = op_node(op);
    if (dir != SHM_NIL)
        node = shm_node_find(w->shm, dir, fuse_req(op)->name, fuse_req(op)->name_len);
    if (node != SHM_NIL)
        local = names_local_below(w, node);
    worker_unlock(w);
    return local;
}

/* Enters the directory, or waits for the end of a rename of it. */
static void enter(struct op *op)
{
    char key[KEY_CAP];
    int r = hold_enter(op, fuse_req(op)->name, fuse_req(op)->name_len, key);

    if (r == 1) {
        op_sequence_start(op, &rmdir_sequence);
    } else if (r < 0) {
        op_fail(op, r);
        worker_wake(op->w, HOLD_WAKE_ALL);
    }
}

void op_rmdir(struct op *op)
{
    char key[KEY_CAP];
    int r = names_check(op, fuse_req(op)->name, fuse_req(op)->name_len, key);

    if (r == 0 && has_local(op))
        r = -ENOTEMPTY;
    if (r < 0) {
        op_fail(op, r);
        return;
    }
    if (op_keep(op) < 0)
        return;
    op_wait(op, enter);
    enter(op);
}
