/* Storing changed metadata of a published file or of a directory. */
#ifndef WORKERS_ATTR_META_STORE_H
#define WORKERS_ATTR_META_STORE_H

#include "workers/objmeta/xattr.h"
#include "workers/op/op.h"

/* The change. Each may be called again by a replacement of this worker, and must then come to the
 * same. */
struct meta_change {
    /* Under shm->meta. Sets mode, owner and time in a copy of the node. NULL: they stay. */
    void (*set)(const struct op *op, struct shm_node *n);
    /* Not under a lock. From the coded extended attributes ("" = none) to the new ones. 0 or the
     * -errno with which the op is to end. NULL: they stay. */
    int (*edit)(struct op *op, const char *old, char new[XATTR_CODED_MAX]);
};

/* Changes the metadata of the object of the op's node (of a directory: its marker, which is made
 * if there is none), keeping whatever else is there, and the node with it. Then calls `then` with
 * 0, also where nothing changes, or -errno: -ESTALE if the object is of another version by now,
 * -ENOSPC if extended attributes do not fit, what `edit` and S3 say. The op is kept, `stays`, and
 * its node held (hold_take) until hold_give_back. */
void meta_store(struct op *op, const struct meta_change *change,
                void (*then)(struct op *op, int error));

#endif
