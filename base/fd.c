/* Complete reads and writes. EINTR is retried here, but never for close(2). */
#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"

ssize_t fd_pread_full(int fd, void *buf, size_t len, off_t off)
{
    size_t done = 0;

    while (done < len) {
        ssize_t n = pread(fd, (char *)buf + done, len - done, off + (off_t)done);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            break;
        done += (size_t)n;
    }
    return (ssize_t)done;
}

int fd_pwrite_full(int fd, const void *buf, size_t len, off_t off)
{
    size_t done = 0;

    while (done < len) {
        ssize_t n = pwrite(fd, (const char *)buf + done, len - done, off + (off_t)done);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            return -EIO;
        done += (size_t)n;
    }
    return 0;
}

int fd_write_full(int fd, const void *buf, size_t len)
{
    size_t done = 0;

    while (done < len) {
        ssize_t n = write(fd, (const char *)buf + done, len - done);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        done += (size_t)n;
    }
    return 0;
}

ssize_t fd_read_file(const char *path, char *buf, size_t cap)
{
    cleanup_fd int fd = open(path, O_RDONLY | O_CLOEXEC);
    size_t done = 0;

    if (fd < 0)
        return -errno;
    while (done < cap) {
        ssize_t n = read(fd, buf + done, cap - done);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0) {
            buf[done] = '\0';
            return (ssize_t)done;
        }
        done += (size_t)n;
    }
    return -EFBIG;
}

int fd_set_nonblock(int fd)
{
    int flags = fcntl(fd, F_GETFL);

    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
        return -errno;
    return 0;
}

void fd_pass(struct msghdr *msg, union fd_room *room, int fd)
{
    memset(room, 0, sizeof(*room));
    room->head.cmsg_len = CMSG_LEN(sizeof(int));
    room->head.cmsg_level = SOL_SOCKET;
    room->head.cmsg_type = SCM_RIGHTS;
    memcpy(CMSG_DATA(&room->head), &fd, sizeof(int));
    msg->msg_control = room;
    msg->msg_controllen = sizeof(*room);
}

void fd_event_set(int fd)
{
    uint64_t one = 1;

    /* EAGAIN: the counter is full, so the reader is woken anyway. */
    if (write(fd, &one, sizeof(one)) < 0)
        return;
}

void fd_event_clear(int fd)
{
    uint64_t v;

    if (read(fd, &v, sizeof(v)) < 0)
        return;
}
