/* What is not on S3: the files that the daemon still has bytes of. Takes a shared lock, so it is
 * for short-lived children (task.h), not for the supervisor. */
#ifndef DAEMON_UNPUBLISHED_H
#define DAEMON_UNPUBLISHED_H

#include "workers/op/worker_abi.h"

enum unpublished_scope {
    UNPUBLISHED_WAITED_FOR, /* those that may still be published */
    /* the daemon ends now: also the PUT of a client whose body has not come to its end. Logs a line
     * for each: key, bytes, why, and what to do */
    UNPUBLISHED_LOST,
};

/* The number of those files; *err names the first one. */
unsigned unpublished(const struct worker_env *env, enum unpublished_scope scope, struct err *err);

#endif
