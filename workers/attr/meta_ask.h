/* Asks S3 for the metadata of a file or directory that is known only from a listing. */
#ifndef WORKERS_ATTR_META_ASK_H
#define WORKERS_ATTR_META_ASK_H

#include <limits.h>

#include "workers/op/op.h"

/* Under shm->meta. True if this node's metadata have not been read, there may be some, and they are
 * needed. Never for the mount's root: that is as configured. */
bool meta_is_unknown(const struct worker *w, const struct shm_node *n);

/* Under shm->meta. True if the node may turn out to be a symbolic link, or (an empty one) a
 * folder, FIFO, socket or device, which an open must know. */
static inline bool meta_may_be_typed(const struct worker *w, const struct shm_node *n)
{
    return meta_is_unknown(w, n) && !(n->flags & SHM_NODE_DIR) && n->size < PATH_MAX;
}

/* `obj` is valid during the call; NULL if there was no reply, or no object. Continues a handler;
 * the op has not got its reply. */
typedef void meta_asked_fn(struct op *op, int error, const struct s3_object *obj);

/* Sends a HEAD for the object of the op's node (for a directory: for its marker, or for what is the
 * folder in another form) and updates the node from the reply. Then calls `then`, perhaps before
 * this returns, with 0; -ENOENT: nothing is there (a directory without such an object: its metadata
 * are known then, unless an op has locked it, which may be putting one); -ESTALE: it is another
 * version, or it has another type than the node, a link for instance (the name has been given to
 * another node or detached, so that the kernel looks it up again); -ENAMETOOLONG, -ENOMEM, what S3
 * returned. Keeps the op and uses op->state; if the op cannot be kept, it gets an error reply and
 * `then` is not called. */
void meta_ask(struct op *op, meta_asked_fn *then);

/* Under shm->meta: updates the node from the reply to a HEAD; the result is as above. `obj` NULL:
 * nothing is there. */
must_use int meta_learn(struct worker *w, uint32_t node, const struct s3_object *obj);

#endif
