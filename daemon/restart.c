/* The restart in place, as the supervisor sees it: before the exec a trial, after it one process
 * after the other is replaced. The exec itself is a duty (reexec.c).
 *
 * A program of another version cannot work beside processes of this one. Then all of these end
 * before the exec, as they do when a daemon leaves (leave.c); the next image finds what it would
 * find after a death of all processes, and carries it over. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/container.h"
#include "base/log.h"
#include "daemon/supervisor_private.h"

#define QUIET_EVERY_NS (5 * NS_PER_MS)
#define QUIET_LIMIT_NS (40 * NS_PER_S) /* longer than a check of the tables may take */
#define RENEW_EVERY_NS (5 * NS_PER_MS)
#define START_LIMIT_NS (45 * NS_PER_S) /* of all processes of another version */

/* ---- before the exec ---- */

static void restart_refuse(struct supervisor *sup, const char *why)
{
    char text[ERR_TEXT_MAX + 32];

    if (sup->restart == RESTART_ENDING && sup->phase < PHASE_STOPPING)
        children_resume(&sup->children);
    log_warn("not restarted: %s", why);
    snprintf(text, sizeof(text), "error %s\n", why);
    control_answer(sup->control, sup->restart_client, text, -1, true);
    sup->restart_client = 0;
    sup->restart = RESTART_NONE;
    if (sup->renews)
        restart_renew(sup); /* goes on */
}

/* `left`: all children have ended, or will have. */
static void own_to_exec(const struct supervisor *sup, bool left, struct handover_own *ret)
{
    *ret = (struct handover_own){.started_ns = sup->started_ns,
                                 .times = sup->restarted + 1,
                                 .left = left,
                                 .in_place = true,
                                 .set = sup->set,
                                 .life_fd = {-1, -1}};
    if (sup->holder)
        memcpy(ret->life_fd, sup->holder->life, sizeof(ret->life_fd));
    control_hand_over(sup->control, sup->restart_client, &ret->control);
    if (!left)
        children_hand_over(&sup->children, &ret->children);
}

static void restart_now(struct supervisor *sup)
{
    struct handover_own own;
    struct err err = {0};

    own_to_exec(sup, sup->restart == RESTART_ENDING, &own);
    log_notice("restarting in place");
    sup->duties->restart(sup->ctx, &own, &err);
    restart_refuse(sup, err.text);
}

/* A task would not find the supervisor that waits for it, a client would lose the rest of its
 * answer: both take a moment. */
static bool is_quiet(const struct supervisor *sup)
{
    return (task_running(&sup->tasks) == 0 && !control_others(sup->control, sup->restart_client)) ||
           clock_mono_ns() - sup->restart_ns > QUIET_LIMIT_NS;
}

static void refuse_unkillable(struct supervisor *sup, pid_t pid)
{
    char why[80];

    snprintf(why, sizeof(why), "a process cannot be killed (it waits for a disk?): pid %d",
             (int)pid);
    restart_refuse(sup, why);
}

/* What others wait for is waited for while children serve: once they are asked to end, programs
 * wait. */
static void on_restart_timer(struct loop_timer *t)
{
    struct supervisor *sup = container_of(t, struct supervisor, restart_timer);
    bool ends = sup->restart == RESTART_ENDING;
    uint64_t now = clock_mono_ns();
    pid_t pid;

    if (sup->phase != PHASE_RUNNING) {
        restart_refuse(sup, "the daemon is ending");
    } else if (!(ends && sup->children.ending) && !is_quiet(sup)) {
        loop_timer_set(sup->loop, t, QUIET_EVERY_NS);
    } else if (ends && (pid = children_unkillable(&sup->children, now)) != 0) {
        refuse_unkillable(sup, pid);
    } else if (!ends || children_leave(&sup->children, now)) {
        restart_now(sup);
    } else {
        loop_timer_set(sup->loop, t, QUIET_EVERY_NS);
    }
}

/* Of what another version would find: to one of this version what the record says beside is always
 * right. */
static int may_restart(void *arg, struct err *err)
{
    struct supervisor *sup = arg;
    struct handover_own own;

    own_to_exec(sup, true, &own);
    return sup->duties->may_restart(sup->ctx, &own, err);
}

