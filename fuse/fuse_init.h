/* The first exchange on a mount: versions, flags, sizes. Done once, by one process, before any
 * other request comes (the kernel holds them back until INIT has a reply). */
#ifndef FUSE_FUSE_INIT_H
#define FUSE_FUSE_INIT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "fuse/fuse_abi.h"

/* What to negotiate; fuse_init.c says which flags are always requested, which never, and why. */
struct fuse_init_wish {
    uint32_t max_write;      /* bytes of one WRITE or READ; rounded down to whole pages, between
                               one page and FUSE_MAX_WRITE_MAX */
    uint32_t max_readahead;  /* bytes; the kernel clamps it to 128 KiB: see fuse_set_readahead */
    uint16_t max_background; /* read-ahead and other background requests in flight; 0 = 64 */
    uint16_t congestion_threshold; /* 0 = 3/4 of it */
    bool flock_locks;              /* flock(2) is sent to us */
    bool posix_locks;              /* fcntl(F_SETLK) is sent to us */
    uint32_t request_timeout; /* seconds, 0 = none: the kernel ends the connection when a request is
                               * older */
};

/* The result of the negotiation. Plain data, can be in shared memory. */
struct fuse_negotiated {
    uint64_t flags;        /* FUSE_ASYNC_READ etc.: offered and accepted */
    uint32_t kernel_minor; /* the kernel's minor version */
    uint32_t minor;        /* the minor version in use: the smaller of that and FUSE_MINOR_KNOWN */
    uint32_t max_write;    /* a read of the device needs FUSE_READ_SIZE(max_write) bytes */
    uint32_t max_readahead;
    uint32_t max_pages; /* of one request */
    uint16_t max_background;
    uint16_t congestion_threshold;
    uint32_t request_timeout; /* seconds requested, 0 = none; the limit in force is
                               * fuse_timeout_in_force() */
};

/* Waits up to timeout_ms for INIT on `fd` (non-blocking), and replies to it. 0; -ETIMEDOUT; -ENODEV
 * (unmounted meanwhile); -EPERM (the descriptor is not mounted); -EPROTO (kernel too old, or INIT
 * was handled before); -errno of read, poll, write. */
must_use int fuse_init_answer(int fd, const struct fuse_init_wish *wish, unsigned timeout_ms,
                              struct fuse_negotiated *ret_negotiated, struct err *err);

#endif
