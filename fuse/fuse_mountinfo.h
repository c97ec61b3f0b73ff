/* /proc/self/mountinfo: which file system is mounted where. Does not access the file systems
 * themselves, so it works while one of them hangs. */
#ifndef FUSE_FUSE_MOUNTINFO_H
#define FUSE_FUSE_MOUNTINFO_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

struct fuse_mountinfo {
    uint64_t mnt_id;
    unsigned dev_major;
    unsigned dev_minor;
    char path[PATH_MAX]; /* the mount point, octal escapes decoded */
    char type[64];       /* "fuse.stateproxy"; "" if the line was cut before it */
    char source[256];    /* cut if longer */
    uint32_t user_id;    /* FUSE: its owner, from the super options; else 0 */
    uint32_t group_id;
};

/* Parses one line (without newline). 0 or -EINVAL. */
must_use int fuse_mountinfo_parse(const char *line, struct fuse_mountinfo *ret);

/* Finds a mount by its id in `file` ("/proc/self/mountinfo", or a test's). 0, -ENOENT, or
 * -errno. */
must_use int fuse_mountinfo_find(const char *file, uint64_t mnt_id, struct fuse_mountinfo *ret);

/* Finds the topmost mount of this device that is mounted at `path`. As fuse_mountinfo_find. */
must_use int fuse_mountinfo_find_dev(const char *file, unsigned major, unsigned minor,
                                     const char *path, struct fuse_mountinfo *ret);

#endif
