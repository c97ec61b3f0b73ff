/* Read-ahead: sequential or random, the window, files fetched whole. Works only on the handle's
 * `seq_*` fields; no lock is needed, as a lost update costs one request too many or a smaller
 * window. */
#ifndef WORKERS_READ_READ_PLAN_H
#define WORKERS_READ_READ_PLAN_H

#include "shm/shm_handle.h"

struct read_limits {
    uint64_t whole;  /* files up to this size are fetched whole when read from the start */
    uint32_t window; /* largest window */
};

struct read_range {
    uint64_t from, to; /* bytes; from == to: nothing */
};

/* A READ of [off, off + len) arrived. True if it continues where earlier ones have read. */
bool read_plan_note(struct shm_handle *h, uint64_t off, uint32_t len);

/* What to fetch for a sequential reader that has come near the end of what was requested so far.
 * Each range is returned only once. */
struct read_range read_plan_ahead(struct shm_handle *h, uint64_t size,
                                  const struct read_limits *lim);

/* What to fetch for a READ with missing bytes: at least [off, off + len). `sequential` as returned
 * by read_plan_note. */
struct read_range read_plan_miss(struct shm_handle *h, uint64_t off, uint32_t len, bool sequential,
                                 uint64_t size, const struct read_limits *lim);

#endif
