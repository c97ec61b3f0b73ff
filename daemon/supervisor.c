/* The supervisor's loop: signals, deaths of children, readiness, health. The end is in stop.c, the
 * replies on the control socket are in answer.c. */
#include "daemon/supervisor.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/container.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/log_journal.h"
#include "daemon/exit_code.h"
#include "daemon/supervisor_private.h"

#define READY_POLL_NS (5 * NS_PER_MS)
#define HEALTH_NS (2 * NS_PER_S)
#define GIVE_POLL_NS NS_PER_MS
#define GIVE_LIMIT_NS (2 * NS_PER_S) /* programs wait */
#define INFLIGHT_LIMIT_NS (10 * NS_PER_S)

static const int handled[] = {SIGCHLD, SIGTERM, SIGINT, SIGHUP, SIGUSR1};

/* ---- children ---- */

static void reap(struct supervisor *sup)
{
    int status;
    pid_t pid;

    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        if (!children_reaped(&sup->children, pid, status))
            (void)task_reaped(&sup->tasks, pid, status); /* or a child that is not ours */
    }
    stop_look_around(sup);
}

static void on_unmounted(void *ctx)
{
    stop_unmounted(ctx);
}

/* During the start this ends the daemon; later, the missing resource may become available again. */
static void on_setup_failed(void *ctx)
{
    struct supervisor *sup = ctx;

    if (sup->phase == PHASE_STARTING)
        stop_failed(sup, EXIT_CODE_SYSTEM);
    else
        restart_setup_failed(sup);
}

static void on_ended(void *ctx)
{
    stop_look_around(ctx);
}

/* In a new child: only the supervisor keeps the control socket, its clients and the loop. */
static void in_child(void *ctx)
{
    struct supervisor *sup = ctx;

    control_forget(sup->control);
    if (sup->holder)
        holder_forget(sup->holder);
    close(sup->signals.fd);
    loop_forget(sup->loop);
}

/* A task ends soon after its lines: see log_journal.h. */
static void in_task(void *ctx)
{
    struct supervisor *sup = ctx;

    in_child(sup);
    log_journal_close();
    if (sup->duties->in_task)
        sup->duties->in_task(sup->ctx);
}

static const struct children_ops children_ops = {
    .on_unmounted = on_unmounted,
    .on_setup_failed = on_setup_failed,
    .on_ended = on_ended,
    .in_child = in_child,
};

/* ---- signals ---- */

static void on_inflight_logged(void *ctx, int code, const char *text)
{
    (void)ctx;
    if (code != 0)
        log_warn("in-flight table not logged: %s", text);
}

static int log_inflight(void *arg, struct err *err)
{
    struct supervisor *sup = arg;

    return sup->duties->log_inflight(sup->ctx, err);
}

static void on_signal(struct supervisor *sup, int sig)
{
    switch (sig) {
    case SIGCHLD:
        reap(sup);
        break;
    case SIGTERM:
    case SIGINT:
        stop_begin(sup, true);
        break;
    case SIGHUP:
        if (sup->duties->reload)
            sup->duties->reload(sup->ctx);
        break;
    case SIGUSR1:
        if (sup->phase >= PHASE_STOPPING ||
            task_start(&sup->tasks, log_inflight, sup, INFLIGHT_LIMIT_NS, on_inflight_logged, sup) <
                0)
            log_warn("in-flight table not logged: too busy");
        break;
    default:
        break;
    }
}

static void on_signals(struct loop_watch *w, uint32_t events)
{
    struct signalfd_siginfo si;

    (void)events;
    while (read(w->fd, &si, sizeof(si)) == sizeof(si))
        on_signal(container_of(w, struct supervisor, signals), (int)si.ssi_signo);
}

static int watch_signals(struct supervisor *sup)
{
    sigset_t set;

    sigemptyset(&set);
    for (size_t i = 0; i < sizeof(handled) / sizeof(handled[0]); i++)
        sigaddset(&set, handled[i]);
    if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
        return -errno;
    signal(SIGPIPE, SIG_IGN);
    sup->signals.fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (sup->signals.fd < 0)
        return -errno;
    sup->signals.on_event = on_signals;
    return loop_add(sup->loop, &sup->signals, EPOLLIN);
}

static void on_forget(struct loop_watch *w, uint32_t events)
{
    struct supervisor *sup = container_of(w, struct supervisor, forget);

    (void)events;
    fd_event_clear(w->fd);
    sup->duties->forget(sup->ctx);
}

static int watch_forget(struct supervisor *sup)
{
    if (!sup->duties->forget)
        return 0;
    sup->forget.fd = sup->run->forget_fd;
    sup->forget.on_event = on_forget;
    return loop_add(sup->loop, &sup->forget, EPOLLIN);
}

/* ---- verifying ---- */

static int verify(void *arg, struct err *err)
{
    struct supervisor *sup = arg;

    return sup->duties->verify(sup->ctx, err);
}

