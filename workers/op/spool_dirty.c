/* Has what was written to spool files written back, before a cgroup is full of it. Who wrote it:
 * spool.c. */
#include "workers/op/spool_dirty.h"

#include <fcntl.h>

#define PART_OF_LIMIT 16 /* twice that are dirty or being written back: see the header */
#define STEP_MIN (UINT64_C(256) << 10)
#define PAGE UINT64_C(4096)

uint64_t spool_dirty_max(uint64_t limit, uint32_t workers)
{
    uint64_t step = workers ? limit / PART_OF_LIMIT / workers : 0;

    return !limit || !workers ? 0 : step < STEP_MIN ? STEP_MIN : step;
}

/* A failure to write back is no concern of the write that ends the step: the kernel keeps it for
 * the file, and would have met it later by itself. */
static void each(const struct spool_dirty_step *step, unsigned how)
{
    for (uint32_t i = 0; i < step->n; i++)
        (void)!sync_file_range(step->fd[i], 0, 0, how);
}

static void add_file(struct spool_dirty_step *step, int fd)
{
    for (uint32_t i = step->n; i-- > 0;) {
        if (step->fd[i] == fd)
            return;
    }
    step->fd[step->n++] = fd;
}

void spool_dirty(struct spool_dirty *d, uint64_t max, int fd, size_t len)
{
    if (!max || !len)
        return;
    add_file(&d->now, fd);
    d->now.bytes += (len + 2 * PAGE - 2) / PAGE * PAGE; /* it may begin and end within pages */
    if (d->now.bytes < max && d->now.n < SPOOL_DIRTY_FILES)
        return;
    each(&d->before, SYNC_FILE_RANGE_WAIT_BEFORE);
    each(&d->now, SYNC_FILE_RANGE_WRITE);
    d->before = d->now;
    d->now.n = 0;
    d->now.bytes = 0;
}
