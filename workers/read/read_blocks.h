/* Reading from blocks, and fetching what is missing. */
#ifndef WORKERS_READ_READ_BLOCKS_H
#define WORKERS_READ_READ_BLOCKS_H

#include "workers/op/op.h"
#include "workers/read/read_plan.h"

#define READ_RESTARTS_MAX 50

/* What a READ needs, according to what the segment knew about the file at that time. */
struct read_what {
    uint32_t node;
    uint32_t bytes_node, content; /* the key of its blocks */
    uint64_t size;
    uint64_t off;
    uint32_t len; /* limited by the end of the file */
    struct read_place place;
    /* of a file that is changed in place (shm_patch.h): bytes before and after those, which are in
     * the spool of this session */
    uint32_t before, after;
    uint32_t session, generation, cuts;
};

struct read_args;

/* Replies to the op, immediately or when the blocks have arrived. `restarts`: how often the file
 * was looked up again for the same `args`. */
void read_blocks(struct op *op, const struct read_args *args, const struct read_what *what,
                 unsigned restarts);

#endif
