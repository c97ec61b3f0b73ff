/* Mounting, unmounting, and the kernel's knobs of a mount. Nothing here waits for whoever
 * serves a mount: a mount point is opened with O_PATH and looked up in mountinfo, never
 * stat'ed. */
#ifndef FUSE_FUSE_MOUNT_H
#define FUSE_FUSE_MOUNT_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

#define FUSE_MOUNT_TYPE "fuse.stateproxy" /* as /proc/mounts shows it */

struct fuse_mount_opts {
    const char *path;   /* the mount point, or "/dev/fd/N": one that somebody else mounted */
    const char *source; /* what /proc/mounts and df show as device; NULL = "stateproxy" */
    bool allow_other;
    bool default_permissions;
    bool read_only;
    uint32_t max_read;     /* bytes of one READ, 0 = what INIT agrees on */
    bool force_fusermount; /* use fusermount3 also as root */
    bool end_silent; /* one of ours that does not answer is ended and taken off, as a dead one is */
};

enum fuse_mount_form {
    FUSE_MOUNT_NONE,
    FUSE_MOUNT_SYSCALL,  /* mount(2) */
    FUSE_MOUNT_HELPER,   /* fusermount3 */
    FUSE_MOUNT_HANDED_IN /* never unmounted by us; mnt_id and dev unknown */
};

struct fuse_mount {
    int fd; /* close-on-exec and non-blocking; the mount dies with its last copy */
    enum fuse_mount_form form;
    bool removed_stale; /* the mount of a dead stateproxy was in the way, and was taken off */
    /* -1 = not to be had; holds no connection: fuse_abort, also when it is detached */
    int abort_fd;
    int waiting_fd; /* the same: fuse_waiting */
    unsigned dev_major;
    unsigned dev_minor;
    uint64_t mnt_id;     /* 0 = unknown */
    char path[PATH_MAX]; /* absolute, without symbolic links; as given for HANDED_IN */
};

/* Mounts, or takes the descriptor. Returns 0 and *ret_mount; the caller closes ret_mount->fd,
 * and calls fuse_unmount before. On failure nothing is left mounted, and *err says in one line
 * what is wrong:
 *   -ENOENT, -ENOTDIR, -EACCES  the mount point, or /dev/fuse
 *   -EBUSY    a living stateproxy is mounted there (or, without end_silent, one that does not
 *             answer)
 *   -EPERM    mount(2) or fusermount3 refused; its own words are in *err
 *   -ENOPKG   neither root nor fusermount3
 *   -EBADF    the descriptor handed in is no FUSE device
 *   -ETIMEDOUT fusermount3 hangs
 * A directory that is not empty, or on which something else is mounted, is fine: it is hidden. */
must_use int fuse_mount(const struct fuse_mount_opts *opts, struct fuse_mount *ret_mount,
                        struct err *err);

/* Takes the mount off, lazily when it is busy; files that are open go on being served for as
 * long as the descriptor is held. 0 also when it is gone already, or was handed in. -EBUSY
 * when something is mounted over it. Dirty pages of mmaps are written back, which waits for
 * those who serve: when they are gone, use fuse_unmount_force. */
must_use int fuse_unmount(const struct fuse_mount *mount, struct err *err);

/* Ends the connection at once (requests that wait fail with ECONNABORTED, all later ones with
 * ENOTCONN), also where the mount is off already and files are open still, and takes the mount off.
 * Waits for nobody. Results as fuse_unmount. */
must_use int fuse_unmount_force(const struct fuse_mount *mount, struct err *err);

/* True while the mount is there, in this mount namespace. True for HANDED_IN: unknown. */
bool fuse_mounted(const struct fuse_mount *mount);

/* Raises the read-ahead of the mount beyond what INIT allows. Needs root; call it after INIT
 * was answered, which sets it too. 0, -ENOTSUP (device unknown), or -errno. */
must_use int fuse_set_readahead(const struct fuse_mount *mount, uint64_t bytes);

/* Ends the connection at once as fuse_unmount_force, but the mount stays until it is taken
 * off. 0 (also when there is none any more), -ENOTSUP (fusectl is not to be had). */
must_use int fuse_abort(const struct fuse_mount *mount);

/* Requests that the kernel has and that are not answered: those that were read, and those that
 * nobody can see yet. -ENOTSUP: not to be had. Only one process may ask. */
must_use int fuse_waiting(const struct fuse_mount *mount);

#endif
