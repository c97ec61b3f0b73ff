/* READ. */
#include "workers/cas/cas.h"
#include "workers/handlers/handlers.h"
#include "workers/read/read.h"

void op_read(struct op *op)
{
    cas_identify_reader(op);
    read_begin(op, 0);
}
