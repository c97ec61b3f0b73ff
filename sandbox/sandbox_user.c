/* Users and groups. Which capabilities survive the change is in sandbox_caps.c. */
#include "sandbox/sandbox_user.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

/* Numbers that no system gives to a person or a package: systemd uses the same ones for services
 * without a user of their own. */
#define NOBODYS_FIRST 61184
#define NOBODYS_LAST 65519
#define NOBODYS_TRIES 64

static int find_passwd(const char *name, struct sandbox_user *u, const char **ret_login)
{
    char *end;
    unsigned long number = strtoul(name, &end, 10);
    bool numeric = *name && *end == '\0';
    const struct passwd *pw = numeric ? getpwuid((uid_t)number) : getpwnam(name);

    if (pw) {
        u->uid = pw->pw_uid;
        u->gid = pw->pw_gid;
        *ret_login = pw->pw_name;
        return 0;
    }
    if (!numeric)
        return -ENOENT;
    /* A number without an entry is common in containers: use the group of the same number, and no
     * other groups. */
    u->uid = (uid_t)number;
    u->gid = (gid_t)number;
    *ret_login = NULL;
    return 0;
}

int sandbox_user_find(const char *name, struct sandbox_user *ret, struct err *err)
{
    struct sandbox_user u = {.set = true, .n_groups = SANDBOX_GROUPS_MAX};
    const char *login;

    if (!*name) {
        *ret = (struct sandbox_user){.set = false};
        return 0;
    }
    if (find_passwd(name, &u, &login) < 0)
        return err_set(err, EINVAL, "workers.user: there is no user \"%s\"", name);
    if (geteuid() != 0) {
        if (u.uid != geteuid())
            return err_set(err, EINVAL,
                           "workers.user: only root can run workers as "
                           "\"%s\"",
                           name);
        u.set = false; /* we are already that user */
    }
    u.groups[0] = u.gid;
    if (!login)
        u.n_groups = 1;
    else if (getgrouplist(login, u.gid, u.groups, &u.n_groups) < 0)
        return err_set(err, EINVAL,
                       "workers.user: \"%s\" is in %d groups, "
                       "expected at most %d",
                       name, u.n_groups, SANDBOX_GROUPS_MAX);
    *ret = u;
    return 0;
}

/* FNV-1a */
static uint32_t hash_of(const char *text)
{
    uint32_t h = UINT32_C(2166136261);

    for (; *text; text++)
        h = (h ^ (unsigned char)*text) * UINT32_C(16777619);
    return h;
}

void sandbox_user_default(const char *seed, struct sandbox_user *ret)
{
    struct err ignored; /* without the user, or with too many groups, a number does as well */
    uint32_t h = hash_of(seed);
    uid_t uid;

    *ret = (struct sandbox_user){.set = false};
    if (geteuid() != 0 || sandbox_user_find(SANDBOX_USER_NAME, ret, &ignored) == 0)
        return;
    for (unsigned i = 0; i < NOBODYS_TRIES; i++) {
        uid = NOBODYS_FIRST + (h + i) % (NOBODYS_LAST - NOBODYS_FIRST + 1);
        if (!getpwuid(uid) && !getgrgid((gid_t)uid))
            break;
    }
    *ret = (struct sandbox_user){.set = true, .uid = uid, .gid = (gid_t)uid, .n_groups = 1};
    ret->groups[0] = ret->gid;
}

/* First requests the death signal, then checks the parent: in the other order a parent that dies in
 * between would go unnoticed. */
static void die_with(pid_t parent, int sig)
{
    if (!sig)
        return;
    prctl(PR_SET_PDEATHSIG, sig);
    if (getppid() != parent)
        _exit(0);
}

int sandbox_user_become(const struct sandbox_user *user)
{
    pid_t parent = getppid();
    int sig = 0;

    if (!user->set)
        return 0;
    prctl(PR_GET_PDEATHSIG, &sig);
    if (setgroups((size_t)user->n_groups, user->groups) < 0 ||
        setresgid(user->gid, user->gid, user->gid) < 0 ||
        setresuid(user->uid, user->uid, user->uid) < 0)
        return -errno;
    /* Changing the user clears the death signal. */
    die_with(parent, sig);
    return 0;
}
