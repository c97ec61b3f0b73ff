/* How far ahead of a reader to fetch: sequential or random, the window, files fetched whole.
 * Works on the handle's `seq_*` fields only; no lock is needed, a lost update costs a request
 * too many or a smaller window. */
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

/* A READ of [off, off + len) came. True if it goes on where others have read. */
bool read_plan_note(struct shm_handle *h, uint64_t off, uint32_t len);

/* What to fetch behind a sequential reader who has come near the end of what was asked for.
 * Taken: it is not given out again. */
struct read_range read_plan_ahead(struct shm_handle *h, uint64_t size,
                                  const struct read_limits *lim);

/* What to fetch for a READ that found bytes missing: at least [off, off + len). `sequential` as
 * read_plan_note said. */
struct read_range read_plan_miss(struct shm_handle *h, uint64_t off, uint32_t len, bool sequential,
                                 uint64_t size, const struct read_limits *lim);

#endif
