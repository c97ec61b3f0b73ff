/* Notifications to the kernel: drop what is cached.
 *
 * They can deadlock when written by a process that serves requests: INVAL_ENTRY
 * takes the parent's inode lock (fs/fuse/dir.c, fuse_reverse_inval_entry), which the kernel
 * holds during LOOKUP, CREATE, UNLINK and RENAME in that directory; INVAL_INODE waits for
 * folios that are locked by READs in flight (fs/fuse/inode.c, fuse_reverse_inval_inode). If
 * the request that holds the lock is one that the writer would have to answer, both wait for
 * ever. So only a process that answers nothing, and for which nobody waits, may call these.
 *
 * All return 0 or -errno; -ENOENT (also -ENOTDIR): the kernel has no such thing cached, as
 * good as done. */
#ifndef FUSE_FUSE_NOTIFY_H
#define FUSE_FUSE_NOTIFY_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "fuse/fuse_abi.h"

/* Drops the attributes of a node, and its pages from `off` on, `len` bytes (0 = to the end).
 * off < 0: the attributes only. */
must_use int fuse_notify_inval_inode(int fd, uint64_t nodeid, int64_t off, int64_t len);

/* Drops the names of these nodes that nobody uses; FORGETs follow. Takes no directory's lock.
 * -EINVAL: the kernel is older than Linux 6.18 (or n is 0). */
must_use int fuse_notify_prune(int fd, const uint64_t *nodeids, uint32_t n);

/* Drops a name in a directory; the kernel FORGETs what it led to when nothing else holds it. */
must_use int fuse_notify_inval_entry(int fd, uint64_t parent, const char *name, size_t name_len);

/* The same, but only its validity ends: the next use looks up again, and what is in use below
 * stays. Only where FUSE_HAS_EXPIRE_ONLY was negotiated: kernels without it do as for
 * inval_entry. */
must_use int fuse_notify_expire_entry(int fd, uint64_t parent, const char *name, size_t name_len);

#endif
