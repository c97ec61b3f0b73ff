/* The rows that shm_segment.c walks; only for files of shm/. */
#ifndef SHM_SHM_LAYOUT_H
#define SHM_SHM_LAYOUT_H

#include "shm/shm_segment.h"

struct shm_layout_row {
    const char *name;
    size_t (*size)(const struct shm_sizes *sizes);
    void (*init)(struct shm *shm);                  /* NULL: zeroes are valid */
    int (*check)(struct shm *shm, struct err *err); /* NULL: nothing to check */
};

extern const struct shm_layout_row shm_layout[SHM_TABLES];

/* 0, or -EINVAL with *err: no segment has these sizes. */
must_use int shm_check_sizes(const struct shm_sizes *sizes, struct err *err);

/* Sets where the tables of these sizes are. Returns the size of the segment. */
uint64_t shm_place_tables(struct shm_header *h);

#endif
