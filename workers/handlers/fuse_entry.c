/* What the kernel gets about a node: see fuse_entry.h. */
#include "workers/handlers/fuse_entry.h"

#include "fuse/fuse_attr.h"
#include "shm/shm_notify.h"
#include "workers/attr/node_attr.h"

#define BLKSIZE (1u << 20) /* st_blksize: cp and cat use it as buffer size */

static void attr_of(struct worker *w, uint32_t node, struct fuse_attr *ret)
{
    struct node_attr a;
    struct fuse_attr_src src;

    node_attr(w, node, &a);
    src = (struct fuse_attr_src){
        .ino = a.ino,
        .size = a.size,
        .atime_ns = a.atime_ns,
        .mtime_ns = a.mtime_ns,
        .ctime_ns = a.ctime_ns,
        .mode = a.mode,
        .nlink = a.nlink,
        .uid = a.uid,
        .gid = a.gid,
        .rdev = a.rdev,
        .blksize = BLKSIZE,
    };
    fuse_attr_fill(ret, &src);
}

void fuse_entry_attr(struct worker *w, uint32_t node, struct fuse_attr_out *ret)
{
    fuse_attr_out_fill(ret, node_attr_valid_ns(w, node));
    attr_of(w, node, &ret->attr);
}

void fuse_entry_out(struct worker *w, uint32_t node, struct fuse_entry_out *ret)
{
    bool dir = shm_node_at(w->shm, node)->flags & SHM_NODE_DIR;

    fuse_entry_fill(ret, shm_node_id(w->shm, node), 0, dir ? w->conf->directories.ttl_ns : 0,
                    node_attr_valid_ns(w, node));
    attr_of(w, node, &ret->attr);
}

uint32_t fuse_entry_open_flags(struct worker *w, uint32_t node)
{
    return shm_notify_stale(w->shm, node) ? 0 : FOPEN_KEEP_CACHE;
}

uint32_t fuse_entry_write_flags(struct worker *w, uint32_t node)
{
    if (w->variant->streams)
        return FOPEN_DIRECT_IO | FOPEN_NONSEEKABLE;
    return fuse_entry_open_flags(w, node);
}
