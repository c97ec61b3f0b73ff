/* The restart in place, as the supervisor sees it: before the exec a trial, after it one process
 * after the other is replaced. The exec itself is a duty (reexec.c). */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/container.h"
#include "base/log.h"
#include "daemon/supervisor_private.h"

#define TRIAL_LIMIT_NS (20 * NS_PER_S)
#define QUIET_EVERY_NS (5 * NS_PER_MS)
#define QUIET_LIMIT_NS (40 * NS_PER_S) /* longer than a check of the tables may take */
#define RENEW_EVERY_NS (5 * NS_PER_MS)

/* ---- before the exec ---- */

static void restart_refuse(struct supervisor *sup, const char *why)
{
    char text[ERR_TEXT_MAX + 32];

    log_warn("not restarted: %s", why);
    snprintf(text, sizeof(text), "error %s\n", why);
    control_answer(sup->control, sup->restart_client, text, -1, true);
    sup->restart_client = 0;
    sup->restart = RESTART_NONE;
    if (sup->renews)
        restart_renew(sup); /* goes on */
}

static void restart_now(struct supervisor *sup)
{
    struct handover_own own = {
        .started_ns = sup->started_ns, .times = sup->restarted + 1, .life_fd = {-1, -1}};
    struct err err = {0};

    if (sup->holder)
        memcpy(own.life_fd, sup->holder->life, sizeof(own.life_fd));
    control_hand_over(sup->control, sup->restart_client, &own.control);
    children_hand_over(&sup->children, &own.children);
    log_notice("restarting in place");
    sup->duties->restart(sup->ctx, &own, &err);
    restart_refuse(sup, err.text);
}

/* A task would not find the supervisor that waits for it, a client would lose the rest of its
 * answer: both take a moment. */
static void on_restart_timer(struct loop_timer *t)
{
    struct supervisor *sup = container_of(t, struct supervisor, restart_timer);
    bool quiet =
        task_running(&sup->tasks) == 0 && !control_others(sup->control, sup->restart_client);

    if (sup->phase != PHASE_RUNNING)
        restart_refuse(sup, "the daemon is ending");
    else if (quiet || clock_mono_ns() - sup->restart_ns > QUIET_LIMIT_NS)
        restart_now(sup);
    else
        loop_timer_set(sup->loop, t, QUIET_EVERY_NS);
}

static int may_restart(void *arg, struct err *err)
{
    struct supervisor *sup = arg;

    return sup->duties->may_restart(sup->ctx, err);
}

int restart_try(struct supervisor *sup, task_done_fn *done)
{
    return task_start(&sup->tasks, may_restart, sup, TRIAL_LIMIT_NS, done, sup);
}

static void on_tried(void *ctx, int code, const char *text)
{
    struct supervisor *sup = ctx;

    if (code != SUPERVISOR_TAKES) {
        restart_refuse(sup, *text ? text : "the trial of the program did not end");
        return;
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
    else if (sup->restart == RESTART_TRIAL || (sup->restart == RESTART_RENEWING && !sup->stuck))
        why = "error a restart is under way already\n";
    else if (!sup->duties->may_restart)
        why = "error this daemon cannot be restarted in place\n";
    else if (restart_try(sup, on_tried) < 0)
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

static void on_renew_timer(struct loop_timer *t)
{
    struct supervisor *sup = container_of(t, struct supervisor, restart_timer);

    if (sup->phase > PHASE_RUNNING) {
        control_answer(sup->control, sup->restart_client,
                       "error restarted, but the daemon is ending now\n", -1, true);
    } else if (!children_renew(&sup->children, clock_mono_ns())) {
        loop_timer_set(sup->loop, t, RENEW_EVERY_NS);
    } else {
        sup->restart = RESTART_NONE;
        sup->renews = sup->stuck = false;
        log_notice("%s times=%u ms=%llu",
                   sup->taken->left ? "taken over, all processes are there"
                                    : "restarted in place, all processes replaced",
                   sup->restarted,
                   (unsigned long long)((clock_mono_ns() - sup->restart_ns) / NS_PER_MS));
        control_answer(sup->control, sup->restart_client, "ok\n", -1, true);
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
                   "error restarted, but a process cannot start, its log says why; those of before "
                   "serve on: mend it, and restart once more\n",
                   -1, true);
    sup->restart_client = 0;
}
