/* How long requests took and how they ended: a histogram and a count for each outcome. Part of
 * struct shm_stats, whose writer, readers and crash rule it has. */
#ifndef SHM_SHM_TIMING_H
#define SHM_SHM_TIMING_H

#include <stddef.h>
#include <stdint.h>

#define SHM_TIMING_BOUNDS 20

/* Why a request ended, in classes that tell an operator whom to ask. */
enum shm_outcome {
    SHM_OUTCOME_OK,
    SHM_OUTCOME_ABSENT,      /* there is no such name, key or attribute */
    SHM_OUTCOME_CONFLICT,    /* it is there already, or has changed meanwhile */
    SHM_OUTCOME_DENIED,      /* permission */
    SHM_OUTCOME_FULL,        /* space, memory, descriptors, a limit of sizes */
    SHM_OUTCOME_TIMEOUT,     /* a deadline passed */
    SHM_OUTCOME_INTERRUPTED, /* the caller was killed, or its connection is gone */
    SHM_OUTCOME_REFUSED,     /* the request itself cannot be served: wrong, or not supported */
    SHM_OUTCOME_FAILED,      /* everything else: I/O, the network, the server */
    SHM_OUTCOMES
};

struct shm_timing {
    uint64_t bucket[SHM_TIMING_BOUNDS + 1]; /* not cumulative; the last: above all bounds */
    uint64_t ns;                            /* sum of all durations */
    uint64_t outcome[SHM_OUTCOMES];
};

extern const uint64_t shm_timing_bounds[SHM_TIMING_BOUNDS]; /* ns, rising; a bucket includes its */
extern const char *const shm_outcome_names[SHM_OUTCOMES];

/* The class of an error: 0, or -errno. */
enum shm_outcome shm_outcome_of(int error);

/* The class of the status of an HTTP response; 0: the client was gone before it. */
enum shm_outcome shm_outcome_of_status(int status);

/* Counts one request. Only for the writer of the counters. */
void shm_timing_add(struct shm_timing *t, uint64_t ns, enum shm_outcome outcome);

/* Adds all that is in `from` to `sum`; `from` may change meanwhile. */
void shm_timing_sum(struct shm_timing *sum, const struct shm_timing *from);

/* Number of requests in it. */
uint64_t shm_timing_count(const struct shm_timing *t);

#endif
