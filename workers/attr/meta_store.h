/* Stores changed metadata of a published file or of a directory. */
#ifndef WORKERS_ATTR_META_STORE_H
#define WORKERS_ATTR_META_STORE_H

#include "s3/s3.h"
#include "workers/objmeta/xattr.h"
#include "workers/op/op.h"

/* The change. A replacement of this worker may call each function again, and must then get the same
 * result. */
struct meta_change {
    /* Under shm->meta. Sets mode, owner and times in a copy of the node, but for that of this
     * change (ctime), which meta_store sets. NULL: no change. */
    void (*set)(const struct op *op, struct shm_node *n);
    /* Not under a lock. Makes the new coded extended attributes from the old ones ("" = none). 0,
     * or the -errno with which the op ends. NULL: no change. */
    int (*edit)(struct op *op, const char *old, char new[XATTR_CODED_MAX]);
    /* Not under a lock. Makes the new Content-Type from the old one ("" = S3's default, or not
     * known). As `edit`. */
    int (*set_type)(struct op *op, char type[S3_TYPE_MAX]);
};

/* The time of the op's change of attributes, by the wall clock: that at which meta_store began it,
 * if it has. */
int64_t meta_change_time(const struct op *op);

/* Changes the metadata of the object of the op's node (of a directory: of its marker, which is
 * created if there is none) and of the node, and keeps all other metadata of the object. Then calls
 * `then` with 0, also if nothing changes, or with -errno: -ESTALE if the object is another version
 * by now, -ENOENT if a file's object is gone, -EFBIG if it is too large for one CopyObject, -ENOSPC
 * if the extended attributes do not fit, errors of `edit` and of S3. The op is kept and `stays`,
 * and its node is locked (hold_take) until hold_give_back. If the op cannot be kept, it gets an
 * error reply and `then` is not called. */
void meta_store(struct op *op, const struct meta_change *change,
                void (*then)(struct op *op, int error));

#endif