static void on_tried(void *ctx, int code, const char *text)
{
    struct supervisor *sup = ctx;

    if (code != SUPERVISOR_TAKES && code != SUPERVISOR_TAKES_LEFT) {
        restart_refuse(sup, *text ? text : "the trial of the program did not end");
        return;
    }
    if (code == SUPERVISOR_TAKES_LEFT) {
        log_notice("the program is now %s: all processes end, and it goes on with what they leave",
                   text);
        sup->restart = RESTART_ENDING;
    }
    loop_timer_set(sup->loop, &sup->restart_timer, 0);
}

void restart_request(struct supervisor *sup, uint64_t client)
{
    const char *why = NULL;

    if (sup->phase == PHASE_STARTING)
        why = "error the daemon is still starting, try again\n";
    else if (sup->phase != PHASE_RUNNING || sup->gone_looks || sup->leave_client)
        why = "error the daemon is ending\n";
    else if (sup->restart == RESTART_TRIAL || sup->restart == RESTART_ENDING ||
             (sup->restart == RESTART_RENEWING && !sup->stuck))
        why = "error a restart is under way already\n";
    else if (!sup->duties->may_restart)
        why = "error this daemon cannot be restarted in place\n";
    else if (task_start(&sup->tasks, may_restart, sup, RESTART_TRIAL_NS, on_tried, sup) < 0)
        why = "error too busy, try again\n";
    if (why) {
        control_answer(sup->control, client, why, -1, true);
        return;
    }
    loop_timer_cancel(sup->loop, &sup->restart_timer); /* of a renewal that is stuck */
    sup->restart = RESTART_TRIAL;
    sup->restart_ns = clock_mono_ns();
    sup->restart_client = client;
    sup->restart_timer.on_time = on_restart_timer;
}

/* ---- after it ---- */

static const char *how_it_came(const struct supervisor *sup)
{
    if (sup->returned)
        return "the program of before goes on, all processes are there";
    return sup->taken->in_place ? "restarted in place, all processes replaced"
                                : "taken over, all processes are there";
}

/* One that hangs, or is killed, at its start does not crash. */
static bool cannot_start(const struct supervisor *sup)
{
    return children_crash(&sup->children) ||
           (sup->taken->left && clock_mono_ns() - sup->restart_ns > START_LIMIT_NS);
}

static void on_renew_timer(struct loop_timer *t)
{
    struct supervisor *sup = container_of(t, struct supervisor, restart_timer);

    if (sup->phase > PHASE_RUNNING) {
        control_answer(sup->control, sup->restart_client,
                       "error restarted, but the daemon is ending now\n", -1, true);
    } else if (!children_renew(&sup->children, clock_mono_ns())) {
        if (!sup->stuck && cannot_start(sup))
            restart_setup_failed(sup);
        loop_timer_set(sup->loop, t, RENEW_EVERY_NS);
    } else {
        sup->restart = RESTART_NONE;
        sup->renews = sup->stuck = false;
        log_notice("%s times=%u ms=%llu", how_it_came(sup), sup->restarted,
                   (unsigned long long)((clock_mono_ns() - sup->restart_ns) / NS_PER_MS));
        control_answer(sup->control, sup->restart_client,
                       sup->returned ? "error the program cannot take over, its line in the log "
                                       "says why; the one of before goes on\n"
                                     : "ok\n",
                       -1, true);
        sup->restart_client = 0;
    }
}

void restart_renew(struct supervisor *sup)
{
    sup->restart = RESTART_RENEWING;
    sup->renews = true;
    sup->restart_ns = clock_mono_ns();
    sup->restart_timer.on_time = on_renew_timer;
    loop_timer_set(sup->loop, &sup->restart_timer, 0);
}

void restart_setup_failed(struct supervisor *sup)
{
    if (sup->restart != RESTART_RENEWING)
        return;
    sup->stuck = true;
    control_answer(sup->control, sup->restart_client,
                   sup->taken->left
                       ? "error restarted, but a process cannot start, its log says why; programs "
                         "wait: mend it, or put the version of before back, and restart once more\n"
                       : "error restarted, but a process cannot start, its log says why; those of "
                         "before serve on: mend it, and restart once more\n",
                   -1, true);
    sup->restart_client = 0;
}
