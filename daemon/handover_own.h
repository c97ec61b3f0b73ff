/* What a supervisor itself knows at a restart in place, beside what it shares with its children: a
 * part of the record (handover.h). */
#ifndef DAEMON_HANDOVER_OWN_H
#define DAEMON_HANDOVER_OWN_H

#include <stdint.h>

#include "daemon/children.h"
#include "daemon/control.h"

struct handover_own {
    uint64_t started_ns; /* monotonic: of the first image */
    uint32_t times;      /* restarts in place so far, with this one */
    bool left;           /* its children have ended: it is gone (fdstore.h), or has ended them */
    bool in_place;       /* by an exec of this process */
    uint32_t set;   /* the number of the last set that the keeper was given (fdstore.h); 0 = none */
    int life_fd[2]; /* of holder.h; -1 = none. Only by an exec */
    struct control_handed control;
    struct children_handed children;
};

#endif
