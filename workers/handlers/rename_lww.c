/* A rename with last write wins (rename.h): a file is copied and then deleted; a directory
 * likewise, key by key (rename_dir.c). Neither is atomic on S3: between copy and delete both names
 * exist. Unpublished bytes are published first, under the old name. */
#include <errno.h>
#include <string.h>

#include "s3/s3_error.h"
#include "shm/shm_session.h"
#include "workers/handlers/folder_forms.h"
#include "workers/handlers/rename.h"
#include "workers/handlers/rename_copy.h"
#include "workers/names/dir_empty.h"
#include "workers/op/sequence.h"
#include "workers/write/copy_source.h"
#include "workers/write/delete.h"
#include "workers/write/orphan.h"
#include "workers/write/publish_wait.h"

/* ---- a file ---- */

/* Sessions that are to become copies of the source or of the target, which are about to change, are
 * loaded first. */
static void rename_settle(struct op *op, bool dir, bool target)
{
    char from[KEY_CAP], to[KEY_CAP];
    int r = rename_keys_of(op, dir, from, to);

    if (r < 0)
        op_step_done(op, r);
    else
        copy_source_settle(op, target ? to : from, dir, op_step_done);
}

static void settle_source(struct op *op)
{
    rename_settle(op, false, false);
}

static void settle_target(struct op *op)
{
    rename_settle(op, false, true);
}

/* Makes sure that readers of the target, which is about to be replaced, have its bytes here. */
static void keep_target(struct op *op)
{
    orphan_prepare(op, op->rec->target, op_step_done);
}

static void publish_source(struct op *op)
{
    uint32_t session;

    worker_lock(op->w);
    session = shm_node_at(op->w->shm, op->rec->node)->session;
    worker_unlock(op->w);
    if (session != SHM_NIL)
        session_publish(op, session, op_step_done);
    else
        op_step_done(op, 0);
}

void rename_copied(void *arg, const struct s3_result *res)
{
    struct op *op = arg;

    op->s3 = NULL;
    if (!res->error) {
        rename_note_copied(op, res->obj.etag);
    } else if (res->error == -ESTALE || res->error == -ENOENT) {
        /* S3 has another version than we know: the kernel looks up again and repeats the rename. */
        worker_lock(op->w);
        shm_node_detach(op->w->shm, op->rec->node);
        worker_unlock(op->w);
    }
    op_step_done(op, res->error);
}

static void copy_file(struct op *op)
{
    int r = rename_copy(op);

    if (r < 0)
        op_step_done(op, r);
}

/* Deletes the version that was copied. A version written since is a new file with the old name. */
static void delete_source(struct op *op)
{
    char from[KEY_CAP], to[KEY_CAP], etag[SHM_ETAG_MAX];
    struct delete_args args = {
        .key = from, .etag = etag, .how = DELETE_MOVED, .note = &op->rec->progress.rename.source};
    int r = rename_keys_of(op, false, from, to);

    worker_lock(op->w);
    memcpy(etag, shm_node_at(op->w->shm, op->rec->node)->etag, sizeof(etag));
    worker_unlock(op->w);
    if (r < 0)
        op_step_done(op, r);
    else
        delete_key(op, &args, op_step_done);
}

static const struct op_step file_steps[] = {
    {.run = settle_source, .skip = rename_is_copied, .optional = true},
    {.run = settle_target, .skip = rename_is_copied, .optional = true},
    {.run = keep_target, .skip = rename_is_copied, .optional = true},
    {.run = publish_source, .skip = rename_is_copied},
    {.run = copy_file, .skip = rename_is_copied},
    {.run = delete_source},
    {.run = rename_keep_dir, .optional = true},
};

/* ---- a directory ---- */

static void target_is_empty(struct op *op, const char *to, int error, bool marker)
{
    (void)to, (void)marker;
    if (!error) {
        worker_lock(op->w);
        rename_came_to(op, SHM_RENAME_MOVING);
        worker_unlock(op->w);
    }
    op_step_done(op, error);
}

/* A directory may only replace an empty one. */
static void check_target(struct op *op)
{
    char from[KEY_CAP], to[KEY_CAP];
    int r = rename_keys_of(op, true, from, to);

    if (r == 0)
        r = dir_check_empty(op, to, target_is_empty);
    if (r < 0)
        op_step_done(op, r);
}

/* Not checked again: by now the target may hold keys that have moved. */
static bool target_was_empty(const struct op *op)
{
    return op->rec->progress.rename.step >= SHM_RENAME_MOVING;
}

/* Under shm->meta. A session below the directory with unpublished bytes, SHM_NIL if there is
 * none. */
static uint32_t dirty_below(struct worker *w, uint32_t dir)
{
    for (uint32_t i = 0; i < shm_session_used(w->shm); i++) {
        const struct shm_session *s = shm_session_at(w->shm, i);

        if (s->state == SHM_SESSION_LIVE && shm_session_dirty(s) &&
            !(s->flags & SHM_SESSION_ORPHAN) && key_is_below(w, s->node, dir))
            return i;
    }
    return SHM_NIL;
}

static void publish_next_below(struct op *op, int error)
{
    uint32_t session = SHM_NIL;

    if (!error) {
        worker_lock(op->w);
        session = dirty_below(op->w, op->rec->node);
        worker_unlock(op->w);
    }
    if (session != SHM_NIL)
        session_publish(op, session, publish_next_below);
    else
        op_step_done(op, error);
}

static void publish_below(struct op *op)
{
    publish_next_below(op, 0);
}

static void settle_below(struct op *op)
{
    rename_settle(op, true, false);
}

/* A folder that another program keeps in another form gets its marker, which moves like any key
 * below. */
static void unify_source(struct op *op)
{
    char from[KEY_CAP], to[KEY_CAP];
    int r = rename_keys_of(op, true, from, to);

    if (r < 0)
        op_step_done(op, r);
    else
        folder_forms(op, from, op->rec->node, FOLDER_FORMS_UNIFY, op_step_done);
}

static void move_keys(struct op *op)
{
    char from[KEY_CAP], to[KEY_CAP];
    int r = rename_keys_of(op, true, from, to);

    if (r < 0)
        op_step_done(op, r);
    else
        rename_keys(op, from, to, op_step_done);
}

static const struct op_step dir_steps[] = {
    {.run = check_target, .skip = target_was_empty},
    {.run = publish_below},
    {.run = settle_below, .optional = true},
    {.run = unify_source},
    {.run = move_keys},
    {.run = rename_keep_dir, .optional = true},
};

/* ---- either ---- */

void rename_lww(struct op *op, bool dir)
{
    static const struct op_sequence of_file = OP_SEQUENCE_OF(file_steps, rename_finish);
    static const struct op_sequence of_dir = OP_SEQUENCE_OF(dir_steps, rename_finish);

    op_sequence_start(op, dir ? &of_dir : &of_file);
}
