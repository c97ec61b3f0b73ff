/* Takes over what a dead worker left in its slot. */
#ifndef WORKERS_PROCESS_RECOVER_H
#define WORKERS_PROCESS_RECOVER_H

#include "workers/op/worker.h"

/* Call it before the first request is read: frees what the previous worker of the slot held (jobs,
 * blocks, counted nodes), sends the stored replies, and replays the requests in flight. Does
 * nothing in a fresh slot. */
void recover(struct worker *w);

#endif
