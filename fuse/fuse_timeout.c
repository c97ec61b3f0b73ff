/* Reads the two sysctls, and computes the limit as the kernel does (fs/fuse/inode.c,
 * init_server_timeout). */
#include "fuse/fuse_timeout.h"

#include <stdlib.h>

#include "base/fd.h"
#include "fuse/fuse_abi.h"

static bool read_number(const char *path, uint32_t *ret)
{
    char text[32];

    if (fd_read_file(path, text, sizeof(text)) <= 0)
        return false;
    *ret = (uint32_t)strtoul(text, NULL, 10);
    return true;
}

void fuse_timeout_read(struct fuse_timeouts *ret)
{
    *ret = (struct fuse_timeouts){.known = false};
    ret->known = read_number("/proc/sys/fs/fuse/max_request_timeout", &ret->max) &&
                 read_number("/proc/sys/fs/fuse/default_request_timeout", &ret->def);
}

uint32_t fuse_timeout_in_force(const struct fuse_timeouts *t, uint32_t asked)
{
    uint32_t seconds = asked ? asked : t->def;

    if (t->max && (!seconds || seconds > t->max))
        seconds = t->max;
    if (!seconds)
        return 0;
    return seconds < FUSE_REQUEST_TIMEOUT_MIN ? FUSE_REQUEST_TIMEOUT_MIN : seconds;
}
