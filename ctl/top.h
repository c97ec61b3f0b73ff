/* stateproxyctl top: what the daemon does now, refreshed until "q" or a signal. */
#ifndef CTL_TOP_H
#define CTL_TOP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "shm/shm_segment.h"

struct top_opts {
    const char *socket;
    bool batch;                 /* frames one after the other, whole lines, no control characters */
    unsigned frames;            /* 0 = without end */
    uint64_t interval_ns;       /* between two frames */
    struct shm *(*map)(int fd); /* maps the segment that came with an answer; NULL: said why */
};

/* 0 at its end; -errno with *err: no daemon replies (any more). *err is empty where `map` has said
 * why. */
must_use int top_run(const struct top_opts *opts, struct err *err);

#endif
