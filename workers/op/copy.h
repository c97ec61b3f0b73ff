/* Copies of objects on the server, of any size. */
#ifndef WORKERS_OP_COPY_H
#define WORKERS_OP_COPY_H

#include "s3/s3.h"
#include "workers/op/worker.h"

/* As s3_copy(), for an object of `size` bytes: above upload.copy_limit it is copied in parts, eight
 * at the same time, all pinned to one version of the source; and then *ret_req is NULL: it cannot
 * be cancelled. Such a copy that fails is aborted; if this process dies, what it has copied stays
 * on S3 until a lifecycle rule removes it. 0 or -errno, as s3_copy(); `done` as well. */
must_use int copy_object(struct worker *w, const struct s3_copy *copy, uint64_t size,
                         s3_done_fn *done, void *arg, struct s3_req **ret_req);

#endif
