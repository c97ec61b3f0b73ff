/* Opening a file for writing; op_open.c calls it. */
#ifndef WORKERS_HANDLERS_OP_OPEN_WRITE_H
#define WORKERS_HANDLERS_OP_OPEN_WRITE_H

#include "workers/op/op.h"

/* Opens the op's node for writing, creates the handle and replies. */
void open_for_write(struct op *op, uint32_t node, bool truncate);

#endif
