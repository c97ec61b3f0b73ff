/* Opens the files of one connection in fusectl, through a private mount of fusectl: containers have
 * none in /sys. */
#include "fuse/fuse_ctl.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"

/* <linux/mount.h>: libc's <sys/mount.h> may lack them, and the two headers may conflict. */
#define CTL_FSCONFIG_CREATE 6

#define CTL_PATH "/sys/fs/fuse/connections"

/* A directory descriptor of fusectl, or -1. (fsopen(2): Linux 5.2; root.) */
static int mount_unseen(void)
{
    cleanup_fd int fs = (int)syscall(SYS_fsopen, "fusectl", 1 /* FSOPEN_CLOEXEC */);

    if (fs < 0 || syscall(SYS_fsconfig, fs, CTL_FSCONFIG_CREATE, NULL, NULL, 0) < 0)
        return -1;
    return (int)syscall(SYS_fsmount, fs, 1 /* FSMOUNT_CLOEXEC */, 0);
}

static int open_file(int dir, unsigned number, const char *name, int flags)
{
    char path[64];

    /* The directory is named after the device number (fs/fuse/control.c); anonymous devices have
     * major 0. */
    (void)snprintf(path, sizeof(path), "%u/%s", number, name);
    return openat(dir, path, flags | O_CLOEXEC);
}

void fuse_ctl_open(unsigned dev_major, unsigned dev_minor, int *ret_abort, int *ret_waiting)
{
    unsigned number = dev_major << 20 | dev_minor;
    cleanup_fd int dir = open(CTL_PATH, O_PATH | O_DIRECTORY | O_CLOEXEC);

    *ret_abort = dir < 0 ? -1 : open_file(dir, number, "abort", O_WRONLY);
    if (*ret_abort < 0) {
        if (dir >= 0)
            close(dir);
        dir = mount_unseen();
        *ret_abort = dir < 0 ? -1 : open_file(dir, number, "abort", O_WRONLY);
    }
    *ret_waiting = dir < 0 ? -1 : open_file(dir, number, "waiting", O_RDONLY);
}

void fuse_ctl_abort(unsigned dev_major, unsigned dev_minor)
{
    int abort_fd, waiting_fd;

    fuse_ctl_open(dev_major, dev_minor, &abort_fd, &waiting_fd);
    if (waiting_fd >= 0)
        close(waiting_fd);
    if (abort_fd < 0)
        return;
    (void)!write(abort_fd, "1", 1);
    close(abort_fd);
}
