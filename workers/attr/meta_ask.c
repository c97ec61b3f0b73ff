/* One HEAD for metadata. Its callers: GETATTR of a node known only from a listing (op_attr.c),
 * extended attributes (op_xattr.c). A change of metadata sends its own HEAD (meta_store.c).
 *
 * A directory without a marker may be kept in another form (workers/objmeta/folder.h): then its
 * metadata are those of that object. One HEAD more for each form that was seen on this mount, and
 * one for the marker, to which the metadata may have gone meanwhile (handlers/folder_forms.h). */
#include "workers/attr/meta_ask.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "s3/s3_error.h"
#include "workers/objmeta/folder.h"
#include "workers/objmeta/meta.h"
#include "workers/op/folders.h"
#include "workers/op/hold.h"
#include "workers/op/key.h"

struct ask {
    struct op *op;
    meta_asked_fn *then;
    bool dir;       /* below the mount's root */
    bool formed;    /* a form was asked for */
    bool again;     /* the marker is asked for a second time */
    unsigned form;  /* that is asked for: enum shm_folders; 0 = the file, or the marker */
    size_t dir_len; /* length of the directory's key, without its slash */
    char key[KEY_CAP + FOLDER_SUFFIX_LEN];
};

bool meta_is_unknown(const struct worker *w, const struct shm_node *n)
{
    return w->conf->metadata == CONF_METADATA_FULL && n->parent != SHM_NIL &&
           !(n->flags & (SHM_NODE_META | SHM_NODE_LOCAL));
}

/* Under shm->meta. The object has another type: gives the name a new node for it. */
static void become_typed(struct worker *w, uint32_t node, const struct s3_object *obj)
{
    const struct shm_node *n = shm_node_at(w->shm, node);
    struct shm_version v = {.size = obj->size,
                            .mtime_ns = n->mtime_ns,
                            .etag = obj->etag,
                            .mode = SHM_MODE_UNSET,
                            .uid = SHM_MODE_UNSET,
                            .gid = SHM_MODE_UNSET};

    (void)!meta_read(obj, &v);
    if (!(n->flags & SHM_NODE_CURRENT) ||
        shm_node_intern(w->shm, n->parent, shm_node_name(w->shm, node), n->name_len, &v,
                        clock_mono_ns()) < 0)
        shm_node_detach(w->shm, node);
}

int meta_learn(struct worker *w, uint32_t node, const struct s3_object *obj)
{
    const struct shm_node *n = shm_node_at(w->shm, node);
    uint32_t parent = n->parent;
    int r = 0;

    if (!(n->flags & SHM_NODE_DIR) && (!obj || !shm_etag_same(n->etag, obj->etag)))
        return obj ? -ESTALE : -ENOENT;
    if (obj && !(n->flags & SHM_NODE_DIR) && folder_is_bare(obj)) {
        folders_seen(w, SHM_FOLDERS_BARE);
        shm_node_detach(w->shm, node);
        if (parent != SHM_NIL)
            shm_node_list_stale(w->shm, parent);
        return -ESTALE;
    }
    if (!(n->flags & SHM_NODE_META))
        r = meta_fill(shm_node_edit(w->shm, node), obj);
    if (r == -ESTALE) {
        /* The kernel must look the name up again, whatever a listing showed. */
        become_typed(w, node, obj);
        if (parent != SHM_NIL)
            shm_node_list_stale(w->shm, parent);
    } else if (obj && obj->size && (n->flags & SHM_NODE_DIR)) {
        shm_node_edit(w->shm, node)->flags |= SHM_NODE_MORE; /* a marker with content */
    }
    return r < 0 ? r : obj ? 0 : -ENOENT;
}

static void meta_ask_end(struct ask *ask, int error, const struct s3_object *obj)
{
    struct op *op = ask->op;
    meta_asked_fn *then = ask->then;

    op_set_state(op, NULL, NULL);
    free(ask);
    then(op, error, obj);
}

/* ---- folders in other forms ---- */

