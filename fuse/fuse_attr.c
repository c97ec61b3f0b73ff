/* Fills attributes and entries: splits times, computes block counts. */
#include "fuse/fuse_attr.h"

#include <string.h>

#include "base/clock.h"

#define BLKSIZE_DEFAULT 4096u

/* Rounds down, so that the nanoseconds are never negative. */
static void split_time(int64_t ns, uint64_t *ret_sec, uint32_t *ret_nsec)
{
    int64_t sec = ns / (int64_t)NS_PER_S;
    int64_t rest = ns % (int64_t)NS_PER_S;

    if (rest < 0) {
        rest += (int64_t)NS_PER_S;
        sec--;
    }
    *ret_sec = (uint64_t)sec;
    *ret_nsec = (uint32_t)rest;
}

void fuse_attr_fill(struct fuse_attr *ret, const struct fuse_attr_src *src)
{
    memset(ret, 0, sizeof(*ret));
    ret->ino = src->ino;
    ret->size = src->size;
    ret->blocks = src->size / 512 + (src->size % 512 != 0);
    split_time(src->atime_ns, &ret->atime, &ret->atimensec);
    split_time(src->mtime_ns, &ret->mtime, &ret->mtimensec);
    split_time(src->ctime_ns, &ret->ctime, &ret->ctimensec);
    ret->mode = src->mode;
    ret->nlink = src->nlink;
    ret->uid = src->uid;
    ret->gid = src->gid;
    ret->rdev = src->rdev;
    ret->blksize = src->blksize ? src->blksize : BLKSIZE_DEFAULT;
}

void fuse_entry_fill(struct fuse_entry_out *ret, uint64_t nodeid, uint64_t generation,
                     uint64_t entry_valid_ns, uint64_t attr_valid_ns)
{
    ret->nodeid = nodeid;
    ret->generation = generation;
    ret->entry_valid = entry_valid_ns / NS_PER_S;
    ret->entry_valid_nsec = (uint32_t)(entry_valid_ns % NS_PER_S);
    ret->attr_valid = attr_valid_ns / NS_PER_S;
    ret->attr_valid_nsec = (uint32_t)(attr_valid_ns % NS_PER_S);
}

void fuse_attr_out_fill(struct fuse_attr_out *ret, uint64_t attr_valid_ns)
{
    ret->attr_valid = attr_valid_ns / NS_PER_S;
    ret->attr_valid_nsec = (uint32_t)(attr_valid_ns % NS_PER_S);
    ret->dummy = 0;
}
