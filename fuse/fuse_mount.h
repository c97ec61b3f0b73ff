/* Mounting, unmounting, and the kernel's settings of a mount. Nothing here waits for the daemon
 * that serves a mount: a mount point is opened with O_PATH and looked up in mountinfo, never with
 * stat(2). */
#ifndef FUSE_FUSE_MOUNT_H
#define FUSE_FUSE_MOUNT_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

#define FUSE_MOUNT_TYPE "fuse.stateproxy" /* type shown in /proc/mounts */

struct fuse_mount_opts {
    const char *path;   /* the mount point, or "/dev/fd/N": one that somebody else mounted */
    const char *source; /* device shown in /proc/mounts and df; NULL or "" = "stateproxy" */
    bool allow_other;
    bool default_permissions;
    bool read_only;
    bool noexec;
    uint32_t max_read;     /* bytes of one READ, 0 = as negotiated by INIT */
    bool force_fusermount; /* use fusermount3 even as root */
    bool end_silent; /* also abort and remove a mount of ours that is alive but does not reply */
};

enum fuse_mount_form {
    FUSE_MOUNT_NONE,
    FUSE_MOUNT_SYSCALL,  /* mount(2) */
    FUSE_MOUNT_HELPER,   /* fusermount3 */
    FUSE_MOUNT_HANDED_IN /* never unmounted by us; mnt_id and dev unknown */
};

struct fuse_mount {
    int fd; /* close-on-exec and non-blocking; the mount ends with its last copy */
    enum fuse_mount_form form;
    bool removed_stale; /* the mount of a dead stateproxy was there and has been removed */
    /* -1 = not available; does not keep the connection alive: fuse_abort, even if detached */
    int abort_fd;
    int waiting_fd; /* likewise: fuse_waiting */
    unsigned dev_major;
    unsigned dev_minor;
    uint64_t mnt_id;     /* 0 = unknown */
    char path[PATH_MAX]; /* absolute, without symbolic links; as given for HANDED_IN */
};

/* Mounts, or takes the descriptor. Returns 0 and *ret_mount; the caller closes ret_mount->fd, and
 * calls fuse_unmount before. On failure nothing is left mounted, and *err describes the failure:
 *
 *   -ENOENT, -ENOTDIR, -EACCES  the mount point, or /dev/fuse
 *   -EBUSY    a living stateproxy is mounted there (or, without end_silent, one that does not
 *             reply)
 *   -EPERM    mount(2) or fusermount3 refused; *err has the message
 *   -ENOPKG   neither root nor fusermount3
 *   -EBADF    the descriptor handed in is not a FUSE device
 *   -ETIMEDOUT fusermount3 hangs
 *
 * A directory that is not empty, or on which something else is mounted, is allowed: it is
 * hidden. */
must_use int fuse_mount(const struct fuse_mount_opts *opts, struct fuse_mount *ret_mount,
                        struct err *err);

/* Takes the descriptor of a mount that somebody else has made, named `path` in messages:
 * FUSE_MOUNT_HANDED_IN. Sets close-on-exec and non-blocking. 0 and *ret_mount, whose fd is this
 * one; or -errno with *err, and then the caller still has it:
 *
 *   -EBADF  not open, not one of /dev/fuse, or not for reading and writing */
must_use int fuse_mount_take(int fd, const char *path, struct fuse_mount *ret_mount,
                             struct err *err);

/* Unmounts, lazily if busy; open files are still served as long as the descriptor is held. 0 also
 * if it is gone already, or was handed in. -EBUSY if something is mounted over it. Dirty pages of
 * mmaps are written back, which waits for the workers: if they are gone, use fuse_unmount_force. */
must_use int fuse_unmount(const struct fuse_mount *mount, struct err *err);

/* Aborts the connection at once (waiting requests fail with ECONNABORTED, all later ones with
 * ENOTCONN), even if it is unmounted already and files are still open, and unmounts. Does not wait.
 * Results as fuse_unmount. */
must_use int fuse_unmount_force(const struct fuse_mount *mount, struct err *err);

/* True while it is mounted, in this mount namespace. True for HANDED_IN: unknown. */
bool fuse_mounted(const struct fuse_mount *mount);

/* Raises the read-ahead of the mount beyond what INIT allows. Needs root. To be called after the
 * reply to INIT, which sets it too. 0, -ENOTSUP (device unknown), or -errno. */
must_use int fuse_set_readahead(const struct fuse_mount *mount, uint64_t bytes);

/* Aborts the connection as fuse_unmount_force does, but the mount stays until it is unmounted. 0
 * (also if there is no connection any more), -ENOTSUP (fusectl is not available). */
must_use int fuse_abort(const struct fuse_mount *mount);

/* Requests that the kernel has and that have no reply: those that were read, and those still in its
 * queue. -ENOTSUP: not available. Only one process may call it. */
must_use int fuse_waiting(const struct fuse_mount *mount);

#endif
