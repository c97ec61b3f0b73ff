/* Asking for the metadata of a file or directory of which only a listing has told. */
#ifndef WORKERS_ATTR_META_ASK_H
#define WORKERS_ATTR_META_ASK_H

#include <limits.h>

#include "workers/op/op.h"

/* Under shm->meta. Nobody has told this node's metadata, there may be some, and they are wanted. Of
 * the mount's root they never are: it is as configured. */
bool meta_is_unknown(const struct worker *w, const struct shm_node *n);

/* Under shm->meta. It may turn out to be a symbolic link, which an open must know. */
static inline bool meta_may_be_link(const struct worker *w, const struct shm_node *n)
{
    return meta_is_unknown(w, n) && !(n->flags & SHM_NODE_DIR) && n->size > 0 && n->size < PATH_MAX;
}

/* `obj` is valid during the call, NULL where no answer came. Continues a handler; the op has not
 * been answered. */
typedef void meta_asked_fn(struct op *op, int error, const struct s3_object *obj);

/* HEAD of the object (of a directory: of its marker) of the op's node, which is brought up to date
 * with what it says. Then calls `then`, perhaps at once: 0; -ENOENT: nothing is there (a directory
 * without a marker: its metadata are known then); -ESTALE: it is of another version, or a link
 * and the node is not (or the other way round: the name has been detached, the kernel looks up
 * again); -ENAMETOOLONG, -ENOMEM, what S3 says. Keeps the op, uses op->state. */
void meta_ask(struct op *op, meta_asked_fn *then);

/* Under shm->meta, with the answer of a HEAD: as above. `obj` NULL: nothing is there. */
must_use int meta_learn(struct worker *w, uint32_t node, const struct s3_object *obj);

#endif
