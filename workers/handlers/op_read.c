/* READ. */
#include "workers/handlers/handlers.h"
#include "workers/read/read.h"

void op_read(struct op *op)
{
    op->w->variant->identify_reader(op);
    read_begin(op, 0);
}
