/* The end of this daemon that programs do not notice, if another one is started: everything is kept
 * by a keeper (fdstore.h). When it may begin; the end itself is in stop.c. */
#include <stdio.h>

#include "base/clock.h"
#include "base/container.h"
#include "daemon/supervisor_private.h"

#define LEAVE_EVERY_NS (5 * NS_PER_MS)
#define LEAVE_LIMIT_NS (20 * NS_PER_S) /* for what is under way */

static void leave_refuse(struct supervisor *sup, const char *why)
{
    char text[ERR_TEXT_MAX + 32];

    snprintf(text, sizeof(text), "error %s\n", why);
    control_answer(sup->control, sup->leave_client, text, -1, true);
    sup->leave_client = 0;
}

/* ---- the trial: could the next daemon take it over? ---- */

static int may_leave(void *arg, struct err *err)
{
    struct supervisor *sup = arg;
    struct handover_own own;

    own_to_leave(sup, &own);
    return sup->duties->may_restart(sup->ctx, &own, err);
}

static void on_leave_tried(void *ctx, int code, const char *text)
{
    struct supervisor *sup = ctx;

    if (code != SUPERVISOR_TAKES && code != SUPERVISOR_TAKES_LEFT) {
        leave_refuse(sup, *text ? text : "the trial of the program did not end");
        return;
    }
    sup->leave_tried = true;
    loop_timer_set(sup->loop, &sup->leave_timer, 0);
}

static void try_to_leave(struct supervisor *sup)
{
    if (!sup->duties->may_restart ||
        task_start(&sup->tasks, may_leave, sup, RESTART_TRIAL_NS, on_leave_tried, sup) < 0)
        leave_refuse(sup, "too busy, try again");
}

/* ---- when ---- */

/* True if nothing is wrong: what is under way ends by itself. (A trial waits for our client.) */
static bool is_coming(const struct supervisor *sup)
{
    return sup->phase == PHASE_STARTING || (sup->restart == RESTART_RENEWING && !sup->stuck) ||
           (sup->restart == RESTART_NONE && fdstore_is_coming(&sup->store));
}

static void on_leave_timer(struct loop_timer *t)
{
    struct supervisor *sup = container_of(t, struct supervisor, leave_timer);

    if (sup->phase > PHASE_RUNNING || sup->gone_looks) {
        leave_refuse(sup, "the daemon is ending");
    } else if (sup->phase == PHASE_RUNNING && sup->restart == RESTART_NONE &&
               fdstore_is_whole(&sup->store)) {
        if (!sup->leave_tried) {
            try_to_leave(sup);
            return;
        }
        control_answer(sup->control, sup->leave_client, "ok\n", -1, false);
        stop_leave(sup);
    } else if (is_coming(sup) && clock_mono_ns() - sup->leave_ns < LEAVE_LIMIT_NS) {
        loop_timer_set(sup->loop, t, LEAVE_EVERY_NS);
    } else if (sup->phase == PHASE_STARTING || sup->restart != RESTART_NONE) {
        leave_refuse(sup, "the daemon is still starting, or being restarted");
    } else {
        leave_refuse(sup, "nobody keeps what is open for the next daemon: see "
                          "daemon.fdstore, daemon.holder, and the log");
    }
}

void leave_request(struct supervisor *sup, uint64_t client)
{
    if (sup->leave_client) {
        control_answer(sup->control, client, "error it is leaving already\n", -1, true);
        return;
    }
    sup->leave_client = client;
    sup->leave_tried = false;
    sup->leave_ns = clock_mono_ns();
    sup->leave_timer.on_time = on_leave_timer;
    loop_timer_set(sup->loop, &sup->leave_timer, 0);
}
