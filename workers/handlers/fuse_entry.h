/* What the kernel gets about a node: attributes, entries, flags of an open. */
#ifndef WORKERS_HANDLERS_FUSE_ENTRY_H
#define WORKERS_HANDLERS_FUSE_ENTRY_H

#include "fuse/fuse_abi.h"
#include "workers/op/worker.h"

/* All under shm->meta. */
void fuse_entry_attr(struct worker *w, uint32_t node, struct fuse_attr_out *ret);

/* The entry in the reply to LOOKUP, CREATE, MKDIR. The name of a file is not valid for any time
 * (each open asks again), that of a directory for directories.ttl. */
void fuse_entry_out(struct worker *w, uint32_t node, struct fuse_entry_out *ret);

/* The flags in the reply to OPEN and CREATE: the kernel keeps its cached pages of the node (a node
 * is one version), unless they hold bytes that were discarded. */
uint32_t fuse_entry_open_flags(struct worker *w, uint32_t node);

/* The same for a descriptor that is open for writing: a stream has no position to seek to. */
uint32_t fuse_entry_write_flags(struct worker *w, uint32_t node);

#endif
