/* The supervisor: one loop that watches signals, children and the control socket. It parses nothing
 * that came from a network, never waits, and takes no shared lock after the first fork: what needs
 * one is done by a short-lived child (task.h) through the duties below.
 *
 * Phases, each entered once and in this order; some are skipped:
 *   STARTING  the keeper is being given what was carried over; then children run, none has turned
 *             its loop yet, or `verify` is under way
 *   RUNNING   ready, as reported to the log and the service manager
 *   DRAINING  asked to end: new opens are refused, written data is being published
 *   UNMOUNTING  a task unmounts
 *   LINGERING unmounted, or not ours to unmount; open files are served until they are closed
 *   STOPPING  children were asked to end; those that do not are killed
 *   LOOKING   a task checks whether anything is left unpublished
 *   ENDED
 */
#ifndef DAEMON_SUPERVISOR_H
#define DAEMON_SUPERVISOR_H

#include <stdint.h>

#include "base/err.h"
#include "daemon/children.h"
#include "daemon/handover_own.h"

/* Results of `look`: the worst one that applies. */
enum supervisor_look {
    SUPERVISOR_IDLE,
    SUPERVISOR_BUSY,        /* requests with an effect are in flight */
    SUPERVISOR_UNPUBLISHED, /* bytes are not on S3 yet */
};

/* Results of `may_restart`. */
enum supervisor_takes {
    SUPERVISOR_TAKES,
    SUPERVISOR_TAKES_NOT,
    SUPERVISOR_TAKES_LEFT, /* only what a daemon has left that is gone: another version */
};

struct holder;

/* What is supervised. All functions get `ctx`. */
struct supervisor_duties {
    /* In a task (task_fn): may wait, and may take shared locks. */
    int (*look)(void *ctx, struct err *err);      /* enum supervisor_look */
    int (*linger)(void *ctx, struct err *err);    /* the same; also BUSY while a file is open */
    int (*look_last)(void *ctx, struct err *err); /* the same; logs what is unpublished */
    int (*unmount)(void *ctx, struct err *err);   /* 0 or 1 */
    int (*check)(void *ctx, struct err *err);     /* 0, or 1 with a description in *err */
    int (*log_inflight)(void *ctx, struct err *err);
    /* While children serve already: whether they may go on. 0, or the exit code of the daemon with
     * the reason in *err. Only called with run->verify_limit_ns. */
    int (*verify)(void *ctx, struct err *err);

    /* Whether the program could be executed anew, and take over what this record would say: enum
     * supervisor_takes, with the reason. NULL: a restart in place is not supported. */
    int (*may_restart)(void *ctx, const struct handover_own *own, struct err *err);

    /* In a child that becomes a task: closes what keeps the mount alive. NULL: nothing to do. */
    void (*in_task)(void *ctx);

    /* In the supervisor: must not wait. */
    /* opts.carried: from now on what was there before is of no use to anybody. 0 or -errno. */
    int (*taken)(void *ctx, struct err *err);
    void (*set_draining)(void *ctx);
    void (*abort)(void *ctx);                 /* no process serves the mount any more */
    bool (*mounted)(void *ctx);               /* NULL: unknown */
    void (*reload)(void *ctx);                /* SIGHUP; NULL: nothing to do */
    void (*verified)(void *ctx, bool passed); /* `verify` has ended */
    void (*forget)(void *ctx); /* at an event of `forget_fd` below; NULL: there is none */
    /* A record (handover.h) for a daemon that is started after the death of this one. Its
     * descriptor, or -errno. */
    int (*leave)(void *ctx, const struct handover_own *own, struct err *err);
    /* Executes the program anew; returns on failure alone, with *err. */
    void (*restart)(void *ctx, const struct handover_own *own, struct err *err);
    /* The mount was unmounted from outside: the exit code. NULL: 0. */
    int (*gone)(void *ctx);
    /* What has changed since the start, as lines "name value"; NULL: nothing. */
    void (*tell)(void *ctx, char *out, size_t cap);
};

struct supervisor_opts {
    const struct supervisor_duties *duties;
    void *ctx; /* for duties and roles */
    uint64_t drain_timeout_ns;
    bool fdstore;           /* keep what is open with the service manager */
    struct holder *holder;  /* or with this; NULL = none */
    const char *socket;     /* control socket; NULL = none */
    const char *socket_dir; /* created (0700) if the socket is in it; NULL = none */
    char *const *env;       /* sd_notify's variables */
    /* what the image before this one has left; NULL = this process is new */
    const struct handover_own *taken;
    bool returned;  /* which could not take over from this one */
    bool carried;   /* in another form: `taken` is to be called before the first child starts */
    int gone_fd[2]; /* numbers that the keeper knows, and that are not used any more; -1 = none */
};

struct supervisor;

/* Blocks the signals and opens the control socket. From now on no signal ends this process
 * half-way. 0, or -errno with *err. */
must_use int supervisor_new(const struct supervisor_opts *opts, struct supervisor **ret_sup,
                            struct err *err);
/* Removes the control socket. NULL is allowed. */
void supervisor_free(struct supervisor *sup);

struct supervisor_run {
    const struct role *roles;
    unsigned n_roles;
    /* we unmount at the end; the exit codes of children report an unmount from outside */
    bool unmounts;
    bool lingers;              /* there is a mount, also one that we do not unmount */
    int forget_fd;             /* eventfd by which workers ask for duties->forget */
    int segment_fd;            /* passed read-only to control clients; -1 = none */
    const char *title;         /* "mount=... workers=2": follows "ready" in the log */
    uint64_t request_limit_ns; /* requests must be replied to within this time, 0 = no limit */
    uint64_t verify_limit_ns;  /* of duties->verify, 0 = there is nothing to verify */
    const char *info;          /* lines for the control client: "mount /mnt/x\nbucket b\n" */
};

/* Starts the children and supervises until the end. Returns the exit code (exit_code.h). */
int supervisor_run(struct supervisor *sup, const struct supervisor_run *run);

#endif
