/* Attributes of nodes, and how long they are valid. */
#ifndef WORKERS_ATTR_NODE_ATTR_H
#define WORKERS_ATTR_NODE_ATTR_H

#include "workers/op/worker.h"

/* Mode bits that are kept. Set-user-id is not, and set-group-id only of directories, whose entries
 * then get their group: with FUSE_HANDLE_KILLPRIV_V2, which was negotiated, we would have to clear
 * them at each write; bits that are never kept need no clearing. */
static inline uint32_t node_mode_bits(bool dir)
{
    return dir ? 03777 : 01777;
}

/* As in stat(2). */
struct node_attr {
    uint64_t ino;
    uint64_t size;
    int64_t atime_ns, mtime_ns, ctime_ns; /* wall clock */
    uint32_t mode;                        /* with the type */
    uint32_t nlink;
    uint32_t uid;
    uint32_t gid;
    uint32_t rdev; /* of a device, in the kernel's form */
};

/* Under shm->meta. A node with a write session has the session's size and time. */
void node_attr(struct worker *w, uint32_t node, struct node_attr *ret);

/* Under shm->meta. The group of a new entry of this directory that the caller makes: the
 * directory's if that has the set-group-ID bit (as far as its metadata are known here), else the
 * caller's. As it is stored in a node: SHM_MODE_UNSET for the configured one. *ret_bit (may be
 * NULL): the bit that a new directory gets, too. */
uint32_t node_attr_new_group(const struct worker *w, uint32_t dir, uint32_t caller_gid,
                             uint32_t *ret_bit);

/* Under shm->meta. How long the attributes are valid from now on, in ns. */
uint64_t node_attr_valid_ns(const struct worker *w, uint32_t node);

#endif
