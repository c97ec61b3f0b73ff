/* See variant_last.h. Most of it does nothing: there are no baselines. */
#include "workers/variant/variant_last.h"

#include <string.h>

void last_identify_reader(struct op *op, uint64_t fh)
{
    (void)op, (void)fh;
}

void last_has_seen(struct worker *w, const char *key, const struct s3_object *obj)
{
    (void)w, (void)key, (void)obj;
}

void last_has_read(struct op *op, uint32_t node, const char *etag)
{
    (void)op, (void)node, (void)etag;
}

void last_has_read_key(struct op *op, const char *key, const char *etag)
{
    (void)op, (void)key, (void)etag;
}

void last_has_removed_key(struct op *op, const char *key)
{
    (void)op, (void)key;
}

bool last_may_replace(struct op *op, const char *key, const char *etag)
{
    (void)op, (void)key, (void)etag;
    return true;
}

void last_was_copied_key(struct worker *w, const char *key, const char from[SHM_ETAG_MAX],
                         const char to[SHM_ETAG_MAX])
{
    (void)w, (void)key, (void)from, (void)to;
}

void last_unlink_target(struct op *op, uint32_t node, const char *key, struct delete_target *ret)
{
    (void)key;
    *ret = (struct delete_target){0};
    if (node != SHM_NIL)
        memcpy(ret->etag, shm_node_at(op->w->shm, node)->etag, SHM_ETAG_MAX);
}
