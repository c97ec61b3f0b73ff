/* Attributes and entries in the kernel's form. */
#ifndef FUSE_FUSE_ATTR_H
#define FUSE_FUSE_ATTR_H

#include <stdint.h>

#include "fuse/fuse_abi.h"

struct fuse_attr_src {
    uint64_t ino;
    uint64_t size;    /* at most INT64_MAX: beyond that the kernel fails with EIO */
    int64_t atime_ns; /* since the epoch, may be negative */
    int64_t mtime_ns;
    int64_t ctime_ns;
    uint32_t mode; /* with the type bits */
    uint32_t nlink;
    uint32_t uid;
    uint32_t gid;
    uint32_t rdev;    /* of a device, in the kernel's 32-bit form, which MKNOD has too */
    uint32_t blksize; /* st_blksize: a power of two, or 0 for 4096 */
};

/* Fills all of *ret; st_blocks is computed from the size. */
void fuse_attr_fill(struct fuse_attr *ret, const struct fuse_attr_src *src);

/* Fills everything but attr. A node id of 0 means that the name does not exist; the kernel caches
 * that for entry_valid_ns. */
void fuse_entry_fill(struct fuse_entry_out *ret, uint64_t nodeid, uint64_t generation,
                     uint64_t entry_valid_ns, uint64_t attr_valid_ns);

/* Fills everything but attr. */
void fuse_attr_out_fill(struct fuse_attr_out *ret, uint64_t attr_valid_ns);

#endif
