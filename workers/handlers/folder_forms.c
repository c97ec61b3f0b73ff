/* For each form: HEAD of the object; if it is a folder and is to be unified, HEAD of the marker,
 * and PUT of one if there is none; DELETE of the object. Servers on top of a file system refuse the
 * marker beside the object, or take the object for it: there the DELETE comes first, and until the
 * PUT the metadata are in the op's record alone, for a replacement of this worker (put_aside).
 *
 * The PUT is conditional on there being no marker: one that was taken for lost with its worker must
 * not undo what was stored in the marker since. */
#include "workers/handlers/folder_forms.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fnv.h"
#include "s3/s3_error.h"
#include "workers/objmeta/folder.h"
#include "workers/objmeta/meta.h"
#include "workers/op/folders.h"
#include "workers/op/hold.h"
#include "workers/op/key.h"
#include "workers/write/delete.h"

struct forms {
    struct op *op;
    void (*then)(struct op *op, int error);
    enum folder_forms_how how;
    uint32_t node;
    enum shm_folders form; /* the one that is looked at */
    bool asked;            /* the PUT or the DELETE had a condition */
    bool refused;          /* the PUT, because a marker is there, says the server */
    bool marker;           /* the marker is there, since a form was */
    bool put_last;         /* the marker is put after the DELETE */
    struct s3_object obj;  /* of that form */
    char form_key[KEY_CAP];
    char key[KEY_CAP]; /* of the marker */
};

static void look_at_form(struct forms *f);

/* Under shm->meta. The marker has what the object had, of which the node need not know all:
 * meta_store must ask. */
static void forget_metadata(struct worker *w, uint32_t node)
{
    if (node != SHM_NIL && (shm_node_at(w->shm, node)->flags & SHM_NODE_META))
        shm_node_edit(w->shm, node)->flags &= (uint16_t)~SHM_NODE_META;
}

static void note_form(const struct forms *f)
{
    worker_lock(f->op->w);
    forget_metadata(f->op->w, f->node);
    worker_unlock(f->op->w);
}

/* (Somebody may have asked for the metadata while they were in neither place.) */
static void note_marker(const struct forms *f)
{
    struct worker *w = f->op->w;

    worker_lock(w);
    forget_metadata(w, f->node);
    if (f->node != SHM_NIL && (shm_node_at(w->shm, f->node)->flags & SHM_NODE_CURRENT))
        shm_node_edit(w->shm, f->node)->flags |= SHM_NODE_MARKER;
    worker_unlock(w);
}

static void forms_end(struct forms *f, int error)
{
    struct op *op = f->op;
    void (*then)(struct op * op, int error) = f->then;

    if (!error && f->marker)
        note_marker(f);
    op_set_state(op, NULL, NULL);
    free(f);
    then(op, error);
}

static void next_form(struct forms *f)
{
    if (f->form == SHM_FOLDERS_SUFFIX) {
        forms_end(f, 0);
        return;
    }
    f->form = SHM_FOLDERS_SUFFIX;
    look_at_form(f);
}

/* ---- DELETE ---- */

static int forms_delete(struct forms *f);
static int put_form_marker(struct forms *f);

static void forms_deleted(struct forms *f, int error)
{
    int r = error;

    if (r == 0 && f->put_last)
        r = put_form_marker(f);
    else if (r == 0)
        next_form(f);
    if (r < 0)
        forms_end(f, r);
}

static void forms_on_deleted(void *arg, const struct s3_result *res)
{
    struct forms *f = arg;
    int r = res->error;

    f->op->s3 = NULL;
    if (s3_condition_dropped(f->op->w->s3, f->asked, res, S3_HABIT_NO_DELETE_MATCH)) {
        r = forms_delete(f);
        if (r == 0)
            return;
    }
    /* EEXIST: somebody has made a file of it meanwhile */
    forms_deleted(f, r == -ENOENT || r == -EEXIST ? 0 : r);
}

static int forms_delete(struct forms *f)
{
    struct worker *w = f->op->w;
    struct s3_delete del = {.key = f->form_key};

    f->asked = *f->obj.etag && delete_asks(w);
    del.if_match = f->asked ? f->obj.etag : NULL;
    return s3_delete(w->s3, &del, forms_on_deleted, f, &f->op->s3);
}

static void delete_form(struct forms *f)
{
    int r = forms_delete(f);

    if (r < 0)
        forms_end(f, r);
}

/* ---- what is nowhere else between the DELETE and the PUT ---- */

