/* Reads requests from the kernel. */
#ifndef WORKERS_PROCESS_CHANNEL_H
#define WORKERS_PROCESS_CHANNEL_H

#include "workers/op/worker.h"

/* Starts to watch the channel. First reads the requests that are already waiting, as their wake-up
 * may have been lost with the worker that got it. 0 or -errno. */
must_use int channel_start(struct worker *w);

#endif
