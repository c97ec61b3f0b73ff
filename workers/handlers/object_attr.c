/* What S3 knows of an object, as extended attributes. */
#include "workers/handlers/object_attr.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/xattr.h>

#include "s3/s3_presign.h"
#include "workers/attr/meta_ask.h"
#include "workers/handlers/fuse_op.h"
#include "workers/objmeta/meta.h"
#include "workers/objmeta/xattr.h"
#include "workers/op/key.h"
#include "workers/op/spool.h"

#define VIRTUAL_PREFIX XATTR_PREFIX "asya."
#define TYPE_NAME VIRTUAL_PREFIX "content_type"

bool object_attr_is(const char *name)
{
    return strncmp(name, VIRTUAL_PREFIX, strlen(VIRTUAL_PREFIX)) == 0;
}

/* ---- reading ---- */

static bool asks_s3(const char *name)
{
    return strcmp(name, "content_type") == 0 || strcmp(name, "version") == 0 ||
           strcmp(name, "storage_class") == 0;
}

static void then_virtual(struct op *op, int error, const struct s3_object *obj)
{
    const char *name = fuse_req(op)->name + strlen(VIRTUAL_PREFIX), *value;

    if (error == -ENOENT)
        error = -ENODATA;
    if (error) {
        op_fail(op, error);
        return;
    }
    value = meta_attribute(name, obj);
    fuse_op_answer_xattr(op, value, strlen(value));
}

static int key_of_object(struct op *op, char key[KEY_CAP])
{
    uint32_t node;
    int r = -ESTALE;

    worker_lock(op->w);
    node = op_node(op);
    if (node != SHM_NIL)
        r = key_of_node(op->w, node, key);
    worker_unlock(op->w);
    return r;
}

static void get_url(struct op *op)
{
    char key[KEY_CAP], url[KEY_URL_MAX];
    int r = key_of_object(op, key);

    if (r < 0) {
        op_fail(op, r);
        return;
    }
    key_url(op->w, key, url);
    fuse_op_answer_xattr(op, url, strlen(url));
}

static void get_presigned(struct op *op)
{
    struct worker *w = op->w;
    char key[KEY_CAP];
    struct buf url;
    int r = key_of_object(op, key);

    buf_init(&url, S3_PRESIGN_URL_MAX);
    if (r == 0)
        r = s3_presign(w->s3, key, w->conf->connector.presign_ttl, &url);
    if (r == 0)
        fuse_op_answer_xattr(op, url.data, url.len);
    else
        op_fail(op, r == -ENOKEY || r == -EAGAIN ? -EACCES : r);
    buf_done(&url);
}

static void get_etag(struct op *op)
{
    char etag[SHM_ETAG_MAX] = "";
    uint32_t node;

    worker_lock(op->w);
    node = op_node(op);
    if (node != SHM_NIL)
        memcpy(etag, shm_node_at(op->w->shm, node)->etag, sizeof(etag));
    worker_unlock(op->w);
    if (*etag)
        fuse_op_answer_xattr(op, etag, strlen(etag));
    else
        op_fail(op, node == SHM_NIL ? -ESTALE : -ENODATA);
}

void object_attr_get(struct op *op)
{
    const char *name = fuse_req(op)->name + strlen(VIRTUAL_PREFIX);

    if (strcmp(name, "url") == 0)
        get_url(op);
    else if (strcmp(name, "presigned_url") == 0)
        get_presigned(op);
    else if (strcmp(name, "etag") == 0)
        get_etag(op);
    else if (asks_s3(name))
        meta_ask(op, then_virtual);
    else
        op_fail(op, -ENODATA);
}

/* ---- setting ---- */

bool object_attr_sets_type(const struct op *op)
{
    return fuse_req(op)->opcode == FUSE_SETXATTR && strcmp(fuse_req(op)->name, TYPE_NAME) == 0;
}

int object_attr_check(const struct op *op)
{
    if (!object_attr_sets_type(op))
        return -EPERM;
    if (fuse_req(op)->setxattr->flags & XATTR_CREATE) /* there always is one */
        return -EEXIST;
    if (!op_is_current(op)) /* a replay: the value was checked, and is parked */
        return 0;
    return meta_is_type((const char *)fuse_req(op)->data, fuse_req(op)->data_len) ? 0 : -EINVAL;
}

int object_attr_type(struct op *op, char type[S3_TYPE_MAX])
{
    uint32_t len = op->rec->parked_len;
    int r = len && len < S3_TYPE_MAX ? spool_unpark(op->w, op->rec_idx, 0, type, len) : -EINVAL;

    if (r == 0)
        type[len] = '\0';
    return r;
}