/* What is put aside; the metadata and the headers of the object follow. */
struct aside {
    uint64_t key; /* of the object, as a number */
    uint32_t meta_len, kept_len;
};

static uint64_t number_of(const char *key)
{
    return fnv_add(FNV_START, key, strlen(key));
}

/* (Metadata that have no room there are lost with this worker.) */
static void put_aside(struct forms *f)
{
    const struct s3_object *obj = &f->obj;
    uint8_t data[SHM_REQUEST_MAX];
    struct aside a = {.key = number_of(f->form_key),
                      .meta_len = (uint32_t)obj->meta_len,
                      .kept_len = (uint32_t)obj->kept.len};

    if (sizeof(a) + obj->meta_len + obj->kept.len > sizeof(data))
        return;
    memcpy(data, &a, sizeof(a));
    memcpy(data + sizeof(a), obj->meta, obj->meta_len);
    memcpy(data + sizeof(a) + obj->meta_len, obj->kept.text, obj->kept.len);
    (void)op_put_aside(f->op, data, sizeof(a) + obj->meta_len + obj->kept.len);
}

/* True if a worker that died has begun to delete the object; what it had is in f->obj. */
static bool take_aside(struct forms *f)
{
    struct s3_object *obj = &f->obj;
    struct aside a;
    size_t len;
    const uint8_t *data = op_aside(f->op, &len);

    if (!data || len < sizeof(a))
        return false;
    memcpy(&a, data, sizeof(a));
    if (a.key != number_of(f->form_key) || a.meta_len > sizeof(obj->meta) ||
        a.kept_len > sizeof(obj->kept.text) || sizeof(a) + a.meta_len + a.kept_len != len)
        return false;
    *obj = (struct s3_object){.meta_len = a.meta_len, .kept = {.len = a.kept_len}};
    memcpy(obj->meta, data + sizeof(a), a.meta_len);
    memcpy(obj->kept.text, data + sizeof(a) + a.meta_len, a.kept_len);
    return true;
}

/* ---- the marker ---- */

/* The marker is there. */
static void has_marker(struct forms *f)
{
    f->marker = true;
    if (f->put_last) {
        f->put_last = false;
        (void)op_put_aside(f->op, NULL, 0);
        next_form(f);
        return;
    }
    delete_form(f);
}

/* The server has no marker beside the object. */
static void delete_first(struct forms *f)
{
    f->put_last = true;
    put_aside(f);
    delete_form(f);
}

static int head_marker(struct forms *f);

static void on_form_marker_put(void *arg, const struct s3_result *res)
{
    struct forms *f = arg;
    int r = res->error;

    f->op->s3 = NULL;
    if (s3_condition_dropped(f->op->w->s3, f->asked, res, S3_HABIT_NO_PUT_MATCH)) {
        r = put_form_marker(f);
        if (r == 0)
            return;
    }
    if (r == 0 || (r == -EEXIST && f->put_last)) {
        has_marker(f);
        return;
    }
    if (r == -ENOTDIR && !f->put_last) {
        delete_first(f);
        return;
    }
    f->refused = r == -EEXIST; /* it has one by now, or the server takes the object for it */
    if (f->refused)
        r = head_marker(f);
    if (r < 0)
        forms_end(f, r);
}

static int put_form_marker(struct forms *f)
{
    struct worker *w = f->op->w;
    struct meta_out meta = {0};
    struct s3_put put;

    (void)meta_keep(&meta, &f->obj, META_KEEP_ALL);
    put = meta_marker(f->key, &meta);
    f->asked = !s3_habit_has(w->s3, S3_HABIT_NO_PUT_MATCH);
    put.if_none_match = f->asked ? "*" : NULL;
    return s3_put(w->s3, &put, on_form_marker_put, f, &f->op->s3);
}

static void on_form_marker_head(void *arg, const struct s3_result *res)
{
    struct forms *f = arg;
    int r = res->error;

    f->op->s3 = NULL;
    if (r == 0) {
        has_marker(f);
        return;
    }
    if (r == -ENOENT && f->refused) {
        delete_first(f);
        return;
    }
    if (r == -ENOENT)
        r = put_form_marker(f);
    if (r < 0)
        forms_end(f, r);
}

static int head_marker(struct forms *f)
{
    return s3_head(f->op->w->s3, f->key, on_form_marker_head, f, &f->op->s3);
}

/* ---- the form ---- */

