/* fusermount3, the set-uid program that mounts for users who may not. */
#ifndef FUSE_FUSE_HELPER_H
#define FUSE_FUSE_HELPER_H

#include <stdbool.h>

#include "base/err.h"

/* Mounts on `path` (absolute) and receives the FUSE descriptor (close-on-exec). `options` as for
 * -o. 0; -ENOPKG (not installed), -EPERM (refused; *err has its message), -ETIMEDOUT. */
must_use int fuse_helper_mount(const char *path, const char *options, int *ret_fd, struct err *err);

/* Unmounts. The same errors. */
must_use int fuse_helper_unmount(const char *path, bool lazy, struct err *err);

#endif
