/* Mounts in three ways, and unmounts. fuse_mountpoint.c inspects a mount point, fuse_helper.c runs
 * the set-uid helper. The kernel sends FUSE_INIT as soon as it is mounted: fuse_init.c. */
#include "fuse/fuse_mount.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "fuse/fuse_ctl.h"
#include "fuse/fuse_helper.h"
#include "fuse/fuse_mountpoint.h"

#define SOURCE_DEFAULT "stateproxy"
#define HANDED_IN_PREFIX "/dev/fd/"
#define STALE_MAX 16 /* maximum number of dead mounts on top of each other */
#define OPTION_BYTES 1024

#define DEV_FUSE_MAJOR 10
#define DEV_FUSE_MINOR 229

/* A bounded option list; `full` if something did not fit. */
struct options {
    char text[OPTION_BYTES];
    size_t len;
    bool full;
};

static void add_char(struct options *o, char c)
{
    if (o->len + 1 >= sizeof(o->text)) {
        o->full = true;
        return;
    }
    o->text[o->len++] = c;
    o->text[o->len] = '\0';
}

static void add_option(struct options *o, const char *text)
{
    if (o->len > 0)
        add_char(o, ',');
    while (*text)
        add_char(o, *text++);
}

static void mount_add_number(struct options *o, const char *name, unsigned value)
{
    char text[64];

    (void)snprintf(text, sizeof(text), "%s=%u", name, value);
    add_option(o, text);
}

static void add_common(struct options *o, const struct fuse_mount_opts *opts)
{
    if (opts->allow_other)
        add_option(o, "allow_other");
    if (opts->default_permissions)
        add_option(o, "default_permissions");
    if (opts->max_read)
        mount_add_number(o, "max_read", opts->max_read);
}

static const char *source_of(const struct fuse_mount_opts *opts)
{
    return opts->source && *opts->source ? opts->source : SOURCE_DEFAULT;
}

static int open_device(struct err *err)
{
    int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC | O_NONBLOCK);

    if (fd >= 0)
        return fd;
    if (errno == ENOENT || errno == ENODEV || errno == ENXIO)
        return err_set(err, ENOENT,
                       "/dev/fuse is missing: load the fuse kernel module, or "
                       "give this container the device");
    if (errno == EACCES || errno == EPERM)
        return err_set(err, EACCES, "/dev/fuse: permission denied");
    return err_set(err, errno, "/dev/fuse: %s", strerror(errno));
}

static int mount_syscall(const struct fuse_mount_opts *opts, const char *path, int *ret_fd,
                         struct err *err)
{
    struct options o = {.len = 0};
    unsigned long flags = MS_NOSUID | MS_NODEV;
    cleanup_fd int fd = open_device(err);

    if (fd < 0)
        return fd;
    mount_add_number(&o, "fd", (unsigned)fd);
    add_option(&o, "rootmode=40000");
    mount_add_number(&o, "user_id", geteuid());
    mount_add_number(&o, "group_id", getegid());
    add_common(&o, opts);
    if (opts->read_only)
        flags |= MS_RDONLY;
    if (opts->noexec)
        flags |= MS_NOEXEC;
    if (mount(source_of(opts), path, FUSE_MOUNT_TYPE, flags, o.text) == 0) {
        *ret_fd = take_fd(&fd);
        return 0;
    }
    if (errno == EPERM)
        return err_set(err, EPERM,
                       "mounting on \"%s\" is not permitted: CAP_SYS_ADMIN is "
                       "missing",
                       path);
    if (errno == ENODEV)
        return err_set(err, ENODEV, "this kernel has no FUSE");
    return err_set(err, errno, "mounting on \"%s\": %s", path, strerror(errno));
}

static int mount_helper(const struct fuse_mount_opts *opts, const char *path, int *ret_fd,
                        struct err *err)
{
    struct options o = {.len = 0};

    add_option(&o, "nosuid,nodev,subtype=stateproxy,fsname=");
    for (const char *s = source_of(opts); *s; s++) {
        if (*s == ',' || *s == '\\')
            add_char(&o, '\\');
        add_char(&o, *s);
    }
    add_common(&o, opts);
    if (opts->read_only)
        add_option(&o, "ro");
    if (opts->noexec)
        add_option(&o, "noexec");
    if (o.full)
        return err_set(err, EINVAL, "the source \"%.100s...\" is too long", source_of(opts));
    return fuse_helper_mount(path, o.text, ret_fd, err);
}

/* `force`: aborts the connection first (fs/fuse/inode.c, fuse_umount_begin). */
static int detach(const char *path, bool force, struct err *err)
{
    if (geteuid() != 0)
        return fuse_helper_unmount(path, true, err);
    if (umount2(path, (force ? MNT_FORCE : 0) | MNT_DETACH | UMOUNT_NOFOLLOW) < 0)
        return err_set(err, errno, "unmounting \"%s\": %s", path, strerror(errno));
    return 0;
}