/* Puts the key of the form into ask->key. False: there is no such form of this directory. */
static bool form_key(struct ask *ask, enum shm_folders form)
{
    struct worker *w = ask->op->w;

    return folders_were_seen(w, form) && w->conf->metadata == CONF_METADATA_FULL &&
           folder_form_key(ask->key, ask->dir_len, form == SHM_FOLDERS_SUFFIX);
}

/* True if there is something to ask for after what is not there. */
static bool next_form(struct ask *ask)
{
    if (!ask->dir || ask->again)
        return false;
    if (ask->form == SHM_FOLDERS_SUFFIX) {
        ask->form = 0;
        ask->again = true;
        memcpy(ask->key + ask->dir_len, "/", 2);
        return ask->formed;
    }
    ask->form = ask->form ? SHM_FOLDERS_SUFFIX : SHM_FOLDERS_BARE;
    if (!form_key(ask, ask->form))
        return next_form(ask);
    ask->formed = true;
    return true;
}

/* True if the object is what was asked for. */
static bool is_asked_for(const struct ask *ask, const struct s3_object *obj)
{
    switch (ask->form) {
    case SHM_FOLDERS_BARE:
        return folder_is_bare(obj);
    case SHM_FOLDERS_SUFFIX:
        return obj->size == 0;
    default:
        return true;
    }
}

/* ---- HEAD ---- */

static void meta_ask_on_head(void *arg, const struct s3_result *res);

static int meta_ask_head(struct ask *ask)
{
    return s3_head(ask->op->w->s3, ask->key, meta_ask_on_head, ask, &ask->op->s3);
}

/* Under shm->meta. Several requests that found nothing tell nothing if somebody is putting the
 * marker between them, who will tell. */
static bool is_being_told(const struct ask *ask, uint32_t node)
{
    return ask->dir && hold_is_taken(ask->op->w, node, 0);
}

/* `obj` NULL: nothing is there. */
static void meta_asked(struct ask *ask, const struct s3_object *obj)
{
    struct worker *w = ask->op->w;
    uint32_t node;
    int error;

    worker_lock(w);
    node = op_node(ask->op);
    if (obj && !ask->form)
        w->variant->has_seen(w, ask->key, obj);
    if (node == SHM_NIL)
        error = -ESTALE;
    else if (!obj && is_being_told(ask, node))
        error = -ENOENT;
    else
        error = meta_learn(w, node, obj);
    worker_unlock(w);
    meta_ask_end(ask, error, obj);
}

static void meta_ask_on_head(void *arg, const struct s3_result *res)
{
    struct ask *ask = arg;
    bool none = res->error == -ENOENT || (ask->form && res->error == -EISDIR);
    int r = 0;

    ask->op->s3 = NULL;
    if (res->error && !none)
        r = res->error;
    else if (!none && is_asked_for(ask, &res->obj))
        meta_asked(ask, &res->obj);
    else if (next_form(ask))
        r = meta_ask_head(ask);
    else
        meta_asked(ask, NULL);
    if (r < 0)
        meta_ask_end(ask, r, NULL);
}

void meta_ask(struct op *op, meta_asked_fn *then)
{
    struct worker *w = op->w;
    struct ask *ask;
    uint32_t node;
    int r = -ESTALE;

    if (op_keep(op) < 0)
        return;
    ask = calloc(1, sizeof(*ask));
    if (!ask) {
        then(op, -ENOMEM, NULL);
        return;
    }
    *ask = (struct ask){.op = op, .then = then};
    op_set_state(op, ask, free);
    worker_lock(w);
    node = op_node(op);
    if (node != SHM_NIL) {
        r = key_of_node(w, node, ask->key);
        ask->dir = (shm_node_at(w->shm, node)->flags & SHM_NODE_DIR) && node != SHM_ROOT;
    }
    worker_unlock(w);
    if (r == 0 && ask->dir)
        ask->dir_len = strlen(ask->key) - 1;
    if (r == 0)
        r = meta_ask_head(ask);
    if (r < 0)
        meta_ask_end(ask, r, NULL);
}
