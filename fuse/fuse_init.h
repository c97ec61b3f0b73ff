/* The first exchange on a mount: versions, flags, sizes. Done once, by one process, before
 * any other request comes (the kernel holds them back until INIT is answered). */
#ifndef FUSE_FUSE_INIT_H
#define FUSE_FUSE_INIT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "fuse/fuse_abi.h"

/* What is asked for; fuse_init.c says which flags are wanted always, which never, and why. */
struct fuse_init_wish {
    uint32_t max_write;      /* bytes of one WRITE or READ; rounded down to whole pages, between
                               one page and FUSE_MAX_WRITE_MAX */
    uint32_t max_readahead;  /* bytes; the kernel clamps it to 128 KiB: see fuse_set_readahead */
    uint16_t max_background; /* read-ahead and other background requests in flight; 0 = 64 */
    uint16_t congestion_threshold; /* 0 = 3/4 of it */
    bool flock_locks;              /* flock(2) comes to us */
    bool posix_locks;              /* fcntl(F_SETLK) comes to us */
    uint32_t request_timeout; /* seconds, 0 = none: the connection ends when a request is older */
};

/* What both sides agreed on. Plain data, fit for shared memory. */
struct fuse_negotiated {
    uint64_t flags;        /* FUSE_ASYNC_READ etc.: offered and taken */
    uint32_t kernel_minor; /* what the kernel speaks */
    uint32_t minor;        /* what is spoken: the smaller of that and FUSE_MINOR_KNOWN */
    uint32_t max_write;    /* a read of the device needs FUSE_READ_SIZE(max_write) bytes */
    uint32_t max_readahead;
    uint32_t max_pages; /* of one request */
    uint16_t max_background;
    uint16_t congestion_threshold;
    uint32_t request_timeout; /* seconds asked for, 0 = none; in force is fuse_timeout_in_force() */
};

/* Waits up to timeout_ms for INIT on `fd` (non-blocking), and answers it.
 * 0; -ETIMEDOUT; -ENODEV (unmounted meanwhile); -EPERM (a descriptor that is not mounted);
 * -EPROTO (kernel too old, or INIT was answered before); -errno of read, poll, write. */
must_use int fuse_init_answer(int fd, const struct fuse_init_wish *wish, unsigned timeout_ms,
                              struct fuse_negotiated *ret_negotiated, struct err *err);

#endif
