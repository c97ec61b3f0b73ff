/* The long-lived children: a table of roles, each with some slots, each slot with one process that
 * is started again when it dies. Knows no role by name. */
#ifndef DAEMON_CHILDREN_H
#define DAEMON_CHILDREN_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/loop.h"
#include "daemon/child.h"
#include "daemon/respawn.h"

#define CHILDREN_MAX 32
#define CHILDREN_HANG_NS (30 * NS_PER_S) /* hang_ns, unless somebody lowers it */

/* What one kind of process is. Exit codes are those of enum worker_exit. */
struct role {
    const char *name;
    unsigned count;
    /* its processes serve the mount: without one of them there is nothing to supervise */
    bool serves;

    /* In the child: its whole life; returns the exit code. */
    int (*entry)(void *ctx, unsigned slot);

    /* In the supervisor. When its loop last turned (monotonic; may be from before its start); NULL:
     * not watched. */
    uint64_t (*turned_ns)(void *ctx, unsigned slot);
    /* In the supervisor, when it has crashed, before it is started again. NULL: nothing to do. */
    void (*on_crash)(void *ctx, unsigned slot);
};

enum child_state {
    CHILD_NONE, /* not started yet */
    CHILD_RUNNING,
    CHILD_WAITING, /* dead, its next start is timed */
    CHILD_ENDED,   /* ended for good */
};

struct child {
    struct loop_timer start_at;
    struct children *all;
    const struct role *role;
    unsigned slot;
    enum child_state state;
    pid_t pid; /* RUNNING */
    unsigned restarts;
    bool by_watchdog; /* killed by it */
    struct respawn respawn;
};

/* Called in the supervisor. */
struct children_ops {
    void (*on_unmounted)(void *ctx);    /* a child ended because the mount is gone */
    void (*on_setup_failed)(void *ctx); /* a child could not start */
    void (*on_ended)(void *ctx);        /* a child ended for good */
    /* in a new child: closes what only the supervisor may hold */
    void (*in_child)(void *ctx);
};

struct children {
    struct loop *loop;
    const struct children_ops *ops;
    void *ops_ctx;
    void *role_ctx; /* given to the roles */
    struct child_user user;
    bool ending;        /* nothing is started any more */
    uint64_t hang_ns;   /* a loop that did not turn for so long hangs */
    uint64_t looked_ns; /* last children_watch */
    unsigned n;
    struct child child[CHILDREN_MAX];
};

void children_init(struct children *all, struct loop *loop, const struct children_ops *ops,
                   void *ops_ctx);

/* Starts all of them. 0, or -errno of fork(2), -E2BIG; then those that run are the caller's to end.
 * `roles` stays in use. */
must_use int children_start(struct children *all, const struct role *roles, unsigned n_roles,
                            void *role_ctx, const struct child_user *user);

/* A process has ended (status of waitpid(2)). False if it was none of these. */
bool children_reaped(struct children *all, pid_t pid, int status);

/* Kills those whose loop has not turned for hang_ns. Wants to be called every few seconds.
 * */
void children_watch(struct children *all, uint64_t now_ns);

/* Nothing is started any more; those that wait to be started have ended. */
void children_end(struct children *all);
void children_signal(struct children *all, int sig);

unsigned children_running(const struct children *all);
/* Slots of serving roles that have not ended for good. */
unsigned children_serving(const struct children *all);
unsigned children_restarts(const struct children *all);

/* True once a serving child has turned its loop (or its role does not tell). */
bool children_turned(const struct children *all);

const char *child_state_name(enum child_state state);

#endif
