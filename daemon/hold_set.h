/* Descriptors that a holder keeps of one daemon, each with its number there. Bounded by
 * HOLD_FDS_MAX. */
#ifndef DAEMON_HOLD_SET_H
#define DAEMON_HOLD_SET_H

#include <stdbool.h>

#include "base/err.h"

struct hold_kept {
    int number; /* or HOLD_RECORD */
    int fd;
};

/* Zero-initialised: empty. */
struct hold_set {
    struct hold_kept *kept;
    unsigned n, room;
};

/* Takes `fd`. 0; -E2BIG, -EEXIST (one of this number is there), -ENOMEM: then the caller still has
 * it. */
must_use int hold_set_add(struct hold_set *set, int number, int fd);

/* Closes all, and frees what it has. A descriptor that nobody else has ends what it is of. */
void hold_set_clear(struct hold_set *set);

#endif
