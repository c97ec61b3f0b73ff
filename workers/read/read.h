/* Reading a file: from its session where it is written here, else from blocks. */
#ifndef WORKERS_READ_READ_H
#define WORKERS_READ_READ_H

#include "workers/op/op.h"
#include "workers/read/read_plan.h"

/* What is asked for. */
struct read_args {
    uint64_t fh; /* the handle */
    uint64_t off;
    uint32_t size;
};

/* Looks at the file op_node(), and answers or keeps the op. Called again when things changed under
 * a kept one. */
void read_begin(struct op *op, const struct read_args *args, unsigned restarts);

/* Under shm->meta: the file is read from its session's spool. */
bool read_is_from_session(struct worker *w, const struct shm_node *n);

/* How much of a file is fetched whole, and how far ahead of a reader: the configuration, within a
 * quarter of the block pool. */
struct read_limits read_limits(const struct worker *w);

#endif
