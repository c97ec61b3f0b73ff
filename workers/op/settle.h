/* A request whose reply was lost, because its worker died or its connection broke, may still wait
 * in a server's queue and take effect after a later request: a DELETE removes a file that another
 * client has created by then; an upload brings back a file that has been removed. Conditions
 * prevent most of that, but not if ETags are equal (all empty files, including lock files) or if
 * the server ignores conditions of DELETE. So before such a request is sent again, HEAD checks for
 * its effect, for a little longer than servers were seen to hold a request back. (Measured: 71 ms,
 * of a server that waits for its own lock on the key. A request held back for longer can still do
 * that harm.) */
#ifndef WORKERS_OP_SETTLE_H
#define WORKERS_OP_SETTLE_H

#include <stdint.h>

#include "base/clock.h"
#include "s3/s3.h"

#define SETTLE_FIRST_NS (10 * NS_PER_MS)

/* How long to wait before the next look, after `looks` others; 0 = waited long enough. `now_ns`:
 * the current time; `since_ns`: when the request was sent, or known to be lost (both
 * clock_mono_ns()). `all_ns`: s3_settle_ns. */
static inline uint64_t settle_wait_ns(uint64_t all_ns, uint64_t since_ns, uint64_t now_ns,
                                      unsigned looks)
{
    uint64_t end = since_ns + all_ns, wait = SETTLE_FIRST_NS << (looks < 8 ? looks : 8);

    if (now_ns >= end)
        return 0;
    return wait < end - now_ns ? wait : end - now_ns;
}

#endif
