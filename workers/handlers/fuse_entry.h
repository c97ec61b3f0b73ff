/* What the kernel is told of a node: attributes, entries, flags of an open. */
#ifndef WORKERS_HANDLERS_FUSE_ENTRY_H
#define WORKERS_HANDLERS_FUSE_ENTRY_H

#include "fuse/fuse_abi.h"
#include "workers/op/worker.h"

/* All under shm->meta. */
void fuse_entry_attr(struct worker *w, uint32_t node, struct fuse_attr_out *ret);

/* The answer to LOOKUP, CREATE, MKDIR: a file's name holds for no time (each open asks), a
 * directory's for directories.ttl. */
void fuse_entry_out(struct worker *w, uint32_t node, struct fuse_entry_out *ret);

/* What OPEN and CREATE answer: the pages that the kernel has of the node are kept (a node is one
 * version), unless they are of bytes that were discarded. */
uint32_t fuse_entry_open_flags(struct worker *w, uint32_t node);

#endif
