/* What the kernel is told of a node: attributes, entries, and for how long they hold. */
#ifndef WORKERS_ATTR_NODE_ATTR_H
#define WORKERS_ATTR_NODE_ATTR_H

#include "fuse/fuse_abi.h"
#include "workers/op/worker.h"

/* Bits of a mode that are kept. Set-user-id and set-group-id are not: FUSE_HANDLE_KILLPRIV_V2 was
 * negotiated, which leaves it to us to drop them at each write, and what was never kept need not be
 * dropped. */
#define NODE_MODE_BITS 01777u

/* All under shm->meta. A node with a write session has the session's size and time. */
void node_attr(struct worker *w, uint32_t node, struct fuse_attr *ret);
void node_attr_out(struct worker *w, uint32_t node, struct fuse_attr_out *ret);

/* The answer to LOOKUP, CREATE, MKDIR: a file's name holds for no time (each open asks), a
 * directory's for directories.ttl. */
void node_entry_out(struct worker *w, uint32_t node, struct fuse_entry_out *ret);

/* Under shm->meta. What OPEN and CREATE answer: the pages that the kernel has of the node are kept
 * (a node is one version), unless they are of bytes that were discarded. */
uint32_t node_open_flags(struct worker *w, uint32_t node);

#endif
