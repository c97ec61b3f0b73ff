/* Carrying over a segment that a program of another version, or of another build, has made, and
 * that nobody uses any more: into a new one of this version, of the same sizes, entry by entry at
 * the same places (base/form.h). So what the kernel knows by a number (nodes, handles, owners of
 * locks) stays what it is; and the journal comes along, so a request in flight is handled exactly
 * once, as after the death of a worker.
 *
 * What begins anew: locks (what the last owner of the first has not committed is rolled back in the
 * copy), the blocks of object data, counters. The old segment is not changed. */
#ifndef SHM_SHM_CARRY_H
#define SHM_SHM_CARRY_H

#include "shm/shm_segment.h"

#define SHM_CARRY_MAX_S 60 /* longer than any takes */

/* What is known of a segment of another version. */
struct shm_other {
    char version[SHM_VERSION_MAX];
    struct shm_sizes sizes;
};

/* 1: it needs no carrying, shm_attach takes it; 0: it is another's, or none; or -errno: that cannot
 * be found out now (-ENOMEM, -EMFILE, ...). */
must_use int shm_carry_is_own(int fd);

/* Reads how it is laid out, and says whether it can be carried over; processes may be at work in
 * it. 0 and *ret; -EPROTO with *err: it is not a segment, or does not say how it is laid out;
 * -EXDEV with *err: it cannot; -ENOMEM. */
must_use int shm_carry_look(int fd, struct shm_other *ret, struct err *err);

/* Carries it over to `shm`, which was created with its sizes, and has not been used yet. Waits
 * until no process holds a slot of the old one (worker_main). Results as shm_carry_look; after a
 * failure `shm` is of no use. */
must_use int shm_carry(int fd, struct shm *shm, struct err *err);

/* The new segment is used from now on: the old one is spoilt, so that nobody goes on from what it
 * says, and emptied. 0 or -errno. */
must_use int shm_carry_done(int fd);

#endif