/* A mount that does not reply has to be aborted: otherwise its callers would wait forever, and
 * could no longer be reached after the unmount. */
static int take_off(const struct fuse_mountpoint *point, bool silent, struct err *err)
{
    if (silent && geteuid() != 0)
        fuse_ctl_abort(point->info.dev_major, point->info.dev_minor);
    return detach(point->path, silent, err);
}

/* Inspects the mount point and removes mounts that dead daemons of ours left there. */
static int clear_point(const struct fuse_mount_opts *opts, struct fuse_mountpoint *ret_point,
                       bool *ret_removed, struct err *err)
{
    const char *path = opts->path;

    *ret_removed = false;
    for (int i = 0; i < STALE_MAX; i++) {
        enum fuse_mount_state state;
        int r = fuse_mountpoint_look(path, ret_point, err);

        if (r < 0 || !ret_point->is_mount || strcmp(ret_point->info.type, FUSE_MOUNT_TYPE) != 0)
            return r;
        state = fuse_mountpoint_probe(ret_point);
        if (state == FUSE_MOUNT_ALIVE)
            return err_set(err, EBUSY, "a running stateproxy is mounted on \"%s\" already",
                           ret_point->path);
        if (state == FUSE_MOUNT_SILENT && !opts->end_silent)
            return err_set(err, EBUSY,
                           "a stateproxy that does not answer is mounted on "
                           "\"%s\"",
                           ret_point->path);
        r = take_off(ret_point, state == FUSE_MOUNT_SILENT, err);
        if (r < 0) {
            err_prefix(err, "a dead stateproxy's mount is in the way");
            return r;
        }
        *ret_removed = true;
    }
    return err_set(err, EBUSY, "too many dead mounts on \"%s\"", path);
}

