/* Forking: what holds for every child of the supervisor, and the user that workers run as. */
#ifndef DAEMON_CHILD_H
#define DAEMON_CHILD_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/err.h"

#define CHILD_GROUPS_MAX 64

/* Whom a child becomes; `set` false: nobody else. */
struct child_user {
    bool set;
    uid_t uid;
    gid_t gid;
    gid_t groups[CHILD_GROUPS_MAX];
    int n_groups;
};

/* Finds a user by name or number ("" = nobody else). 0, -EINVAL with *err when there is none, or
 * when only root could become that user and we are not root. */
must_use int child_find_user(const char *name, struct child_user *ret, struct err *err);

/* Forks. 0; *ret_pid is the child's pid in the parent, 0 in the child. -errno of fork(2).
 * The child is killed when its parent is gone, ignores SIGPIPE and the signals that a terminal or
 * an operator sends to a whole process group (SIGINT, SIGHUP, SIGUSR1, SIGUSR2), and has SIGTERM
 * blocked, and no other: it never dies of one that was meant for the parent. Who is to end by
 * SIGTERM waits for it (workers/process/term.h); the others end by SIGKILL. */
must_use int child_fork(pid_t *ret_pid);

/* In the child: becomes the user for good. 0 or -errno. */
must_use int child_become(const struct child_user *user);

#endif
