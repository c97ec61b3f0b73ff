/* Mode, owner and time as other programs keep them in an object's user metadata. */
#ifndef WORKERS_META_H
#define WORKERS_META_H

#include "s3/s3.h"
#include "shm/shm_node.h"

/* Sets in *v what the metadata tell and can be understood (mode, uid, gid, mtime); the rest
 * stays. True: mtime was there. */
bool meta_read(const struct s3_object *obj, struct shm_version *v);

#endif
