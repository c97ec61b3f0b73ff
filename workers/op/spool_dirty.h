/* What workers write to files of buffer.dir is in the page cache until the kernel writes it back,
 * and counts as memory of the cgroup. The kernel begins by itself when a part of the machine's
 * memory is dirty; within a limit far below that, a cgroup (of version 1 above all) is full of
 * pages that cannot be taken back, and the OOM killer ends a worker. So each worker has what it
 * wrote written back in steps, and waits for the step before. */
#ifndef WORKERS_OP_SPOOL_DIRTY_H
#define WORKERS_OP_SPOOL_DIRTY_H

#include <stddef.h>
#include <stdint.h>

#define SPOOL_DIRTY_FILES 32 /* in a step */

struct spool_dirty_step {
    uint64_t bytes; /* written, in whole pages */
    uint32_t n;
    int fd[SPOOL_DIRTY_FILES];
};

struct spool_dirty {
    struct spool_dirty_step now;    /* written since the last step */
    struct spool_dirty_step before; /* is being written back */
};

/* How much each of so many workers may write before it has it written back, within `limit` bytes of
 * memory of the cgroup; 0 = as much as it likes, for there is no limit. All workers together then
 * have at most an eighth of the limit in pages that cannot be taken back. */
uint64_t spool_dirty_max(uint64_t limit, uint32_t workers);

/* `len` bytes were written to this file. At the end of a step it waits for the disk. `max`: of
 * spool_dirty_max. */
void spool_dirty(struct spool_dirty *d, uint64_t max, int fd, size_t len);

#endif
