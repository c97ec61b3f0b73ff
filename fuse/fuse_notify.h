/* Notifications to the kernel: drop cached data.
 *
 * They can deadlock if a process that serves requests writes them: INVAL_ENTRY takes the parent's
 * inode lock (fs/fuse/dir.c, fuse_reverse_inval_entry), which the kernel holds during LOOKUP,
 * CREATE, UNLINK and RENAME in that directory; INVAL_INODE waits for folios that are locked by
 * READs in flight (fs/fuse/inode.c, fuse_reverse_inval_inode). If the writer would have to reply to
 * the request that holds the lock, both wait forever. So only a process that serves no request, and
 * for which nothing waits, may call these.
 *
 * All return 0 or -errno; -ENOENT (also -ENOTDIR): the kernel has nothing of it cached, as good as
 * success. */
#ifndef FUSE_FUSE_NOTIFY_H
#define FUSE_FUSE_NOTIFY_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "fuse/fuse_abi.h"

/* Drops the attributes of a node, and its pages from `off` on, `len` bytes (0 = to the end).
 * off < 0: the attributes only. */
must_use int fuse_notify_inval_inode(int fd, uint64_t nodeid, int64_t off, int64_t len);

/* Drops unused dentries of these nodes; FORGETs follow. Takes no directory lock. -EINVAL: the
 * kernel is older than Linux 6.18 (or n is 0). */
must_use int fuse_notify_prune(int fd, const uint64_t *nodeids, uint32_t n);

/* Drops a name in a directory; the kernel sends FORGET for its node if nothing else holds it. */
must_use int fuse_notify_inval_entry(int fd, uint64_t parent, const char *name, size_t name_len);

/* The same, but only its validity ends: the next use looks it up again, and what is in use below
 * stays. Only if FUSE_HAS_EXPIRE_ONLY was negotiated: other kernels treat it as inval_entry. */
must_use int fuse_notify_expire_entry(int fd, uint64_t parent, const char *name, size_t name_len);

#endif
