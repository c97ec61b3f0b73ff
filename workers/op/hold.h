/* Locking names: an op that publishes, moves or removes a key locks its node, so that no other op
 * does the same to it meanwhile, and nothing above it is moved. */
#ifndef WORKERS_OP_HOLD_H
#define WORKERS_OP_HOLD_H

#include "workers/op/key.h"
#include "workers/op/op.h"

/* Under shm->meta. Marks the node as locked by this op: until the release no publish begins on it
 * or below it, and it is not evicted. False: another op has locked it, or a publish is running on
 * it (the op will be woken): wait. The caller must note the mark in op->rec (op_edit). */
must_use bool hold_take(struct op *op, uint32_t node);

/* Under shm->meta. Removes the mark; wake all workers (worker_wake(w, HOLD_WAKE_ALL)) after
 * unlocking. */
void hold_release(struct op *op, uint32_t node);
#define HOLD_WAKE_ALL UINT32_MAX

/* Not under a lock: removes the marks that are noted in op->rec (node, and target of a rename), and
 * wakes all workers. */
void hold_give_back(struct op *op);

/* Under shm->meta. True if an op other than `tag` has locked the node or a directory above it.
 * Locks above a node that `tag` itself has locked do not count: the op that took them later waits
 * for `tag` (hold_is_taken_below). */
must_use bool hold_is_taken(struct worker *w, uint32_t node, uint32_t tag);

/* For ops that create or remove a key of this name in op_node() and lock no node (mkdir, rmdir):
 * until the op ends, a rename of the directory, or of one above, waits for it
 * (hold_is_taken_below); the caller must wake that rename. Not under a lock. 1 and `key`; 0: such a
 * rename is already under way, wait (op_wait); else the op waits no more, and stays: -ESTALE,
 * -ENAMETOOLONG, -EINVAL, -ENOTDIR. A replayed op that had entered before does not wait. */
must_use int hold_enter(struct op *op, const char *name, size_t len, char key[KEY_CAP]);

/* Under shm->meta. True if an op has locked something below this directory, or has entered the
 * directory (hold_enter) or one below it. The op that has locked the directory to move its keys
 * must wait for it: otherwise its DELETE or copy would hit a key that has moved. */
must_use bool hold_is_taken_below(struct worker *w, uint32_t dir);

/* Under shm->meta. True if a publish of the session is running, which would no longer include a
 * change of metadata. Wait: this worker will be woken when it ends. */
must_use bool hold_is_publishing(struct worker *w, uint32_t session);

/* Under shm->meta. The next session, from index `at` on, that publishes over the node's version,
 * itself or through a node of its own beside it (compare-and-set); SHM_NIL if there is none. Wait:
 * this worker will be woken when it ends. */
must_use uint32_t hold_next_publishing(struct worker *w, uint32_t at, uint32_t node);

/* Under shm->meta. The op that has locked the node itself; NULL if none has. Wait: it will wake all
 * workers. */
const struct shm_record *hold_of(struct worker *w, uint32_t node);

#endif
