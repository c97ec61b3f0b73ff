/* What the handlers that change names share. */
#ifndef WORKERS_NAMES_NAMES_H
#define WORKERS_NAMES_NAMES_H

#include "workers/op/key.h"
#include "workers/op/op.h"

/* The read-only and draining checks (what was begun goes on while draining: a kept op), and that
 * the directory is known and the name can be a key.
 * 0 and `key` (without a slash at the end); -EROFS, -ESHUTDOWN, -ESTALE, -ENAMETOOLONG, -EINVAL. */
must_use int names_check(struct op *op, const char *name, size_t len, char key[KEY_CAP]);

/* Under shm->meta. Somebody asks about an entry of the directory: who lists it will want attributes
 * too. */
void names_wanted(struct worker *w, uint32_t dir);

/* Under shm->meta. True if an unpublished file lies below this directory: no listing of S3 shows
 * it. */
must_use bool names_local_below(struct worker *w, uint32_t dir);

#endif