static void on_verified(void *ctx, int code, const char *text)
{
    struct supervisor *sup = ctx;

    sup->verifying = false;
    if (sup->phase >= PHASE_STOPPING)
        return; /* (it was killed with all other tasks) */
    sup->duties->verified(sup->ctx, code == 0);
    if (code == 0)
        return;
    log_err("%s", code == TASK_DIED ? "the check of the server did not come to its end" : text);
    stop_failed(sup, code == TASK_DIED ? EXIT_CODE_S3 : code);
}

static int start_verifying(struct supervisor *sup)
{
    uint64_t limit = sup->run->verify_limit_ns;

    sup->verifying = limit;
    return limit ? task_start(&sup->tasks, verify, sup, limit, on_verified, sup) : 0;
}

/* ---- beyond our death ---- */

void own_to_leave(const struct supervisor *sup, struct handover_own *ret)
{
    *ret = (struct handover_own){.started_ns = sup->started_ns,
                                 .times = sup->restarted,
                                 .left = true,
                                 .set = sup->set,
                                 .life_fd = {-1, -1}};
    control_hand_over(sup->control, 0, &ret->control);
}

/* Once. */
static void keep_open_things(struct supervisor *sup)
{
    struct fdstore_to to = sup->holder ? holder_to(sup->holder) : fdstore_to_manager(&sup->manager);
    struct handover_own own;
    struct err err = {0};
    int record;

    if (!(sup->uses_store || sup->holder) || !sup->duties->leave || sup->store.record.rec)
        return;
    sup->manager.set = ++sup->set;
    own_to_leave(sup, &own);
    record = sup->duties->leave(sup->ctx, &own, &err);
    if (record < 0)
        log_warn("descriptors cannot be kept by %s: %s", to.whom, err.text);
    else
        fdstore_keep(&sup->store, sup->loop, &to, record);
}

static void on_holder_ready(void *ctx)
{
    struct supervisor *sup = ctx;

    fdstore_again(&sup->store);
}

/* ---- timers ---- */

static void become_ready(struct supervisor *sup)
{
    char status[512];

    sup->phase = PHASE_RUNNING;
    log_notice("ready %s", sup->run->title);
    snprintf(status, sizeof(status), "serving %s", sup->run->title);
    sd_notify_tell(&sup->notify, "READY=1\n", status);
    keep_open_things(sup);
}

static void on_ready_timer(struct loop_timer *t)
{
    struct supervisor *sup = container_of(t, struct supervisor, ready_timer);

    if (sup->phase != PHASE_STARTING)
        return;
    if (!children_turned(&sup->children) || sup->verifying) {
        loop_timer_set(sup->loop, t, READY_POLL_NS);
        return;
    }
    become_ready(sup);
    if (sup->taken)
        restart_renew(sup);
}

static void on_health_timer(struct loop_timer *t)
{
    struct supervisor *sup = container_of(t, struct supervisor, health_timer);
    unsigned restarts = children_restarts(&sup->children);
    char status[80];

    children_watch(&sup->children, clock_mono_ns());
    log_journal_renew();
    if (sup->phase == PHASE_RUNNING && restarts != sup->told_restarts) {
        snprintf(status, sizeof(status), "serving, %u restarts of workers", restarts);
        sd_notify_tell(&sup->notify, "", status);
        sup->told_restarts = restarts;
    }
    loop_timer_set(sup->loop, t, HEALTH_NS);
}

static void on_watchdog_timer(struct loop_timer *t)
{
    struct supervisor *sup = container_of(t, struct supervisor, watchdog_timer);

    if (sd_notify_send(&sup->notify, "WATCHDOG=1") < 0)
        log_debug("cannot notify the watchdog of the service manager");
    loop_timer_set(sup->loop, t, sup->notify.watchdog_ns / 2);
}

static void start_timers(struct supervisor *sup)
{
    sup->ready_timer.on_time = on_ready_timer;
    sup->health_timer.on_time = on_health_timer;
    sup->watchdog_timer.on_time = on_watchdog_timer;
    loop_timer_set(sup->loop, &sup->ready_timer, 0);
    loop_timer_set(sup->loop, &sup->health_timer, HEALTH_NS);
    if (sup->notify.watchdog_ns)
        loop_timer_set(sup->loop, &sup->watchdog_timer, 0);
}

/* ---- life ---- */

/* Goes on with what the image before this one has left. */
static int take_over(struct supervisor *sup, const struct handover_own *taken, struct err *err)
{
    sup->taken = taken;
    sup->started_ns = taken->started_ns;
    sup->restarted = taken->times - sup->returned;
    sup->set = taken->set;
    if (taken->control.listener_fd < 0)
        return 0;
    return control_take(sup->loop, &taken->control, answer_request, sup, &sup->control,
                        &sup->restart_client, err);
}

