/* Requests of the kernel as ops: decoding, and sending the reply. */
#ifndef WORKERS_HANDLERS_FUSE_OP_H
#define WORKERS_HANDLERS_FUSE_OP_H

#include "base/container.h"
#include "fuse/fuse_decode.h"
#include "workers/op/op.h"

struct fuse_op {
    struct op op;
    struct fuse_request req; /* points into the read area, or into rec->request */
};

/* The decoded request of an op that came from the kernel. */
static inline const struct fuse_request *fuse_req(const struct op *op)
{
    return &container_of(op, const struct fuse_op, op)->req;
}

/* An op for this record of our own arena, decoded. NULL: the request was malformed, and is already
 * replied to. */
struct op *fuse_op_begin(struct worker *w, uint32_t rec_idx);

/* The reply to GETXATTR and LISTXATTR: only the size if the request offers no buffer; ERANGE if its
 * buffer is too small. */
void fuse_op_answer_xattr(struct op *op, const void *data, size_t len);

/* Allocates the worker's ops, one for each record and one for `current`: w->ops, w->free_ops,
 * w->free_records. 0 or -ENOMEM. */
must_use int fuse_op_alloc(struct worker *w);
void fuse_op_free(struct worker *w);

#endif
