/* The user that unprivileged processes run as. */
#ifndef SANDBOX_SANDBOX_USER_H
#define SANDBOX_SANDBOX_USER_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/err.h"

#define SANDBOX_GROUPS_MAX 64

/* The user that a process becomes; `set` false: no change. */
struct sandbox_user {
    bool set;
    uid_t uid;
    gid_t gid;
    gid_t groups[SANDBOX_GROUPS_MAX];
    int n_groups;
};

/* Finds a user by name or number ("" = no change). 0; -EINVAL with *err if there is no such user,
 * if only root could become that user and we are not root, or if the user is in more than
 * SANDBOX_GROUPS_MAX groups. */
must_use int sandbox_user_find(const char *name, struct sandbox_user *ret, struct err *err);

/* The user of a daemon that root starts and for which none is configured: SANDBOX_USER_NAME, if
 * this system has that user; else a number that belongs to nobody, chosen by `seed` (the mount
 * point, so that two daemons differ). `set` is false if we are not root. */
#define SANDBOX_USER_NAME "stateproxy"
void sandbox_user_default(const char *seed, struct sandbox_user *ret);

/* Changes to the user permanently, with all ids. A death signal that was requested before stays
 * requested. 0 or -errno. */
must_use int sandbox_user_become(const struct sandbox_user *user);

#endif