int fuse_mount_take(int fd, const char *path, struct fuse_mount *ret_mount, struct err *err)
{
    struct stat st;
    int r;

    if (fstat(fd, &st) < 0)
        return err_set(err, EBADF, "descriptor %d is not open", fd);
    if (!S_ISCHR(st.st_mode) || st.st_rdev != makedev(DEV_FUSE_MAJOR, DEV_FUSE_MINOR))
        return err_set(err, EBADF, "descriptor %d is not one of /dev/fuse", fd);
    if ((fcntl(fd, F_GETFL) & O_ACCMODE) != O_RDWR)
        return err_set(err, EBADF, "descriptor %d is not open for reading and writing", fd);
    r = fd_set_nonblock(fd);
    if (r < 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
        return err_set(err, r < 0 ? -r : errno, "descriptor %d: fcntl failed", fd);
    memset(ret_mount, 0, sizeof(*ret_mount));
    ret_mount->fd = fd;
    ret_mount->form = FUSE_MOUNT_HANDED_IN;
    ret_mount->abort_fd = ret_mount->waiting_fd = -1;
    (void)snprintf(ret_mount->path, sizeof(ret_mount->path), "%s", path);
    return 0;
}

static int take_numbered(const char *path, struct fuse_mount *ret_mount, struct err *err)
{
    const char *number = path + strlen(HANDED_IN_PREFIX);
    char *end;
    unsigned long fd = strtoul(number, &end, 10);

    if (*number < '0' || *number > '9' || *end || fd > INT_MAX)
        return err_set(err, EINVAL, "\"%s\" does not name a descriptor", path);
    return fuse_mount_take((int)fd, path, ret_mount, err);
}

/* Finds the mount just made; -EIO if it is not there. */
static int identify(struct fuse_mount *m, struct err *err)
{
    struct fuse_mountpoint point;
    int r = fuse_mountpoint_look(m->path, &point, err);

    if (r < 0)
        return r;
    if (!point.is_mount || strcmp(point.info.type, FUSE_MOUNT_TYPE) != 0)
        return err_set(err, EIO, "mounted on \"%s\", but something else is there now", m->path);
    m->mnt_id = point.info.mnt_id;
    m->dev_major = point.info.dev_major;
    m->dev_minor = point.info.dev_minor;
    return 0;
}

int fuse_mount(const struct fuse_mount_opts *opts, struct fuse_mount *ret_mount, struct err *err)
{
    struct fuse_mountpoint point;
    struct fuse_mount m = {.fd = -1, .abort_fd = -1, .waiting_fd = -1};
    bool helper = opts->force_fusermount || geteuid() != 0;
    int r;

    if (strncmp(opts->path, HANDED_IN_PREFIX, strlen(HANDED_IN_PREFIX)) == 0)
        return take_numbered(opts->path, ret_mount, err);
    r = clear_point(opts, &point, &m.removed_stale, err);
    if (r < 0)
        return r;
    memcpy(m.path, point.path, sizeof(m.path));
    m.form = helper ? FUSE_MOUNT_HELPER : FUSE_MOUNT_SYSCALL;
    r = helper ? mount_helper(opts, m.path, &m.fd, err) : mount_syscall(opts, m.path, &m.fd, err);
    if (r < 0)
        return r;
    r = fd_set_nonblock(m.fd);
    if (r < 0)
        r = err_set(err, -r, "fcntl: %s", strerror(-r));
    else
        r = identify(&m, err);
    if (r < 0) {
        /* The first error is the one to report. A mount that somebody else made meanwhile stays. */
        if (r != -EIO)
            (void)!detach(m.path, false, NULL);
        close(m.fd);
        return r;
    }
    fuse_ctl_open(m.dev_major, m.dev_minor, &m.abort_fd, &m.waiting_fd);
    *ret_mount = m;
    return 0;
}

static bool is_ours(const struct fuse_mount *m, const struct fuse_mountinfo *info)
{
    /* (The kernel reuses both numbers for the next mount anywhere once this one is gone.) */
    return info->mnt_id == m->mnt_id && info->dev_major == m->dev_major &&
           info->dev_minor == m->dev_minor && strcmp(info->path, m->path) == 0 &&
           strcmp(info->type, FUSE_MOUNT_TYPE) == 0;
}

bool fuse_mounted(const struct fuse_mount *mount)
{
    struct fuse_mountinfo info;

    if (mount->form == FUSE_MOUNT_HANDED_IN)
        return true;
    return fuse_mountinfo_find("/proc/self/mountinfo", mount->mnt_id, &info) == 0 &&
           is_ours(mount, &info);
}

/* 1: it is the topmost mount there. 0: it is gone, or not ours to remove. */
static int may_unmount(const struct fuse_mount *mount, struct err *err)
{
    struct fuse_mountpoint point;
    int r;

    if (mount->form == FUSE_MOUNT_HANDED_IN || !fuse_mounted(mount))
        return 0;
    r = fuse_mountpoint_look(mount->path, &point, err);
    if (r < 0)
        return r;
    if (!point.is_mount || !is_ours(mount, &point.info))
        return err_set(err, EBUSY, "something is mounted over \"%s\"", mount->path);
    return 1;
}

int fuse_unmount(const struct fuse_mount *mount, struct err *err)
{
    int r = may_unmount(mount, err);

    if (r <= 0)
        return r;
    if (geteuid() != 0) {
        if (fuse_helper_unmount(mount->path, false, NULL) == 0)
            return 0;
    } else if (umount2(mount->path, UMOUNT_NOFOLLOW) == 0) {
        return 0;
    }
    return detach(mount->path, false, err);
}

int fuse_unmount_force(const struct fuse_mount *mount, struct err *err)
{
    int r = may_unmount(mount, err);

    /* A connection that is already detached can only be ended this way. */
    if (r <= 0 || geteuid() != 0)
        (void)!fuse_abort(mount);
    return r <= 0 ? r : detach(mount->path, true, err);
}

static int write_knob(const char *path, const char *text)
{
    cleanup_fd int fd = open(path, O_WRONLY | O_CLOEXEC);

    if (fd < 0)
        return -errno;
    return fd_write_full(fd, text, strlen(text));
}

int fuse_set_readahead(const struct fuse_mount *mount, uint64_t bytes)
{
    char path[96];
    char text[32];

    if (mount->mnt_id == 0)
        return -ENOTSUP;
    (void)snprintf(path, sizeof(path), "/sys/class/bdi/%u:%u/read_ahead_kb", mount->dev_major,
                   mount->dev_minor);
    (void)snprintf(text, sizeof(text), "%llu", (unsigned long long)(bytes / 1024));
    return write_knob(path, text);
}

int fuse_abort(const struct fuse_mount *mount)
{
    if (mount->mnt_id == 0 || mount->abort_fd < 0)
        return -ENOTSUP;
    /* (ENOTCONN: it has ended.) */
    (void)!write(mount->abort_fd, "1", 1);
    return 0;
}

int fuse_waiting(const struct fuse_mount *mount)
{
    char text[24];
    ssize_t n;

    if (mount->mnt_id == 0 || mount->waiting_fd < 0)
        return -ENOTSUP;
    n = pread(mount->waiting_fd, text, sizeof(text) - 1, 0);
    if (n <= 0)
        return 0;
    text[n] = '\0';
    return (int)strtol(text, NULL, 10);
}
