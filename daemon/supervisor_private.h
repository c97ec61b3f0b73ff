/* What supervisor.c, stop.c and answer.c share. */
#ifndef DAEMON_SUPERVISOR_PRIVATE_H
#define DAEMON_SUPERVISOR_PRIVATE_H

#include "daemon/control.h"
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

struct supervisor {
    const struct supervisor_duties *duties;
    void *ctx;
    uint64_t drain_timeout_ns;
    const struct supervisor_run *run;
    struct loop *loop;
    struct loop_watch signals;
    struct control *control; /* NULL = none */
    struct sd_notify notify;
    struct children children;
    struct task_set tasks;
    uint64_t started_ns;

    struct loop_timer ready_timer;    /* STARTING: look whether a worker turns */
    struct loop_timer health_timer;   /* children_watch, STATUS */
    struct loop_timer watchdog_timer; /* of the service manager */
    unsigned told_restarts;           /* in the last STATUS */

    /* stop.c */
    enum phase phase;
    int exit_code;
    bool forced;                  /* no more waiting for anybody */
    bool killed;                  /* STOPPING: SIGKILL was sent */
    struct loop_timer look_timer; /* DRAINING */
    struct loop_timer gone_timer; /* the channel is at its end: unmounted or aborted? */
    unsigned gone_looks;
    bool gone;                        /* it was seen to be off: what is there now is another's */
    struct loop_timer deadline_timer; /* of DRAINING and LINGERING together; then of STOPPING */
};

/* stop.c */
void stop_init(struct supervisor *sup);
/* The operator wants it to end; a second time (`again`): at once. */
void stop_begin(struct supervisor *sup, bool again);
/* It cannot go on: ends at once with this exit code. */
void stop_failed(struct supervisor *sup, int exit_code);
/* Somebody has taken the mount off. */
void stop_unmounted(struct supervisor *sup);
/* A child or a task has ended: perhaps that was what the phase waits for. */
void stop_look_around(struct supervisor *sup);
const char *stop_phase_name(enum phase phase);

/* answer.c: requests on the control socket. */
void answer_request(void *ctx, uint64_t client, enum control_request request);
/* The last words to those who asked for the end. */
void answer_ended(struct supervisor *sup);

#endif
