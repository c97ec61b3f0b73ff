/* The kernel's limit on the age of a request. If one is older, the kernel ends the whole connection
 * (fs/fuse/dev.c, fuse_check_timeout). The limit comes from the reply to INIT and from two sysctls
 * of the machine (Linux 6.15), as they are at that time; later changes affect later mounts only. */
#ifndef FUSE_FUSE_TIMEOUT_H
#define FUSE_FUSE_TIMEOUT_H

#include <stdbool.h>
#include <stdint.h>

struct fuse_timeouts {
    bool known; /* the kernel has the sysctls */
    /* fs.fuse.default_request_timeout, max_request_timeout: seconds, 0 = not set */
    uint32_t def, max;
};

void fuse_timeout_read(struct fuse_timeouts *ret);

/* The limit in seconds for a mount that requested so many (0 = none requested); 0 = no limit. */
uint32_t fuse_timeout_in_force(const struct fuse_timeouts *t, uint32_t asked);

#endif
