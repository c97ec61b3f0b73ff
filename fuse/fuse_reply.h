/* Replies to the kernel, written to any copy of the mount's descriptor. One write(2) each; they do
 * not block.
 *
 * All return 0 or -errno:
 *   -ENOENT  the kernel no longer knows the request (it has a reply, was interrupted, or the
 *            connection was aborted or unmounted): harmless
 *   -EINVAL  the reply does not fit the request (too long, or a bad error number): our bug
 *   -EFAULT  a page of the reply could not be read; the kernel ended the request with EIO
 *   -ENODEV, -EPERM  the descriptor has no mount (any more)
 */
#ifndef FUSE_FUSE_REPLY_H
#define FUSE_FUSE_REPLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/err.h"
#include "fuse/fuse_abi.h"

#define FUSE_REPLY_IOV 64 /* maximum number of pieces of one reply */

/* `error` is 0 (success without data) or -errno. */
must_use int fuse_reply_err(int fd, uint64_t unique, int error);

must_use int fuse_reply_buf(int fd, uint64_t unique, const void *data, size_t len);

/* Up to FUSE_REPLY_IOV pieces. */
must_use int fuse_reply_data(int fd, uint64_t unique, const struct iovec *iov, unsigned n_iov);

/* Bytes that an entry with a name of `name_len` takes in a reply to READDIR, READDIRPLUS. */
size_t fuse_dirent_size(size_t name_len);
size_t fuse_direntplus_size(size_t name_len);

/* Appends an entry at buf + *used (8-byte aligned) and advances *used; false, and no change, if it
 * does not fit into `cap`. `off` is where reading continues *after* this entry (never 0), `type` is
 * DT_REG or DT_DIR. An empty reply means the end of the directory. */
must_use bool fuse_dirent_put(void *buf, size_t cap, size_t *used, uint64_t ino, uint64_t off,
                              uint32_t type, const char *name, size_t name_len);

/* The same with the reply that a LOOKUP of the name would get. The kernel counts a lookup of
 * entry->nodeid, unless that is 0 (here it means "no attributes", not "no such name") or the name
 * is "." or "..". */
must_use bool fuse_direntplus_put(void *buf, size_t cap, size_t *used, uint64_t ino, uint64_t off,
                                  uint32_t type, const char *name, size_t name_len,
                                  const struct fuse_entry_out *entry);

#endif
