/* The long-lived children: a table of roles, each with some slots. Each slot has one process, which
 * is restarted when it dies. Does not know any role by name. */
#ifndef DAEMON_CHILDREN_H
#define DAEMON_CHILDREN_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/loop.h"
#include "daemon/child.h"
#include "daemon/respawn.h"

#define CHILDREN_MAX 32
#define CHILDREN_HANG_NS (30 * NS_PER_S) /* default of hang_ns */

/* Describes one kind of process. Exit codes are those of enum worker_exit. */
struct role {
    const char *name;
    unsigned count;
    /* its processes serve the mount: when none is left there is nothing to supervise */
    bool serves;

    /* In the child: enters its sandbox, runs until its end; returns the exit code. */
    int (*entry)(void *ctx, unsigned slot);

    /* In the supervisor. When the child's loop last turned (monotonic; may be from before its
     * start); NULL: not watched. */
    uint64_t (*turned_ns)(void *ctx, unsigned slot);
    /* In the supervisor, after a crash, before the restart. NULL: nothing to do. */
    void (*on_crash)(void *ctx, unsigned slot);
};

#define CHILDREN_ROLE_MAX 16              /* length of a role's name, with NUL */
#define CHILDREN_LEAVE_NS (30 * NS_PER_S) /* how long a child that is replaced may take */

/* What outlives an exec of the supervisor: its children stay its children. */
struct children_handed {
    uint32_t n; /* those that ran */
    struct child_handed {
        char role[CHILDREN_ROLE_MAX];
        uint32_t slot;
        uint32_t restarts;
        pid_t pid;
        uint64_t started_ns;
    } child[CHILDREN_MAX];
};

enum child_state {
    CHILD_NONE, /* not started yet */
    CHILD_RUNNING,
    CHILD_WAITING, /* dead, its next start is scheduled */
    CHILD_ENDED,   /* ended for good */
};

struct child {
    struct loop_timer start_at;
    struct children *all;
    const struct role *role;
    unsigned slot;
    enum child_state state;
    pid_t pid; /* valid if RUNNING */
    unsigned restarts;
    bool by_watchdog; /* killed by the watchdog */
    bool old;         /* to be replaced, or ended: of the image before, or by children_leave */
    uint64_t told_ns; /* SIGTERM was sent then; 0 = not yet */
    bool pressed;     /* SIGKILL was sent, it had taken too long */
    struct respawn respawn;
};

/* Called in the supervisor. */
struct children_ops {
    void (*on_unmounted)(void *ctx);    /* a child ended because the mount is gone */
    void (*on_setup_failed)(void *ctx); /* a child could not start */
    void (*on_ended)(void *ctx);        /* a child ended for good */
    /* in a new child: closes what only the supervisor may keep */
    void (*in_child)(void *ctx);
};

struct children {
    struct loop *loop;
    const struct children_ops *ops;
    void *ops_ctx;
    void *role_ctx;     /* passed to the roles */
    bool ending;        /* no child is started any more */
    uint64_t hang_ns;   /* a loop that has not turned for this time hangs */
    uint64_t looked_ns; /* time of the last children_watch */
    unsigned n;
    struct child child[CHILDREN_MAX];
};

void children_init(struct children *all, struct loop *loop, const struct children_ops *ops,
                   void *ops_ctx);

/* Starts all children. 0, or -errno of fork(2), -E2BIG; then the caller must end those that are
 * running. `roles` stays in use. */
must_use int children_start(struct children *all, const struct role *roles, unsigned n_roles,
                            void *role_ctx);

/* For an exec: the children that run. */
void children_hand_over(const struct children *all, struct children_handed *ret);

/* In the new image, instead of children_start: takes those over that are still our children, and
 * starts the others; one that cannot be started now is tried again, as programs wait for it. 0 or
 * -E2BIG. `handed` NULL: as children_start. */
must_use int children_take(struct children *all, const struct role *roles, unsigned n_roles,
                           void *role_ctx, const struct children_handed *handed);

/* Replaces the children that were taken over, one at a time: the next one when the replacement of
 * the last has turned its loop. To be called every few milliseconds. True when all are replaced. */
must_use bool children_renew(struct children *all, uint64_t now_ns);

/* True if one crashes again and again before its loop has turned once. */
must_use bool children_crash(const struct children *all);

/* For an exec by which another version goes on: asks all children to end, those that serve first
 * (as long as one does, it needs the others); none is started any more. To be called every few
 * milliseconds. True when all have ended. */
must_use bool children_leave(struct children *all, uint64_t now_ns);

/* After children_leave: one that SIGKILL has not ended for two seconds (it waits for a disk, as a
 * rule), or 0. */
must_use pid_t children_unkillable(const struct children *all, uint64_t now_ns);

/* That exec did not come: all are started again. */
void children_resume(struct children *all);

/* A process has ended (status of waitpid(2)). False if it is not one of these children. */
bool children_reaped(struct children *all, pid_t pid, int status);

/* Kills children whose loop has not turned for hang_ns. Must be called every few seconds. */
void children_watch(struct children *all, uint64_t now_ns);

/* No child is started any more; those that wait for a restart count as ended. */
void children_end(struct children *all);
void children_signal(struct children *all, int sig);
/* The same for those of serving roles, or for the others. */
void children_signal_some(struct children *all, int sig, bool serving);

unsigned children_running(const struct children *all);
/* Slots of serving roles that have not ended for good. */
unsigned children_serving(const struct children *all);
unsigned children_restarts(const struct children *all);

/* True once a serving child has turned its loop (or runs, if its role is not watched). */
bool children_turned(const struct children *all);

const char *child_state_name(enum child_state state);

#endif
