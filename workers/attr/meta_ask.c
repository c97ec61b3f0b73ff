/* One HEAD for metadata. Its callers: GETATTR of a node known only from a listing (op_attr.c),
 * extended attributes (op_xattr.c). A change of metadata sends its own HEAD (meta_store.c). */
#include "workers/attr/meta_ask.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "s3/s3_error.h"
#include "workers/objmeta/folder.h"
#include "workers/objmeta/meta.h"
#include "workers/op/folders.h"
#include "workers/op/key.h"

struct ask {
    struct op *op;
    meta_asked_fn *then;
    char key[KEY_CAP];
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

static void meta_ask_on_head(void *arg, const struct s3_result *res)
{
    struct ask *ask = arg;
    struct worker *w = ask->op->w;
    const struct s3_object *obj = res->error ? NULL : &res->obj;
    int error = res->error;
    uint32_t node;

    ask->op->s3 = NULL;
    if (error && error != -ENOENT) {
        meta_ask_end(ask, error, NULL);
        return;
    }
    worker_lock(w);
    node = op_node(ask->op);
    if (obj)
        w->variant->has_seen(w, ask->key, obj);
    error = node == SHM_NIL ? -ESTALE : meta_learn(w, node, obj);
    worker_unlock(w);
    meta_ask_end(ask, error, obj);
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
    if (node != SHM_NIL)
        r = key_of_node(w, node, ask->key);
    worker_unlock(w);
    if (r == 0)
        r = s3_head(w->s3, ask->key, meta_ask_on_head, ask, &op->s3);
    if (r < 0)
        meta_ask_end(ask, r, NULL);
}
