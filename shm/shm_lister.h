/* Who has just listed a directory. A thread that then looks at each name (`ls -l`, find, du) may be
 * answered from the listing, as long as it does nothing else in between. Any other lookup asks S3,
 * even from a thread that has a directory open only to name files in it (openat, fstatat). */
#ifndef SHM_SHM_LISTER_H
#define SHM_SHM_LISTER_H

#include "base/clock.h"
#include "shm/shm_node.h"

/* After the directory was closed: lookups that follow each other within this time belong to its
 * listing. A program that has learned of a change meanwhile, from anywhere, is not that fast. */
#define SHM_LISTER_GAP_NS NS_PER_MS

/* All require shm->meta to be held, and do nothing for an unknown thread (0). A slot may be
 * overwritten by another thread or directory: then S3 is asked, that is all. */

/* Thread `pid` reads the directory, through this handle. */
void shm_lister_reads(struct shm *shm, uint32_t pid, uint32_t dir, uint64_t fh, uint64_t now_ns);

/* The handle of `pid` on the directory is closed. */
void shm_lister_closed(struct shm *shm, uint32_t pid, uint32_t dir, uint64_t fh, uint64_t now_ns);

/* A LOOKUP by `pid` in the directory: true if it belongs to its listing, which it has read not
 * longer than `ttl_ns` ago. */
bool shm_lister_looks(struct shm *shm, uint32_t pid, uint32_t dir, uint64_t now_ns,
                      uint64_t ttl_ns);

#endif
