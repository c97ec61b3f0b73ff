/* What is at a mount point, without a request to the server of the mount. */
#ifndef FUSE_FUSE_MOUNTPOINT_H
#define FUSE_FUSE_MOUNTPOINT_H

#include <limits.h>
#include <stdbool.h>

#include "base/err.h"
#include "fuse/fuse_mountinfo.h"

struct fuse_mountpoint {
    char path[PATH_MAX]; /* absolute, without symbolic links */
    bool is_mount;       /* it is the root of the mount in `info`, the topmost one there */
    struct fuse_mountinfo info;
};

/* Inspects a directory. 0; -ENOENT, -ENOTDIR, -EACCES, ..., with a message about the mount point in
 * *err. */
must_use int fuse_mountpoint_look(const char *path, struct fuse_mountpoint *ret, struct err *err);

enum fuse_mount_state {
    FUSE_MOUNT_ALIVE,  /* it replies, or that is unknown */
    FUSE_MOUNT_STALE,  /* its descriptor is closed everywhere (ENOTCONN) */
    FUSE_MOUNT_SILENT, /* no reply in time */
};

/* Asks a FUSE mount for the attributes of its root, from a child process, since the call may
 * hang. */
enum fuse_mount_state fuse_mountpoint_probe(const struct fuse_mountpoint *point);

#endif
