/* The copy of a renamed file (last write wins). CopyObject takes along what describes the
 * content, and the tags; it does not take along the storage class, the encryption and the
 * redirect of a website, and it keeps the Content-Type that the old suffix stood for. So where
 * the object has some of these, or the suffix stands for another type now, a HEAD comes first,
 * unless a request has just told all there is.
 *
 * With RENAME_NOREPLACE it has the condition that nothing is there. A server that ignores it copies
 * over what came since the LOOKUP; one that does not know it is sent the copy without. There are no
 * write-ids: a refusal after an attempt that may have been made is looked into, and what is there
 * is ours if it has the ETag of the source and the time of this rename (is_our_copy).
 *
 * The copy gets the time of the rename as its ctime where all its metadata are known anyway, as the
 * LOOKUP before the rename has asked for them; else S3 copies them as they are. */
#include "workers/handlers/rename_copy.h"

#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
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

/* ---- RENAME_NOREPLACE ---- */

static void noreplace_end(struct op *op, int error)
{
    struct s3_result res = {.error = error};

    rename_copied(op, &res);
}

/* True if the object is what this rename has made: the copy carries the time of the rename. (The
 * ETag says nothing: all empty files have the same, and all claims of the same content; and the
 * copy of an object that was uploaded in parts has another. Without metadata it is all there
 * is.) */
static bool is_our_copy(const struct op *op, const struct copied *c, const struct s3_object *obj)
{
    if (op->w->conf->metadata != CONF_METADATA_FULL)
        return obj->size > 0 && strcmp(obj->etag, c->node.etag) == 0;
    return meta_is_of_change(obj, c->node.size, c->wall_ns);
}

/* The object at the new name, after a copy that was refused and one before it whose result is not
 * known. */
static void noreplace_on_head(void *arg, const struct s3_result *res)
{
    struct op *op = arg;
    struct copied c;
    int r = copied_of(op, &c);

    op->s3 = NULL;
    if (r == 0 && !res->error && is_our_copy(op, &c, &res->obj)) {
        rename_copied(op, res);
        return;
    }
    if (r == 0 && !res->error && res->obj.size == c.node.size) {
        log_err("outcome unknown key=\"%s\" from=\"%s\": it is not known whether this copy was "
                "made, or what is there is another's: both names stay",
                c.to, c.from);
        r = -EIO;
    }
    if (r == 0)
        r = !res->error ? -EEXIST : res->error == -ENOENT ? -ESTALE : res->error;
    noreplace_end(op, r);
}

static void noreplace_on_copied(void *arg, const struct s3_result *res)
{
    struct op *op = arg;
    char from[KEY_CAP], to[KEY_CAP];
    int r;

    op->s3 = NULL;
    if (!res->error || (res->http_status != 412 && strcmp(res->code, "PreconditionFailed") != 0)) {
        rename_copied(op, res);
        return;
    }
    if (!res->may_have_acted && op->rec->progress.rename.copies == 1) {
        noreplace_end(op, -EEXIST);
        return;
    }
    r = rename_keys_of(op, false, from, to);
    if (r == 0)
        r = s3_head(op->w->s3, to, noreplace_on_head, op, &op->s3);
    if (r < 0)
        noreplace_end(op, r);
}

static bool is_noreplace(const struct op *op)
{
    return rename_args_of(op).flags & RENAME_NOREPLACE;
}

static void note_copy_sent(struct op *op)
{
    worker_lock(op->w);
    op_progress(op)->rename.copies++;
    worker_unlock(op->w);
}

/* ---- the copy ---- */

/* `meta` NULL: all of it is copied as it is, with the headers `kept`. */
static int send_copy(struct op *op, const struct copied *c, const struct meta_out *meta,
                     const char *type, const struct s3_pairs *kept)
{
    bool absent = is_noreplace(op) && c->node.size <= op->w->conf->upload.copy_limit;
    struct s3_copy copy = {.from_key = c->from,
                           .to_key = c->to,
                           .if_source_match = *c->node.etag ? c->node.etag : NULL,
                           .if_none_match = absent ? "*" : NULL,
                           .replace_meta = meta != NULL,
                           .content_type = type,
                           .kept = kept};

    if (meta) {
        copy.meta = meta->pair;
        copy.n_meta = meta->n;
    }
    if (absent)
        note_copy_sent(op);
    return copy_object(op->w, &copy, c->node.size, absent ? noreplace_on_copied : rename_copied, op,
                       &op->s3);
}

static int copy_of_object(struct op *op, const struct copied *c, const struct s3_object *obj)
{
    struct meta_out meta = {0};

    meta_write_ctime(&meta, c->wall_ns);
    if (meta_keep(&meta, obj, META_KEEP_ALL) > obj->kept_lost)
        return send_copy(op, c, NULL, NULL, &obj->kept); /* no room for another pair */
    return send_copy(op, c, &meta, obj->own_type ? obj->content_type : NULL, &meta.kept);
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
        r = copy_of_object(op, &c, &res->obj);
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
    return send_copy(op, c, &meta, NULL, NULL);
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
        return send_copy(op, &c, NULL, NULL, NULL);
    if (shm_node_is_plain(&c.node) &&
        validity_holds(c.node.checked_ns, VALIDITY_NEXT_NS, clock_mono_ns()))
        return copy_of_node(op, &c);
    /* (RENAME_NOREPLACE knows its copy by the time of the rename.) */
    if (!is_noreplace(op) && c.same_type &&
        (flags & (SHM_NODE_META | SHM_NODE_MORE)) == SHM_NODE_META)
        return send_copy(op, &c, NULL, NULL, NULL);
    return s3_head(op->w->s3, c.from, rename_copy_on_head, op, &op->s3);
}
