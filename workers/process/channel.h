/* Reading requests from the kernel. */
#ifndef WORKERS_PROCESS_CHANNEL_H
#define WORKERS_PROCESS_CHANNEL_H

#include "workers/op/worker.h"

/* Watches the channel. Reads until EAGAIN first: a wake-up may have died with the worker that got
 * it.
 * 0 or -errno. */
must_use int channel_start(struct worker *w);

#endif
