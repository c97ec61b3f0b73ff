/* The supervisor: one loop that watches signals, children and the control socket. It parses nothing
 * that came from a network, waits for nothing, and takes no shared lock after the first fork: what
 * needs one is done by a short-lived child (task.h) through the duties below.
 *
 * Phases, each entered once and in this order; some are skipped:
 *   STARTING  children run, none has turned its loop yet
 *   RUNNING   said to be so
 *   DRAINING  told to end: new opens are refused, what was written is being published
 *   UNMOUNTING  a task takes the mount off
 *   LINGERING it is off; those who have files open are served until they close them
 *   STOPPING  children were told to end; whoever does not is killed
 *   LOOKING   a task looks whether anything is left unpublished
 *   ENDED
 */
#ifndef DAEMON_SUPERVISOR_H
#define DAEMON_SUPERVISOR_H

#include <stdint.h>

#include "base/err.h"
#include "daemon/children.h"

/* Answers of `look`: the worst that holds. */
enum supervisor_look {
    SUPERVISOR_IDLE,
    SUPERVISOR_BUSY,        /* requests with an effect are in flight */
    SUPERVISOR_UNPUBLISHED, /* bytes are not on S3 yet */
};

/* What is supervised. All get `ctx`. */
struct supervisor_duties {
    /* In a task (task_fn): may wait, and may take shared locks. */
    int (*look)(void *ctx, struct err *err);      /* enum supervisor_look */
    int (*linger)(void *ctx, struct err *err);    /* the same, and BUSY while a file is open */
    int (*look_last)(void *ctx, struct err *err); /* the same; logs what is unpublished */
    int (*unmount)(void *ctx, struct err *err);   /* 0 or 1 */
    int (*check)(void *ctx, struct err *err);     /* 0, or 1 with what is wrong */
    int (*log_inflight)(void *ctx, struct err *err);

    /* In the child that is to be a task: gives up what keeps the mount alive. NULL: nothing to
     * do. */
    void (*in_task)(void *ctx);

    /* In the supervisor: must not wait. */
    void (*set_draining)(void *ctx);
    void (*abort)(void *ctx);   /* nobody serves the mount any more */
    bool (*mounted)(void *ctx); /* NULL: not known */
    void (*reload)(void *ctx);  /* SIGHUP; NULL: nothing to do */
    /* What has changed since the start, as lines "name value"; NULL: nothing. */
    void (*tell)(void *ctx, char *out, size_t cap);
};

struct supervisor_opts {
    const struct supervisor_duties *duties;
    void *ctx; /* of duties and roles */
    uint64_t drain_timeout_ns;
    const char *socket;     /* control socket; NULL = none */
    const char *socket_dir; /* made (0700) if the socket lies in it; NULL = none */
    char *const *env;       /* sd_notify's variables */
};

struct supervisor;

/* Blocks the signals and opens the control socket. From now on nothing ends this process half-way.
 * 0, or -errno with *err. */
must_use int supervisor_new(const struct supervisor_opts *opts, struct supervisor **ret_sup,
                            struct err *err);
/* Removes the control socket. NULL is fine. */
void supervisor_free(struct supervisor *sup);

struct supervisor_run {
    const struct role *roles;
    unsigned n_roles;
    struct child_user user;
    /* the mount is ours to take off; its end is told by exits of the serving children */
    bool unmounts;
    int segment_fd;            /* given read-only to control clients; -1 = none */
    const char *title;         /* "mount=... workers=2": follows "ready" in the log */
    uint64_t request_limit_ns; /* requests have to be answered by then, 0 = no limit */
    const char *info;          /* lines for the control client: "mount /mnt/x\nbucket b\n" */
};

/* Starts the children and supervises until the end. Returns the exit code (exit_code.h). */
int supervisor_run(struct supervisor *sup, const struct supervisor_run *run);

#endif
