/* Attributes of nodes, and for how long they hold. */
#ifndef WORKERS_ATTR_NODE_ATTR_H
#define WORKERS_ATTR_NODE_ATTR_H

#include "workers/op/worker.h"

/* Bits of a mode that are kept. Set-user-id and set-group-id are not: FUSE_HANDLE_KILLPRIV_V2 was
 * negotiated, which leaves it to us to drop them at each write, and what was never kept need not be
 * dropped. */
#define NODE_MODE_BITS 01777u

/* As stat(2) has them. */
struct node_attr {
    uint64_t ino;
    uint64_t size;
    int64_t mtime_ns; /* wall clock */
    uint32_t mode;    /* with the type */
    uint32_t nlink;
    uint32_t uid;
    uint32_t gid;
};

/* Under shm->meta. A node with a write session has the session's size and time. */
void node_attr(struct worker *w, uint32_t node, struct node_attr *ret);

/* Under shm->meta. For how long they hold from now on, in ns. */
uint64_t node_attr_valid_ns(const struct worker *w, uint32_t node);

#endif
