/* Who has just listed a directory. A thread that then looks at each name (`ls -l`, find, du) may be
 * answered from the listing, as long as it does nothing else in between. Any other lookup asks S3,
 * even from a thread that has a directory open only to name files in it (openat, fstatat). */
#ifndef SHM_SHM_LISTER_H
#define SHM_SHM_LISTER_H

#include "base/clock.h"
#include "shm/shm_node.h"

/* What follows a read of the directory, or a look at one of its names, as fast as this belongs to
 * its listing. A program that has heard of a change meanwhile, from whomever, has not been that
 * fast. */
#define SHM_LISTER_GAP_NS NS_PER_MS

/* All require shm->meta to be held, and do nothing for an unknown thread (0). A slot may be
 * overwritten by another thread or directory: then S3 is asked, that is all. */

/* Thread `pid` reads the directory, through this handle. */
void shm_lister_reads(struct shm *shm, uint32_t pid, uint32_t dir, uint64_t fh, uint64_t now_ns);

/* The handle of `pid` on the directory is closed. (The kernel tells that late, and not as long as
 * another process has the same open file.) */
void shm_lister_closed(struct shm *shm, uint32_t pid, uint32_t dir, uint64_t fh);

enum shm_lister_look {
    SHM_LISTER_NO,
    SHM_LISTER_YES,
    SHM_LISTER_IF_OPEN, /* it has paused: only if it still has the directory open */
};

/* A LOOKUP by `pid` in the directory: whether it belongs to its listing, which it has read, or
 * looked at, not longer ago than `ttl_ns`. `is_open`: it was seen to have the directory open. */
enum shm_lister_look shm_lister_looks(struct shm *shm, uint32_t pid, uint32_t dir, bool is_open,
                                      uint64_t now_ns, uint64_t ttl_ns);

#endif