int supervisor_new(const struct supervisor_opts *opts, struct supervisor **ret_sup, struct err *err)
{
    struct supervisor *sup = calloc(1, sizeof(*sup));
    int r;

    if (!sup)
        return err_set(err, ENOMEM, "out of memory");
    sup->duties = opts->duties;
    sup->ctx = opts->ctx;
    sup->drain_timeout_ns = opts->drain_timeout_ns;
    sup->uses_store = opts->fdstore;
    sup->holder = opts->holder;
    sup->carried = opts->carried;
    sup->returned = opts->returned;
    sup->manager = (struct fdstore_manager){.notify = &sup->notify,
                                            .gone = {opts->gone_fd[0], opts->gone_fd[1]}};
    sup->signals.fd = -1;
    sup->started_ns = clock_mono_ns();
    sd_notify_init(&sup->notify, opts->env);
    r = loop_new(&sup->loop);
    if (r == 0)
        r = watch_signals(sup);
    if (r < 0)
        err_set(err, -r, "cannot watch for signals: %s", strerror(-r));
    if (r == 0 && opts->taken)
        r = take_over(sup, opts->taken, err);
    else if (r == 0 && opts->socket)
        r = control_open(sup->loop, opts->socket, opts->socket_dir, answer_request, sup,
                         &sup->control, err);
    if (r < 0) {
        supervisor_free(sup);
        return r;
    }
    children_init(&sup->children, sup->loop, &children_ops, sup);
    task_set_init(&sup->tasks, sup->loop, in_task, sup);
    stop_init(sup);
    if (sup->holder)
        holder_watch(sup->holder, sup->loop, on_holder_ready, sup);
    *ret_sup = sup;
    return 0;
}

void supervisor_free(struct supervisor *sup)
{
    if (!sup)
        return;
    control_close(sup->control, sup->leaves);
    if (sup->signals.fd >= 0)
        close(sup->signals.fd);
    loop_free(sup->loop);
    free(sup);
}

/* The children that were taken over serve already. One that died meanwhile has left its signal, or
 * none if that was read by the image before. A daemon that is gone has left none: then it is a
 * start as others, which ends the daemon if no child can be set up. If this process has ended them,
 * to go on as another version, it is none: the operator may put the program of before back. */
static void go_on(struct supervisor *sup)
{
    if (!sup->taken->in_place || sup->phase != PHASE_STARTING)
        return;
    sup->told_restarts = children_restarts(&sup->children);
    become_ready(sup);
    reap(sup);
    restart_renew(sup);
}

/* `r`: of what came before. */
static void start_serving(struct supervisor *sup, int r)
{
    const struct supervisor_run *run = sup->run;

    if (r == 0)
        r = children_take(&sup->children, run->roles, run->n_roles, sup->ctx,
                          sup->taken ? &sup->taken->children : NULL);
    if (r == 0)
        r = start_verifying(sup);
    if (r < 0) {
        log_journal_close(); /* it ends at once */
        log_err("cannot start the workers: %s", strerror(-r));
        stop_failed(sup, EXIT_CODE_SYSTEM);
    } else if (sup->taken) {
        go_on(sup);
    }
}

/* ---- what was carried over ---- */

static bool is_being_given(const struct supervisor *sup)
{
    return clock_mono_ns() - sup->give_ns < GIVE_LIMIT_NS &&
           (!sup->holder || sup->holder->state != HOLDER_AWAY) && fdstore_is_coming(&sup->store);
}

/* Without a keeper, or if it does not answer, the tables from before are spoilt all the same: they
 * do not say any more what is true once the first request has been served. */
static void on_give_timer(struct loop_timer *t)
{
    struct supervisor *sup = container_of(t, struct supervisor, give_timer);
    struct err err = {0};

    if (sup->phase >= PHASE_STOPPING)
        return;
    if (is_being_given(sup)) {
        loop_timer_set(sup->loop, t, GIVE_POLL_NS);
        return;
    }
    if (sup->duties->taken(sup->ctx, &err) < 0) {
        log_journal_close(); /* it ends at once */
        log_err("%s", err.text);
        stop_failed(sup, EXIT_CODE_SYSTEM);
        return;
    }
    start_serving(sup, 0);
}

/* The keeper has the old tables. At any time it has those that are true: it is given the new ones
 * before the old ones are spoilt, and these are spoilt before anybody uses the new ones. */
static void give_first(struct supervisor *sup)
{
    keep_open_things(sup);
    sup->give_ns = clock_mono_ns();
    sup->give_timer.on_time = on_give_timer;
    loop_timer_set(sup->loop, &sup->give_timer, 0);
}

int supervisor_run(struct supervisor *sup, const struct supervisor_run *run)
{
    int r;

    sup->run = run;
    /* The other half is left to the replacement, for the requests that it takes over. */
    if (run->request_limit_ns && run->request_limit_ns / 2 < sup->children.hang_ns)
        sup->children.hang_ns = run->request_limit_ns / 2;
    r = watch_forget(sup);
    start_timers(sup);
    if (r == 0 && sup->carried)
        give_first(sup);
    else
        start_serving(sup, r);
    while (sup->phase != PHASE_ENDED) {
        r = loop_turn(sup->loop);
        if (r < 0) {
            log_err("the event loop failed: %s", strerror(-r));
            children_signal(&sup->children, SIGKILL);
            return EXIT_CODE_SYSTEM;
        }
    }
    if (!sup->leaves && sup->holder && !sup->store.record.rec)
        holder_drop(sup->holder); /* it has what the daemon before has left */
    else if (!sup->leaves)
        fdstore_drop(&sup->store);
    answer_ended(sup);
    return sup->exit_code;
}
