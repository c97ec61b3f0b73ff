/* What s3-buffered-lww and s3-passthrough have in common as members of struct variant
 * (workers/op/variant.h): the last writer wins, so no version that a process has seen, read,
 * copied or deleted decides about its next write. */
#ifndef WORKERS_VARIANT_VARIANT_LAST_H
#define WORKERS_VARIANT_VARIANT_LAST_H

#include "workers/op/op.h"
#include "workers/op/variant.h"

void last_identify_reader(struct op *op, uint64_t fh);
void last_has_seen(struct worker *w, const char *key, const struct s3_object *obj);
void last_has_read(struct op *op, uint32_t node, const char *etag);
void last_has_read_key(struct op *op, const char *key, const char *etag);
void last_has_removed_key(struct op *op, const char *key);

/* True: whichever version is there. */
bool last_may_replace(struct op *op, const char *key, const char *etag);

void last_was_copied_key(struct worker *w, const char *key, const char from[SHM_ETAG_MAX],
                         const char to[SHM_ETAG_MAX]);

/* Under shm->meta. The version that the preceding LOOKUP found, none without `node`. What happens
 * if S3 has another one: workers/write/delete.h. */
void last_unlink_target(struct op *op, uint32_t node, const char *key, struct delete_target *ret);

#endif
