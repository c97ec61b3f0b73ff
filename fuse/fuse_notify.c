/* Encodes and writes notifications: a reply with unique 0, whose error is the code (the kernel's
 * fs/fuse/dev.c, fuse_notify). fuse_notify.h says who may call them. */
#include "fuse/fuse_notify.h"

#include <errno.h>
#include <string.h>
#include <sys/uio.h>

/* iov[0] is for the header. */
static int notify_iov(int fd, int code, struct iovec *iov, int n_iov)
{
    struct fuse_out_header out = {.error = code};
    ssize_t n;

    iov[0] = (struct iovec){.iov_base = &out, .iov_len = sizeof(out)};
    for (int i = 0; i < n_iov; i++)
        out.len += (uint32_t)iov[i].iov_len;
    n = writev(fd, iov, n_iov);
    if (n < 0)
        return -errno;
    return (size_t)n == out.len ? 0 : -EIO;
}

static int notify(int fd, enum fuse_notify_code code, void *arg, size_t arg_len, const char *name,
                  size_t name_len)
{
    struct iovec iov[] = {
        {0},
        {.iov_base = arg, .iov_len = arg_len},
        {.iov_base = (void *)name, .iov_len = name_len},
        {.iov_base = (void *)"", .iov_len = 1}, /* names are NUL-terminated */
    };

    if (name_len > FUSE_NAME_BYTES)
        return -ENAMETOOLONG;
    return notify_iov(fd, (int)code, iov, name ? 4 : 2);
}

int fuse_notify_prune(int fd, const uint64_t *nodeids, uint32_t n)
{
    struct fuse_notify_prune_head arg = {.count = n};
    struct iovec iov[] = {
        {0},
        {.iov_base = &arg, .iov_len = sizeof(arg)},
        {.iov_base = (void *)nodeids, .iov_len = n * sizeof(*nodeids)},
    };

    return notify_iov(fd, FUSE_NOTIFY_PRUNE_CODE, iov, 3);
}

int fuse_notify_inval_inode(int fd, uint64_t nodeid, int64_t off, int64_t len)
{
    struct fuse_notify_inval_inode_out arg = {.ino = nodeid, .off = off, .len = len};

    return notify(fd, FUSE_NOTIFY_INVAL_INODE, &arg, sizeof(arg), NULL, 0);
}

static int inval_entry(int fd, uint64_t parent, const char *name, size_t name_len, uint32_t flags)
{
    struct fuse_notify_inval_entry_out arg = {
        .parent = parent, .namelen = (uint32_t)name_len, .flags = flags};

    return notify(fd, FUSE_NOTIFY_INVAL_ENTRY, &arg, sizeof(arg), name, name_len);
}

int fuse_notify_inval_entry(int fd, uint64_t parent, const char *name, size_t name_len)
{
    return inval_entry(fd, parent, name, name_len, 0);
}

int fuse_notify_expire_entry(int fd, uint64_t parent, const char *name, size_t name_len)
{
    return inval_entry(fd, parent, name, name_len, FUSE_EXPIRE_ONLY);
}
