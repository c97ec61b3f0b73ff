/* Functions shared by the handlers that change names. */
#ifndef WORKERS_NAMES_NAMES_H
#define WORKERS_NAMES_NAMES_H

#include "workers/op/key.h"
#include "workers/op/op.h"

/* The checks for read-only and draining (a kept op was begun before, and continues while draining),
 * for a known directory, and for a name that can be a key. 0 and `key` (without a slash at the
 * end); -EROFS, -ESHUTDOWN, -ESTALE, -ENAMETOOLONG, -EINVAL, -ENOTDIR. */
must_use int names_check(struct op *op, const char *name, size_t len, char key[KEY_CAP]);

/* Under shm->meta. A process uses an entry of the directory: a listing of it should provide
 * attributes too. */
void names_wanted(struct worker *w, uint32_t dir);

/* Under shm->meta. True if an unpublished file is below this directory: no listing of S3 shows
 * it. */
must_use bool names_local_below(struct worker *w, uint32_t dir);

#endif
