/* Who has just listed a directory: a thread that goes on to look at each name (`ls -l`, find, du)
 * may be answered by what the listing said, as long as it does nothing else in between. Whoever
 * else asks for a name is answered by S3, also who has a directory open only to name files in it
 * (openat, fstatat). */
#ifndef SHM_SHM_LISTER_H
#define SHM_SHM_LISTER_H

#include "shm/shm_node.h"

/* What follows a read of the directory, or a look at one of its names, as fast as this belongs to
 * its listing. A program that has heard of a change meanwhile, from whomever, has not been that
 * fast. */
#define SHM_LISTER_GAP_NS UINT64_C(1000000)

/* All want shm->meta held, and do nothing for a thread that is not known (0). A slot may be lost to
 * another thread or directory: then S3 is asked, no more. */

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
