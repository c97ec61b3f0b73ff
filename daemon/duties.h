/* Work that the supervisor delegates to tasks, because it reads the tables or may wait. */
#ifndef DAEMON_DUTIES_H
#define DAEMON_DUTIES_H

#include "daemon/supervisor.h"
#include "workers/op/worker_abi.h"

/* `ctx` of each duty is the struct worker_env. */
extern const struct supervisor_duties duties;

#endif
