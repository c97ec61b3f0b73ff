/* The kernel's limits on how old a request may become. When one is older, the kernel ends the whole
 * connection (fs/fuse/dev.c, fuse_check_timeout). They come from what INIT is answered and from two
 * sysctls of the machine (Linux 6.15), as these are when INIT is answered; what is changed later
 * concerns later mounts. */
#ifndef FUSE_FUSE_TIMEOUT_H
#define FUSE_FUSE_TIMEOUT_H

#include <stdbool.h>
#include <stdint.h>

struct fuse_timeouts {
    bool known; /* the kernel has them */
    /* fs.fuse.default_request_timeout, max_request_timeout: seconds, 0 = not set */
    uint32_t def, max;
};

void fuse_timeout_read(struct fuse_timeouts *ret);

/* Seconds that hold for a mount that asked for so many (0 = none asked for); 0 = no limit. */
uint32_t fuse_timeout_in_force(const struct fuse_timeouts *t, uint32_t asked);

#endif
