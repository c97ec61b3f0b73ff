/* Forking: what applies to every child of the supervisor. What it may do is in sandbox/. */
#ifndef DAEMON_CHILD_H
#define DAEMON_CHILD_H

#include <sys/types.h>

#include "base/err.h"

/* Forks. 0; *ret_pid is the child's pid in the parent, 0 in the child. -errno of fork(2). The child
 * is killed when its parent dies. It ignores SIGPIPE and the signals that a terminal or an operator
 * sends to a whole process group (SIGINT, SIGHUP, SIGUSR1, SIGUSR2). Only SIGTERM is blocked, so
 * that a SIGTERM meant for the parent never kills the child. A child that has to exit on SIGTERM
 * waits for it (workers/process/term.h); the others are ended with SIGKILL. */
must_use int child_fork(pid_t *ret_pid);

#endif
