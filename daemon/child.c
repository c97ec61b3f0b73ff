/* Children of the supervisor. When they are started is decided in children.c (roles) and task.c
 * (short-lived ones). */
#include "daemon/child.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

/* The process that forked this one. */
static pid_t parent_pid;

/* First requests the death signal, then checks the parent: in the other order a parent that dies in
 * between would go unnoticed. */
static void die_with_parent(void)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent_pid)
        _exit(0);
}

/* All signals are still blocked. A pending one is dropped by ignoring it. */
static void reset_signals(void)
{
    static const int ignored[] = {SIGINT, SIGHUP, SIGUSR1, SIGUSR2, SIGPIPE};
    sigset_t set;

    signal(SIGTERM, SIG_DFL);
    signal(SIGCHLD, SIG_DFL);
    for (size_t i = 0; i < sizeof(ignored) / sizeof(ignored[0]); i++)
        signal(ignored[i], SIG_IGN);
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigprocmask(SIG_SETMASK, &set, NULL);
}

int child_fork(pid_t *ret_pid)
{
    sigset_t all, before;
    pid_t me = getpid();
    pid_t pid;
    int r;

    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &before);
    pid = fork();
    r = pid < 0 ? -errno : 0;
    if (pid == 0) {
        parent_pid = me;
        die_with_parent();
        reset_signals();
    } else {
        sigprocmask(SIG_SETMASK, &before, NULL);
    }
    if (r == 0)
        *ret_pid = pid;
    return r;
}

static int find_passwd(const char *name, struct child_user *u, const char **ret_login)
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

int child_find_user(const char *name, struct child_user *ret, struct err *err)
{
    struct child_user u = {.set = true, .n_groups = CHILD_GROUPS_MAX};
    const char *login;

    if (!*name) {
        *ret = (struct child_user){.set = false};
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
                       name, u.n_groups, CHILD_GROUPS_MAX);
    *ret = u;
    return 0;
}

int child_become(const struct child_user *user)
{
    if (!user->set)
        return 0;
    if (setgroups((size_t)user->n_groups, user->groups) < 0 ||
        setresgid(user->gid, user->gid, user->gid) < 0 ||
        setresuid(user->uid, user->uid, user->uid) < 0)
        return -errno;
    /* Changing the user clears the death signal. It also makes the process undumpable, which we
     * want: it holds the S3 keys. */
    die_with_parent();
    return 0;
}
