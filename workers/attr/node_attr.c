/* Attributes and their validity. A file node is one version, so its attributes are valid as long as
 * the node: changes on this mount go through the kernel, and a version published by another machine
 * gets another node. Only the *name* must be checked each time. */
#include "workers/attr/node_attr.h"

#include <sys/stat.h>

#include "base/clock.h"
#include "shm/shm_session.h"
#include "workers/attr/meta_ask.h"

#define DIR_SIZE 4096 /* the size of directories on other file systems */
#define FILE_ATTR_VALID_NS (3600 * NS_PER_S)

static uint32_t mode_of(const struct worker *w, const struct shm_node *n)
{
    bool dir = n->flags & SHM_NODE_DIR;
    mode_t configured = dir ? w->conf->mount.dir_mode : w->conf->mount.file_mode;
    uint32_t mode = n->mode == SHM_MODE_UNSET ? configured : n->mode & node_mode_bits(dir);
    uint32_t type = shm_node_type(n);

    if (type == S_IFLNK)
        return S_IFLNK | 0777;
    return mode | (type ? type : dir ? S_IFDIR : S_IFREG);
}

/* The names that it has here: a file that was replaced elsewhere counts as one that has its own. */
static uint32_t links_of(const struct worker *w, const struct shm_node *n)
{
    if (n->no_name ||
        (n->session != SHM_NIL && shm_session_is_nameless(shm_session_at(w->shm, n->session))))
        return 0;
    return n->flags & SHM_NODE_DIR ? 2 : 1;
}

static int64_t time_of(int64_t set_ns, int64_t mtime_ns)
{
    return set_ns == SHM_TIME_UNSET ? mtime_ns : set_ns;
}

void node_attr(struct worker *w, uint32_t node, struct node_attr *ret)
{
    const struct shm_node *n = shm_node_at(w->shm, node);
    struct node_attr a = {
        .ino = n->ino,
        .size = n->flags & SHM_NODE_DIR ? DIR_SIZE : n->size,
        .mtime_ns = n->mtime_ns,
        .mode = mode_of(w, n),
        .nlink = links_of(w, n),
        .uid = n->uid == SHM_MODE_UNSET ? w->conf->mount.uid : n->uid,
        .gid = n->gid == SHM_MODE_UNSET ? w->conf->mount.gid : n->gid,
        .rdev = n->rdev,
    };

    if (n->session != SHM_NIL) {
        a.size = shm_session_at(w->shm, n->session)->size;
        a.mtime_ns = shm_session_at(w->shm, n->session)->mtime_ns;
    }
    if ((n->flags & SHM_NODE_DIR) && !a.mtime_ns)
        a.mtime_ns = (int64_t)w->shm->header->started_ns;
    a.atime_ns = time_of(n->atime_ns, a.mtime_ns);
    a.ctime_ns = time_of(n->ctime_ns, a.mtime_ns);
    *ret = a;
}

uint32_t node_attr_new_group(const struct worker *w, uint32_t dir, uint32_t caller_gid,
                             uint32_t *ret_bit)
{
    const struct shm_node *d = shm_node_at(w->shm, dir);
    bool gives = mode_of(w, d) & S_ISGID;
    uint32_t gid = gives ? d->gid : caller_gid;

    if (ret_bit)
        *ret_bit = gives ? S_ISGID : 0;
    return gid == w->conf->mount.gid ? SHM_MODE_UNSET : gid;
}

/* A LIST shows that a directory exists, but not its metadata. The first LOOKUP of a directory must
 * not cost more than that LIST, even with default_permissions, where the kernel checks the mode of
 * each directory on the path: until directories.ttl expires, the attributes are as configured. The
 * next LOOKUP then makes the kernel request the attributes, and one HEAD gets them, once
 * (op_attr.c: not while the directory is open). */
uint64_t node_attr_valid_ns(const struct worker *w, uint32_t node)
{
    const struct shm_node *n = shm_node_at(w->shm, node);

    /* with isolation several nodes have the attributes of one file */
    if (!(n->flags & SHM_NODE_DIR))
        return w->variant->isolates && !(n->flags & SHM_NODE_TYPED) ? 0 : FILE_ATTR_VALID_NS;
    return (n->flags & SHM_NODE_ASK) && !n->opens && meta_is_unknown(w, n)
               ? 0
               : w->conf->directories.ttl_ns;
}
