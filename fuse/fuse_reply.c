/* Writes replies. The kernel's rules are in fs/fuse/dev.c, fuse_dev_do_write: the length in the
 * header must be that of the whole write, an error has no data, and data must be exactly as long as
 * the reply to the request requires (READ, READDIR, READLINK, xattrs: at most the requested
 * length). */
#include "fuse/fuse_reply.h"

#include <errno.h>
#include <string.h>

static int send_out(int fd, const struct iovec *iov, unsigned n_iov, size_t total)
{
    ssize_t n;

    do
        n = writev(fd, iov, (int)n_iov);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return -errno;
    return (size_t)n == total ? 0 : -EIO;
}

int fuse_reply_err(int fd, uint64_t unique, int error)
{
    struct fuse_out_header out = {.len = sizeof(out), .error = error, .unique = unique};
    struct iovec iov = {.iov_base = &out, .iov_len = sizeof(out)};

    /* 0 would be a notification, with `error` as its code. */
    if (unique == 0)
        return -EINVAL;
    return send_out(fd, &iov, 1, sizeof(out));
}

int fuse_reply_buf(int fd, uint64_t unique, const void *data, size_t len)
{
    struct iovec iov = {.iov_base = (void *)data, .iov_len = len};

    return fuse_reply_data(fd, unique, &iov, 1);
}

int fuse_reply_data(int fd, uint64_t unique, const struct iovec *iov, unsigned n_iov)
{
    struct iovec all[1 + FUSE_REPLY_IOV];
    struct fuse_out_header out = {.unique = unique};
    size_t total = sizeof(out);

    if (unique == 0 || n_iov > FUSE_REPLY_IOV)
        return -EINVAL;
    for (unsigned i = 0; i < n_iov; i++) {
        if (iov[i].iov_len > UINT32_MAX - total)
            return -EINVAL;
        total += iov[i].iov_len;
        all[1 + i] = iov[i];
    }
    out.len = (uint32_t)total;
    all[0].iov_base = &out;
    all[0].iov_len = sizeof(out);
    return send_out(fd, all, 1 + n_iov, total);
}

size_t fuse_dirent_size(size_t name_len)
{
    return FUSE_DIRENT_ALIGN(FUSE_NAME_OFFSET + name_len);
}

size_t fuse_direntplus_size(size_t name_len)
{
    return FUSE_DIRENT_ALIGN(FUSE_NAME_OFFSET_DIRENTPLUS + name_len);
}

/* The padding is zeroed: it is sent to the kernel, and the memory may have contained anything. */
static void reply_put_name(struct fuse_dirent *d, uint64_t ino, uint64_t off, uint32_t type,
                           const char *name, size_t name_len)
{
    size_t padded = fuse_dirent_size(name_len) - FUSE_NAME_OFFSET;

    d->ino = ino;
    d->off = off;
    d->namelen = (uint32_t)name_len;
    d->type = type;
    memcpy(d->name, name, name_len);
    memset(d->name + name_len, 0, padded - name_len);
}

bool fuse_dirent_put(void *buf, size_t cap, size_t *used, uint64_t ino, uint64_t off, uint32_t type,
                     const char *name, size_t name_len)
{
    size_t size = fuse_dirent_size(name_len);

    if (*used > cap || size > cap - *used)
        return false;
    reply_put_name((struct fuse_dirent *)(void *)((char *)buf + *used), ino, off, type, name,
                   name_len);
    *used += size;
    return true;
}

bool fuse_direntplus_put(void *buf, size_t cap, size_t *used, uint64_t ino, uint64_t off,
                         uint32_t type, const char *name, size_t name_len,
                         const struct fuse_entry_out *entry)
{
    size_t size = fuse_direntplus_size(name_len);
    struct fuse_direntplus *d;

    if (*used > cap || size > cap - *used)
        return false;
    d = (struct fuse_direntplus *)(void *)((char *)buf + *used);
    d->entry_out = *entry;
    reply_put_name(&d->dirent, ino, off, type, name, name_len);
    *used += size;
    return true;
}
