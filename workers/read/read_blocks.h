/* Reading what lies in blocks, or has to be fetched into them. */
#ifndef WORKERS_READ_READ_BLOCKS_H
#define WORKERS_READ_READ_BLOCKS_H

#include "workers/op/op.h"
#include "workers/read/read_plan.h"

#define READ_RESTARTS_MAX 50

/* What a READ wants, by what the segment said of the file when it was looked at. */
struct read_what {
    uint32_t node;
    uint32_t bytes_node, content; /* what its blocks are known by */
    uint64_t size;
    uint64_t off;
    uint32_t len; /* cut at the end of the file */
    bool sequential;
};

struct read_args;

/* Answers the op, at once or when the blocks have come. `restarts`: how often it was looked at
 * again, for the same `args`. */
void read_blocks(struct op *op, const struct read_args *args, const struct read_what *what,
                 unsigned restarts);

#endif
