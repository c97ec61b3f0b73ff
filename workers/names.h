/* What the handlers that change names share. */
#ifndef WORKERS_NAMES_H
#define WORKERS_NAMES_H

#include "workers/key.h"
#include "workers/op.h"

/* The read-only and draining checks (what was begun goes on while draining: a kept op), and that
 * the directory is known and the name can be a key.
 * 0 and `key` (without a slash at the end); -EROFS, -ESHUTDOWN, -ESTALE, -ENAMETOOLONG, -EINVAL. */
must_use int names_check(struct op *op, const char *name, size_t len, char key[KEY_CAP]);

/* Under shm->meta. Marks the node as held by this op: no publish begins on it or below it
 * meanwhile, and it is not evicted. False: another op holds it, or a publish runs on it (the op is
 * noted to be woken): wait. The mark is to be noted by the caller in op->rec (op_edit). */
must_use bool names_hold(struct op *op, uint32_t node);

/* Under shm->meta. Gives the mark back; wake everybody (worker_wake(w, NAMES_WAKE_ALL)) after
 * unlocking. */
void names_release(struct op *op, uint32_t node);
#define NAMES_WAKE_ALL UINT32_MAX

/* Not under a lock: gives back the marks that are noted in op->rec (node, and handle of a rename).
 * */
void names_give_back(struct op *op);

/* Under shm->meta. True if the node or a directory above it is held by another op than `tag`; not
 * so what lies above the node that `tag` holds: who took that later waits (names_held_below). */
must_use bool names_held(struct worker *w, uint32_t node, uint32_t tag);

/* For ops that make or remove a key of their name and hold no node (mkdir, rmdir): from now on until
 * the op ends a rename of the directory, or of one above, waits for it (names_held_below); to wake
 * that is the caller's. 1 and `key`; 0: such a rename is under way, wait; -ESTALE, -ENAMETOOLONG,
 * -EINVAL. A replayed op that was in before does not wait. */
must_use int names_enter(struct op *op, char key[KEY_CAP]);

/* Under shm->meta. True if an op holds something below this directory, or has entered it. Who has taken the directory
 * to move its keys waits for it: its DELETE, or its copy, would be of a key that has moved. */
must_use bool names_held_below(struct worker *w, uint32_t dir);

/* Under shm->meta. An entry of the directory came, went or changed, and the name table says so: the
 * pages of its listing are stale, but that it knows all its names stays true. */
void names_changed(struct worker *w, uint32_t dir);

/* Under shm->meta. Somebody asks about an entry of the directory: who lists it will want attributes
 * too. */
void names_wanted(struct worker *w, uint32_t dir);

/* Under shm->meta. True if an unpublished file lies below this directory: no listing of S3 shows
 * it. */
must_use bool names_local_below(struct worker *w, uint32_t dir);

/* Under shm->meta. True if the node is the directory, or below it. */
must_use bool names_is_below(struct worker *w, uint32_t node, uint32_t dir);

#endif
