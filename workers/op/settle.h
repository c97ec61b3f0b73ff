/* A request whose answer was lost, as its worker died or its connection broke, may still wait in a
 * server's queue, and act after what comes next: a DELETE on the file that somebody else has made
 * by then, an upload of a new file when that has been removed again. Conditions stop most of them,
 * but not where ETags are the same (all empty files, lock files among them) or where the server
 * does not keep conditions of DELETE. So before such a request is made again, HEAD looks for what
 * it does, for as long as servers were seen to hold one back and some more. (Measured: 71 ms, of a
 * server that waits for its own lock on the key. What is held back for longer can still do that
 * harm.) */
#ifndef WORKERS_OP_SETTLE_H
#define WORKERS_OP_SETTLE_H

#include <stdint.h>

#include "base/clock.h"
#include "s3/s3.h"

#define SETTLE_FIRST_NS (10 * NS_PER_MS)

/* How long to wait for the next look, after `looks` others, 0 = long enough: at `now_ns` after the
 * request was sent, or known to be lost, at `since_ns` (clock_mono_ns() both). `all_ns`:
 * s3_settle_ns. */
static inline uint64_t settle_wait_ns(uint64_t all_ns, uint64_t since_ns, uint64_t now_ns,
                                      unsigned looks)
{
    uint64_t end = since_ns + all_ns, wait = SETTLE_FIRST_NS << (looks < 8 ? looks : 8);

    if (now_ns >= end)
        return 0;
    return wait < end - now_ns ? wait : end - now_ns;
}

#endif
