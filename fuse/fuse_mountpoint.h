/* What is at a mount point, without waking whoever serves it. */
#ifndef FUSE_FUSE_MOUNTPOINT_H
#define FUSE_FUSE_MOUNTPOINT_H

#include <limits.h>
#include <stdbool.h>

#include "base/err.h"
#include "fuse/fuse_mountinfo.h"

struct fuse_mountpoint {
    char path[PATH_MAX]; /* absolute, without symbolic links */
    bool is_mount;       /* it is the root of the mount in `info`, the topmost there */
    struct fuse_mountinfo info;
};

/* Looks at a directory. 0; -ENOENT, -ENOTDIR, -EACCES, ..., with a line about the mount point
 * in *err. */
must_use int fuse_mountpoint_look(const char *path, struct fuse_mountpoint *ret, struct err *err);

enum fuse_mount_state {
    FUSE_MOUNT_ALIVE,  /* it answers, or it cannot be told */
    FUSE_MOUNT_STALE,  /* nobody holds its descriptor any more (ENOTCONN) */
    FUSE_MOUNT_SILENT, /* no answer in time */
};

/* Asks a FUSE mount for its root's attributes, from a child process, which may hang for it. */
enum fuse_mount_state fuse_mountpoint_probe(const struct fuse_mountpoint *point);

#endif
