/* The process that stays: the parent of stateproxyd, which passes its log on. */
#ifndef MOUNT_KEEP_H
#define MOUNT_KEEP_H

#include <stdbool.h>

/* What the process in the foreground is told, once. */
struct keep_report {
    bool ready;
    int status; /* else, as from waitpid(2); -1: stateproxyd could not be started */
};

struct keep_args {
    const char *config; /* "" = none */
    const char *log;    /* "" = syslog */
    bool verbose;       /* every line of the start to stderr, not only errors */
    int report_fd;      /* write end of a pipe */
};

/* Runs in a child of its own. Starts stateproxyd with this process's environment; writes errors of
 * the start to stderr and one report to report_fd. Afterwards only the log is passed on, until
 * stateproxyd and all its processes have ended. If nobody reads report_fd any more before that, it
 * ends stateproxyd. Returns the exit code of this process. */
int keep_run(const struct keep_args *args);

#endif
