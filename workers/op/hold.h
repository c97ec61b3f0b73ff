/* Holding names: an op that publishes, moves or removes a key holds its node, so that nothing else
 * is done to it meanwhile, and nothing above it is moved. */
#ifndef WORKERS_OP_HOLD_H
#define WORKERS_OP_HOLD_H

#include "workers/op/key.h"
#include "workers/op/op.h"

/* Under shm->meta. Marks the node as held by this op: no publish begins on it or below it
 * meanwhile, and it is not evicted. False: another op holds it, or a publish runs on it (the op is
 * noted to be woken): wait. The mark is to be noted by the caller in op->rec (op_edit). */
must_use bool hold_take(struct op *op, uint32_t node);

/* Under shm->meta. Gives the mark back; wake everybody (worker_wake(w, HOLD_WAKE_ALL)) after
 * unlocking. */
void hold_release(struct op *op, uint32_t node);
#define HOLD_WAKE_ALL UINT32_MAX

/* Not under a lock: gives back the marks that are noted in op->rec (node, and target of a rename).
 * */
void hold_give_back(struct op *op);

/* Under shm->meta. True if the node or a directory above it is held by another op than `tag`; not
 * so what lies above the node that `tag` holds: who took that later waits (hold_is_taken_below). */
must_use bool hold_is_taken(struct worker *w, uint32_t node, uint32_t tag);

/* For ops that make or remove a key of this name in op_node() and hold no node (mkdir, rmdir): from
 * now on until the op ends a rename of the directory, or of one above, waits for it
 * (hold_is_taken_below); to wake that is the caller's. 1 and `key`; 0: such a rename is under way,
 * wait; -ESTALE, -ENAMETOOLONG, -EINVAL. A replayed op that was in before does not wait. */
must_use int hold_enter(struct op *op, const char *name, size_t len, char key[KEY_CAP]);

/* Under shm->meta. True if an op holds something below this directory, or has entered it. Who has
 * taken the directory to move its keys waits for it: its DELETE, or its copy, would be of a key
 * that has moved. */
must_use bool hold_is_taken_below(struct worker *w, uint32_t dir);

/* Under shm->meta. True: a publish of it runs, which would not carry a change of metadata any more.
 * Wait: this worker is woken when it ends. */
must_use bool hold_is_publishing(struct worker *w, uint32_t session);

#endif
