/* Attributes and validities. A file node is one version, so its attributes hold as long as the
 * node: what changes them on this mount goes through the kernel, and what another machine publishes
 * gets another node. Only the *name* must be asked for each time. */
#include "workers/attr/node_attr.h"

#include <sys/stat.h>

#include "base/clock.h"
#include "fuse/fuse_attr.h"
#include "shm/shm_notify.h"
#include "shm/shm_session.h"
#include "workers/attr/meta_ask.h"

#define FILE_ATTR_VALID_NS (3600 * NS_PER_S)
#define BLKSIZE (1u << 20) /* st_blksize: cp and cat use it as buffer size */

static uint32_t mode_of(const struct worker *w, const struct shm_node *n)
{
    bool dir = n->flags & SHM_NODE_DIR;
    mode_t configured = dir ? w->conf->mount.dir_mode : w->conf->mount.file_mode;
    uint32_t mode = n->mode == SHM_MODE_UNSET ? configured : n->mode & NODE_MODE_BITS;

    if (n->flags & SHM_NODE_LINK)
        return S_IFLNK | 0777;
    return mode | (dir ? S_IFDIR : S_IFREG);
}

void node_attr(struct worker *w, uint32_t node, struct fuse_attr *ret)
{
    const struct shm_node *n = shm_node_at(w->shm, node);
    struct fuse_attr_src src = {
        .ino = n->ino,
        .size = n->flags & SHM_NODE_DIR ? 4096 : n->size,
        .mtime_ns = n->mtime_ns,
        .mode = mode_of(w, n),
        .nlink = n->flags & SHM_NODE_DIR ? 2 : 1,
        .uid = n->uid == SHM_MODE_UNSET ? w->conf->mount.uid : n->uid,
        .gid = n->gid == SHM_MODE_UNSET ? w->conf->mount.gid : n->gid,
        .blksize = BLKSIZE,
    };

    if (n->session != SHM_NIL) {
        src.size = shm_session_at(w->shm, n->session)->size;
        src.mtime_ns = shm_session_at(w->shm, n->session)->mtime_ns;
    }
    if ((n->flags & SHM_NODE_DIR) && !src.mtime_ns)
        src.mtime_ns = (int64_t)w->shm->header->started_ns;
    src.atime_ns = src.ctime_ns = src.mtime_ns;
    fuse_attr_fill(ret, &src);
}

/* A LIST says that a directory is there, and nothing of its metadata. The first LOOKUP of it is to
 * cost no more than that, with default_permissions too, where the kernel looks at the mode of each
 * directory on its way: until directories.ttl is over it is as configured. The next LOOKUP then
 * makes the kernel ask, and one HEAD tells them, once (op_attr.c: not while it is open). */
static uint64_t attr_valid(const struct worker *w, uint32_t node)
{
    const struct shm_node *n = shm_node_at(w->shm, node);

    /* with isolation one file's attributes are known by several nodes */
    if (!(n->flags & SHM_NODE_DIR))
        return w->variant->isolates && !(n->flags & SHM_NODE_LINK) ? 0 : FILE_ATTR_VALID_NS;
    return (n->flags & SHM_NODE_ASK) && !n->opens && meta_is_unknown(w, n)
               ? 0
               : w->conf->directories.ttl_ns;
}

void node_attr_out(struct worker *w, uint32_t node, struct fuse_attr_out *ret)
{
    fuse_attr_out_fill(ret, attr_valid(w, node));
    node_attr(w, node, &ret->attr);
}

void node_entry_out(struct worker *w, uint32_t node, struct fuse_entry_out *ret)
{
    bool dir = shm_node_at(w->shm, node)->flags & SHM_NODE_DIR;

    fuse_entry_fill(ret, shm_node_id(w->shm, node), 0, dir ? w->conf->directories.ttl_ns : 0,
                    attr_valid(w, node));
    node_attr(w, node, &ret->attr);
}

uint32_t node_open_flags(struct worker *w, uint32_t node)
{
    return shm_notify_stale(w->shm, node) ? 0 : FOPEN_KEEP_CACHE;
}
