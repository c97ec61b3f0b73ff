/* Read-ahead: how a file is being read, and what to fetch next. Pure functions on the streams of a
 * handle (struct shm_stream), which are hints: a lost update costs one request too many, or a
 * smaller window.
 *
 * A handle has several streams, because threads of one program read one descriptor at different
 * places. Each is read in order, backwards, in steps of one distance, or at random. */
#ifndef WORKERS_READ_READ_PLAN_H
#define WORKERS_READ_READ_PLAN_H

#include "shm/shm_handle.h"

struct read_limits {
    uint64_t whole;  /* bytes: files up to this size are fetched whole when read from the start */
    uint32_t window; /* bytes: how far to read ahead at most */
    uint32_t part;   /* bytes: the largest GET of read-ahead; whole blocks */
    uint32_t gets;   /* how many GETs share a window that is large enough */
    uint32_t random; /* bytes: what a random read fetches, at its least; whole blocks */
};

struct read_range {
    uint64_t from, to; /* bytes; from >= to: nothing */
};

/* What a READ belongs to. */
struct read_place {
    uint32_t stream; /* number of its stream */
    bool sequential; /* it continues where earlier ones have read */
    bool steady;     /* it is one of several steps of the same distance */
};

/* A READ of [off, off + len) arrived. */
struct read_place read_plan_note(struct shm_handle *h, uint64_t off, uint32_t len);

/* True if read_plan_ahead would return a part. */
bool read_plan_wants(const struct shm_handle *h, uint32_t stream, uint64_t size,
                     const struct read_limits *lim);

/* The next part to fetch for this stream, of a file with `size` bytes. To be called until nothing
 * is left: each part is returned once. */
struct read_range read_plan_ahead(struct shm_handle *h, uint32_t stream, uint64_t size,
                                  const struct read_limits *lim);

/* What to fetch at once for a READ with missing bytes: at least [off, off + len). */
struct read_range read_plan_miss(struct shm_handle *h, struct read_place place, uint64_t off,
                                 uint32_t len, uint64_t size, const struct read_limits *lim);

#endif
