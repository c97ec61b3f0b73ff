/* Reading a file: from its session if it is being written here, else from blocks. */
#ifndef WORKERS_READ_READ_H
#define WORKERS_READ_READ_H

#include <sys/uio.h>

#include "workers/op/op.h"
#include "workers/read/read_plan.h"

/* The arguments of a READ. */
struct read_args {
    uint64_t fh; /* the handle */
    uint64_t off;
    uint32_t size;
};

/* Looks up the file op_node(), and replies or keeps the op. Called again if things changed while
 * the op was kept; `restarts` counts that. */
void read_begin(struct op *op, const struct read_args *args, unsigned restarts);

/* Under shm->meta: true if the file is read from the spool of its session. */
bool read_is_from_session(struct worker *w, const struct shm_node *n);

struct read_what;

/* Reads the bytes before and after those of the blocks from the spool, into buffers that are valid
 * until the next READ. 0 or -errno; -EAGAIN: the file has changed, look again. */
must_use int read_edges(struct op *op, const struct read_what *what, struct iovec *ret_before,
                        struct iovec *ret_after);

/* How much to fetch, as configured, but at most a share of the block pool. */
struct read_limits read_limits(const struct worker *w);

/* Divides the window among `readers` (1 or more). `busy`: thousandths of their time in which the
 * workers do not wait: then more connections would gain nothing, and larger GETs cost less. */
void read_limits_share(struct read_limits *lim, uint32_t readers, uint32_t busy);

#endif
