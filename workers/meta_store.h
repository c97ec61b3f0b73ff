/* Storing changed attributes of a published file: the object is copied onto itself with other
 * metadata. */
#ifndef WORKERS_META_STORE_H
#define WORKERS_META_STORE_H

#include "workers/op.h"

/* Stores mode, owner and time as `changed` has them (a copy of the op's node with its new values)
 * in the metadata of the object, keeping whatever else is there. Then calls `then` with 0 or
 * -errno: -ESTALE if the object is of another version by now. The op is kept, `stays`, and its node
 * held (names_hold) until names_give_back. */
void meta_store(struct op *op, const struct shm_node *changed,
                void (*then)(struct op *op, int error));

#endif
