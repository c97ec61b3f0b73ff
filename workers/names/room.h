/* Room in the node table, when the kernel holds almost all nodes. */
#ifndef WORKERS_NAMES_ROOM_H
#define WORKERS_NAMES_ROOM_H

#include "workers/op/worker.h"

/* Not under a lock. Few nodes are left that could be given to new names: asks the kernel,
 * through the notifier, to forget some that nobody uses. Cheap when there is room. To be called
 * after nodes were made. */
void room_keep(struct worker *w);

/* Not under a lock. The same at once: no node could be had (-ENOMEM). Nodes come back with the
 * kernel's FORGETs: try again every ROOM_RETRY_NS, up to ROOM_TRIES times. */
void room_make(struct worker *w);

#define ROOM_RETRY_NS (2 * UINT64_C(1000000))
#define ROOM_TRIES 50

/* Nodes have just been asked back. (The kernel doubts attributes that it is told while it gives
 * nodes back, and asks for them again.) */
bool room_was_made(const struct worker *w);

#endif
