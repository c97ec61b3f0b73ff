/* READ. */
#include "workers/handlers/fuse_op.h"
#include "workers/handlers/handlers.h"
#include "workers/read/read.h"

void op_read(struct op *op)
{
    const struct fuse_read_in *in = fuse_req(op)->read;
    struct read_args args = {.fh = in->fh, .off = in->offset, .size = in->size};

    op->w->variant->identify_reader(op, args.fh);
    read_begin(op, &args, 0);
}
