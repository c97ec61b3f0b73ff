/* Forking: what applies to every child of the supervisor, and the user that workers run as. */
#ifndef DAEMON_CHILD_H
#define DAEMON_CHILD_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/err.h"

#define CHILD_GROUPS_MAX 64

/* The user that a child becomes; `set` false: no change. */
struct child_user {
    bool set;
    uid_t uid;
    gid_t gid;
    gid_t groups[CHILD_GROUPS_MAX];
    int n_groups;
};

/* Finds a user by name or number ("" = no change). 0; -EINVAL with *err if there is no such user,
 * if only root could become that user and we are not root, or if the user is in more than
 * CHILD_GROUPS_MAX groups. */
must_use int child_find_user(const char *name, struct child_user *ret, struct err *err);

/* Forks. 0; *ret_pid is the child's pid in the parent, 0 in the child. -errno of fork(2). The child
 * is killed when its parent dies. It ignores SIGPIPE and the signals that a terminal or an operator
 * sends to a whole process group (SIGINT, SIGHUP, SIGUSR1, SIGUSR2). Only SIGTERM is blocked, so
 * that a SIGTERM meant for the parent never kills the child. A child that has to exit on SIGTERM
 * waits for it (workers/process/term.h); the others are ended with SIGKILL. */
must_use int child_fork(pid_t *ret_pid);

/* In the child: changes to the user permanently. 0 or -errno. */
must_use int child_become(const struct child_user *user);

#endif
