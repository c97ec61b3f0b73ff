/* A file that is open stays what it is, after its key has got another object or none: where the
 * bucket keeps versions, what is missing of it is asked for by its version id. The id is noted
 * whenever an answer tells it; it is used only when the plain GET has said that the object is
 * another, so that reads cost what they cost without versions, and need no other permission. */
#ifndef WORKERS_READ_VERSION_ID_H
#define WORKERS_READ_VERSION_ID_H

#include "s3/s3.h"
#include "workers/op/worker.h"
#include "workers/read/fetch.h"

/* Under shm->meta. `key` has this object now: its version id is noted, if `node` (or SHM_NIL) is of
 * it and what comes with a LOOKUP is not all of it. */
void version_id_told(struct worker *w, uint32_t node, const char *key, const struct s3_object *obj);

/* Under shm->meta. Sets src->version: the id, where it is known that the object is another by now,
 * else "". */
void version_id_choose(struct worker *w, struct fetch_source *src);

/* Not under a lock. The object is another: true if src->version is the id to go on with. */
must_use bool version_id_go_on(struct worker *w, struct fetch_source *src);

/* Not under a lock. A GET of src->version has failed so; returns what its readers are told. That
 * the version is gone, or may not be read, is remembered. */
must_use int version_id_failed(struct worker *w, const struct fetch_source *src,
                               const struct s3_result *res, int error);

#endif
