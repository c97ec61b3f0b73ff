/* The copy of a renamed file (last write wins). CopyObject takes along what describes the
 * content, and the tags; it does not take along the storage class, the encryption and the
 * redirect of a website, and it keeps the Content-Type that the old suffix stood for. So where
 * the object has some of these, or the suffix stands for another type now, a HEAD comes first,
 * unless a request has just told all there is.
 *
 * The copy gets the time of the rename as its ctime where all its metadata are known anyway, as the
 * LOOKUP before the rename has asked for them; else S3 copies them as they are. */
#include "workers/handlers/rename_copy.h"

#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "s3/s3_error.h"
#include "shm/shm_node.h"
#include "workers/handlers/rename.h"
#include "workers/objmeta/meta.h"
#include "workers/op/copy.h"
#include "workers/op/validity.h"

/* What is copied, from what to what. */
struct copied {
    char from[KEY_CAP], to[KEY_CAP];
    struct shm_node node;
    int64_t wall_ns; /* when the rename began */
    bool same_type;  /* both suffixes stand for the same one */
};

static int copied_of(struct op *op, struct copied *c)
{
    struct worker *w = op->w;
    int r = rename_keys_of(op, false, c->from, c->to);

    if (r < 0)
        return r;
    worker_lock(w);
    c->node = *shm_node_at(w->shm, op->rec->node);
    worker_unlock(w);
    c->wall_ns = op->rec->progress.rename.wall_ns;
    c->same_type = strcmp(s3_usual_type(w->s3, c->from), s3_usual_type(w->s3, c->to)) == 0;
    return 0;
}

/* `meta` NULL: all of it is copied as it is, with the headers `kept`. */
static int send_copy(struct op *op, const struct copied *c, const struct meta_out *meta,
                     const char *type, const struct s3_pairs *kept, s3_done_fn *done)
{
    struct s3_copy copy = {.from_key = c->from,
                           .to_key = c->to,
                           .if_source_match = *c->node.etag ? c->node.etag : NULL,
                           .replace_meta = meta != NULL,
                           .content_type = type,
                           .kept = kept};

    if (meta) {
        copy.meta = meta->pair;
        copy.n_meta = meta->n;
    }
    return copy_object(op->w, &copy, c->node.size, done, op, &op->s3);
}

static int copy_of_object(struct op *op, const struct copied *c, const struct s3_object *obj,
                          s3_done_fn *done)
{
    struct meta_out meta = {0};

    meta_write_ctime(&meta, c->wall_ns);
    if (meta_keep(&meta, obj, META_KEEP_ALL) > obj->kept_lost)
        return send_copy(op, c, NULL, NULL, &obj->kept, done); /* no room for another pair */
    return send_copy(op, c, &meta, obj->own_type ? obj->content_type : NULL, &meta.kept, done);
}

static void rename_copy_on_head(void *arg, const struct s3_result *res)
{
    struct op *op = arg;
    struct copied c;
    struct s3_result failed = *res;
    int r;

    op->s3 = NULL;
    if (res->error) {
        rename_copied(op, res);
        return;
    }
    r = copied_of(op, &c);
    if (r == 0 && *c.node.etag && strcmp(c.node.etag, res->obj.etag) != 0)
        r = -ESTALE;
    if (r == 0)
        r = copy_of_object(op, &c, &res->obj, rename_copied);
    if (r < 0) {
        failed.error = r;
        rename_copied(op, &failed);
    }
}

/* The metadata are those that the node has, and no others. */
static int copy_of_node(struct op *op, const struct copied *c)
{
    struct meta_out meta;
    struct shm_node n = c->node;

    n.ctime_ns = c->wall_ns;
    meta_write(&meta, &n);
    return send_copy(op, c, &meta, NULL, NULL, rename_copied);
}

int rename_copy(struct op *op)
{
    struct copied c;
    int r = copied_of(op, &c);
    uint16_t flags;

    if (r < 0)
        return r;
    flags = c.node.flags;
    if (op->w->conf->metadata != CONF_METADATA_FULL)
        return send_copy(op, &c, NULL, NULL, NULL, rename_copied);
    if (shm_node_is_plain(&c.node) &&
        validity_holds(c.node.checked_ns, VALIDITY_NEXT_NS, clock_mono_ns()))
        return copy_of_node(op, &c);
    if (c.same_type && (flags & (SHM_NODE_META | SHM_NODE_MORE)) == SHM_NODE_META)
        return send_copy(op, &c, NULL, NULL, NULL, rename_copied);
    return s3_head(op->w->s3, c.from, rename_copy_on_head, op, &op->s3);
}
