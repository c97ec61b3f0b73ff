/* Taking over what a dead worker left in its slot. */
#ifndef WORKERS_PROCESS_RECOVER_H
#define WORKERS_PROCESS_RECOVER_H

#include "workers/op/worker.h"

/* Before the first request is read: frees what the predecessor held (jobs, blocks, counted nodes),
 * sends the answers that are stored, begins what was in flight again. Does nothing in a fresh slot.
 * */
void recover(struct worker *w);

#endif
