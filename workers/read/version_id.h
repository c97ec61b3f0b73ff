/* An open file keeps its content after its key has got another object, or none: if the bucket has
 * versioning, missing bytes are requested by version id. The id is noted whenever a reply contains
 * it. It is used only after the plain GET has shown that the key has another object, so that reads
 * cost the same as without versions and need no other permission. */
#ifndef WORKERS_READ_VERSION_ID_H
#define WORKERS_READ_VERSION_ID_H

#include "s3/s3.h"
#include "workers/op/worker.h"
#include "workers/read/fetch.h"

/* Under shm->meta. `key` has this object now: notes its version id, if `node` (or SHM_NIL) has this
 * version and is longer than the one block that comes with a LOOKUP. */
void version_id_told(struct worker *w, uint32_t node, const char *key, const struct s3_object *obj);

/* Under shm->meta. Sets src->version: the id, if the key is known to have another object by now,
 * else "". */
void version_id_choose(struct worker *w, struct fetch_source *src);

/* Not under a lock. The key has another object: true if src->version is now the id to continue
 * with. */
must_use bool version_id_go_on(struct worker *w, struct fetch_source *src);

/* Not under a lock. A GET of src->version has failed with this result; returns the error for its
 * readers. If the version is gone, or may not be read, that is remembered. */
must_use int version_id_failed(struct worker *w, const struct fetch_source *src,
                               const struct s3_result *res, int error);

#endif