static bool is_folder(const struct forms *f)
{
    return f->form == SHM_FOLDERS_SUFFIX ? f->obj.size == 0 : folder_is_bare(&f->obj);
}

/* A worker that died has deleted the object, and may have put the marker. */
static void put_after_all(struct forms *f)
{
    int r;

    note_form(f);
    f->put_last = true;
    r = put_form_marker(f);
    if (r < 0)
        forms_end(f, r);
}

static void on_form_head(void *arg, const struct s3_result *res)
{
    struct forms *f = arg;
    int r = res->error;
    bool gone = r == -ENOENT || r == -EISDIR;

    f->op->s3 = NULL;
    if (r == 0)
        f->obj = res->obj;
    if (gone && f->how == FOLDER_FORMS_UNIFY && take_aside(f)) {
        put_after_all(f);
        return;
    }
    if (gone || (r == 0 && !is_folder(f))) {
        next_form(f);
        return;
    }
    if (r == 0 && f->how == FOLDER_FORMS_REMOVE) {
        delete_form(f);
        return;
    }
    if (r == 0) {
        note_form(f);
        r = head_marker(f);
    }
    if (r < 0)
        forms_end(f, r);
}

static bool form_has_key(struct forms *f)
{
    size_t len = strlen(f->key) - 1;

    memcpy(f->form_key, f->key, len);
    return folder_form_key(f->form_key, len, f->form == SHM_FOLDERS_SUFFIX);
}

static void look_at_form(struct forms *f)
{
    struct worker *w = f->op->w;
    int r;

    f->refused = false;
    if (!folders_were_seen(w, f->form) || !form_has_key(f)) {
        next_form(f);
        return;
    }
    r = s3_head(w->s3, f->form_key, on_form_head, f, &f->op->s3);
    if (r < 0)
        forms_end(f, r);
}

void folder_forms(struct op *op, const char *key, uint32_t node, enum folder_forms_how how,
                  void (*then)(struct op *op, int error))
{
    struct forms *f;

    if (!folders_were_seen(op->w, SHM_FOLDERS_BARE | SHM_FOLDERS_SUFFIX)) {
        then(op, 0);
        return;
    }
    f = calloc(1, sizeof(*f));
    if (!f) {
        then(op, -ENOMEM);
        return;
    }
    f->op = op;
    f->then = then;
    f->how = how;
    f->node = node;
    f->form = SHM_FOLDERS_BARE;
    snprintf(f->key, sizeof(f->key), "%s", key);
    op_set_state(op, f, free);
    look_at_form(f);
}

/* ---- before attributes are stored ---- */

struct for_node {
    void (*then)(struct op *op, int error);
};

static void unify_attempt(struct op *op)
{
    struct worker *w = op->w;
    void (*then)(struct op * op, int error);
    char key[KEY_CAP];
    bool held = false;
    uint32_t node;
    int r = -ESTALE;

    worker_lock(w);
    node = op->rec->node != SHM_NIL ? op->rec->node : op_node(op);
    if (node != SHM_NIL)
        r = key_of_node(w, node, key);
    held = r == 0 && hold_take(op, node);
    if (held)
        op_edit(op)->node = node;
    worker_unlock(w);
    if (r == 0 && !held)
        return;
    op_stop_waiting(op);
    then = ((struct for_node *)op->state)->then;
    op_set_state(op, NULL, NULL);
    if (r < 0)
        then(op, r);
    else
        folder_forms(op, key, node, FOLDER_FORMS_UNIFY, then);
}

/* Under shm->meta. */
static bool may_have_forms(struct op *op)
{
    uint32_t node = op_node(op);

    return node != SHM_NIL && node != SHM_ROOT &&
           (shm_node_at(op->w->shm, node)->flags & SHM_NODE_DIR) &&
           folders_were_seen(op->w, SHM_FOLDERS_BARE | SHM_FOLDERS_SUFFIX);
}

void folder_forms_for_node(struct op *op, void (*then)(struct op *op, int error))
{
    struct for_node *f;
    bool may;

    worker_lock(op->w);
    may = may_have_forms(op);
    worker_unlock(op->w);
    if (!may) {
        then(op, 0);
        return;
    }
    if (op_keep(op) < 0)
        return;
    f = malloc(sizeof(*f));
    if (!f) {
        then(op, -ENOMEM);
        return;
    }
    f->then = then;
    op_set_state(op, f, free);
    op->stays = true;
    op_wait(op, unify_attempt);
    unify_attempt(op);
}
