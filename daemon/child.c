/* Children of the supervisor. When they are started is decided in children.c (roles) and task.c
 * (short-lived ones). */
#include "daemon/child.h"

#include <errno.h>
#include <signal.h>
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
