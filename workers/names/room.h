/* Makes room in the node table when the kernel references almost all nodes. */
#ifndef WORKERS_NAMES_ROOM_H
#define WORKERS_NAMES_ROOM_H

#include "workers/op/op.h"

/* Not under a lock. If few nodes are left for new names: asks the kernel, through the notifier, to
 * forget some that no process uses. Cheap if there is room. Call it after nodes have been
 * created. */
void room_keep(struct worker *w);

/* Not under a lock. The same unconditionally, because no node was free (-ENOMEM). Nodes come back
 * with the kernel's FORGETs: try again every ROOM_RETRY_NS, up to ROOM_TRIES times. */
void room_make(struct worker *w);

#define ROOM_RETRY_NS (2 * UINT64_C(1000000))
#define ROOM_TRIES 50

/* Not under a lock. For a handler that is about to create a node, as its first step. Asks for room
 * before it is needed, as room_keep(). If no node is free, keeps the op (a new one), and calls
 * `then` as soon as there are some; if there are none in the end, the op gets -ENOMEM, or as
 * op_keep(). True: the op waits, or is gone. */
must_use bool room_wait(struct op *op, op_handler *then);

/* Logs, now and then, that programs hold all nodes. */
void room_tell(struct worker *w);

/* True if the kernel has just been asked to forget nodes. (While it does, it does not trust
 * attributes that it receives, and requests them again.) */
bool room_was_made(const struct worker *w);

#endif
