/* Complete reads and writes on blocking descriptors, and small helpers for descriptors. */
#ifndef BASE_FD_H
#define BASE_FD_H

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

#include "base/err.h"

/* Reads up to len bytes at off, stopping early only at end of file.
 * Returns the bytes read, or -errno of pread(2). */
must_use ssize_t fd_pread_full(int fd, void *buf, size_t len, off_t off);

/* Writes all len bytes at off. Returns 0, or -errno of pwrite(2) (ENOSPC, EIO, ...): then an
 * unknown part of the bytes was written. */
must_use int fd_pwrite_full(int fd, const void *buf, size_t len, off_t off);

/* Writes all len bytes to a stream. Returns 0 or -errno of write(2). */
must_use int fd_write_full(int fd, const void *buf, size_t len);

/* Reads a whole small file (also in /proc and /sys) and terminates it with a NUL. Returns its
 * length, -EFBIG if it does not fit into cap - 1 bytes, or -errno of open/read. */
must_use ssize_t fd_read_file(const char *path, char *buf, size_t cap);

must_use int fd_set_nonblock(int fd);

/* Room for the descriptor that a message takes along. */
union fd_room {
    struct cmsghdr head;
    char bytes[CMSG_SPACE(sizeof(int))];
};

/* The message takes `fd` along (SCM_RIGHTS), in *room, which must live until it is sent. */
void fd_pass(struct msghdr *msg, union fd_room *room, int fd);

/* Adds 1 to an eventfd. Cannot block: a full counter is as good as a set one. */
void fd_event_set(int fd);

/* Empties a non-blocking eventfd. */
void fd_event_clear(int fd);

#endif
