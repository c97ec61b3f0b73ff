/* What the supervisor has done for it by tasks, because it looks into the tables or may wait. */
#ifndef DAEMON_DUTIES_H
#define DAEMON_DUTIES_H

#include "daemon/supervisor.h"
#include "workers/op/worker_abi.h"

/* `ctx` of each is the struct worker_env. */
extern const struct supervisor_duties duties;

#endif
