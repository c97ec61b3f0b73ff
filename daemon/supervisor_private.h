/* Shared by supervisor.c, stop.c, restart.c, leave.c and answer.c. */
#ifndef DAEMON_SUPERVISOR_PRIVATE_H
#define DAEMON_SUPERVISOR_PRIVATE_H

#include "daemon/control.h"
#include "daemon/fdstore.h"
#include "daemon/holder.h"
#include "daemon/sd_notify.h"
#include "daemon/supervisor.h"
#include "daemon/task.h"

enum phase {
    PHASE_STARTING,
    PHASE_RUNNING,
    PHASE_DRAINING,
    PHASE_UNMOUNTING,
    PHASE_LINGERING,
    PHASE_STOPPING,
    PHASE_LOOKING,
    PHASE_ENDED,
};

enum restart_state {
    RESTART_NONE,
    RESTART_TRIAL,    /* may the program take over? then the exec, when all is quiet */
    RESTART_ENDING,   /* it may, but is of another version: children end before the exec */
    RESTART_RENEWING, /* in the new image: children are being replaced */
};

struct supervisor {
    const struct supervisor_duties *duties;
    void *ctx;
    uint64_t drain_timeout_ns;
    const struct supervisor_run *run;
    struct loop *loop;
    struct loop_watch signals;
    struct loop_watch forget;
    struct control *control; /* NULL = none */
    struct sd_notify notify;
    struct holder *holder; /* NULL = none */
    bool uses_store;
    struct fdstore_manager manager; /* if uses_store */
    unsigned set;                   /* the number of the last set that the keeper was given */
    struct fdstore store;           /* with the service manager, or with the holder */
    struct children children;
    struct task_set tasks;
    uint64_t started_ns;
    const struct handover_own *taken; /* of the image before; NULL = there was none */

    struct loop_timer give_timer; /* STARTING: does the keeper have what was carried over? */
    uint64_t give_ns;             /* since when that is asked */
    bool carried;
    struct loop_timer ready_timer;    /* STARTING: checks whether a worker's loop turns */
    struct loop_timer health_timer;   /* children_watch, STATUS */
    struct loop_timer watchdog_timer; /* for the service manager */
    unsigned told_restarts;           /* restarts in the last STATUS */
    bool verifying;                   /* a task does */

    /* restart.c */
    enum restart_state restart;
    bool renews;             /* children of the image before are left */
    bool returned;           /* the next image could not take over, and has called this one back */
    bool stuck;              /* ... and one of those that replace them could not start */
    unsigned restarted;      /* in place, so far */
    uint64_t restart_ns;     /* when this state began */
    uint64_t restart_client; /* waits for its answer; 0 = none */
    struct loop_timer restart_timer;

    /* leave.c */
    uint64_t leave_ns;     /* when it was asked for */
    uint64_t leave_client; /* waits for its answer; 0 = none */
    bool leave_tried;      /* the next daemon could take over */
    struct loop_timer leave_timer;

    /* stop.c */
    enum phase phase;
    int exit_code;
    bool forced;                  /* waits for nothing any more */
    bool all_told;                /* leaves: children that do not serve were asked to end */
    bool leaves;                  /* STOPPING: all stays open for the next daemon (fdstore.h) */
    bool killed;                  /* STOPPING: SIGKILL was sent */
    struct loop_timer look_timer; /* DRAINING, LINGERING */
    struct loop_timer gone_timer; /* the channel has ended: unmounted or aborted? */
    unsigned gone_looks;
    bool gone;                        /* seen unmounted: what is mounted there now is not ours */
    struct loop_timer deadline_timer; /* for DRAINING and LINGERING together; then for STOPPING */
};

/* stop.c */
void stop_init(struct supervisor *sup);
/* The operator requests the end; a second time (`again`): at once. */
void stop_begin(struct supervisor *sup, bool again);
/* RUNNING: ends without an unmount. Nothing is published: the next daemon takes over what is
 * kept (fdstore.h), as after a death of all processes. But clients of the connector get their
 * answers. */
void stop_leave(struct supervisor *sup);
/* It cannot continue: ends at once with this exit code. */
void stop_failed(struct supervisor *sup, int exit_code);
/* The mount was removed from outside. */
void stop_unmounted(struct supervisor *sup);
/* A child or a task has ended: the current phase may have waited for it. */
void stop_look_around(struct supervisor *sup);
const char *stop_phase_name(enum phase phase);

/* supervisor.c: what the record for the keeper says. */
void own_to_leave(const struct supervisor *sup, struct handover_own *ret);

/* restart.c */
/* A client asks for a restart in place; it gets its answer at the end. */
void restart_request(struct supervisor *sup, uint64_t client);
#define RESTART_TRIAL_NS (20 * NS_PER_S) /* for duties->may_restart */
/* In the new image: begins to replace the children that were taken over. */
void restart_renew(struct supervisor *sup);
/* A child could not start: the client is told if that is a replacement. It is tried again and
 * again; meanwhile another restart may be asked for, which takes a configuration that was
 * mended. */
void restart_setup_failed(struct supervisor *sup);

/* leave.c */
/* A client asks for stop_leave, which waits for the end of what is under way: a restart in place,
 * sending to the service manager. The client gets its answer at the end. */
void leave_request(struct supervisor *sup, uint64_t client);

/* answer.c: requests on the control socket. */
void answer_request(void *ctx, uint64_t client, enum control_request request);
/* The last reply to clients that requested the end. */
void answer_ended(struct supervisor *sup);

#endif
