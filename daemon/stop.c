/* How the supervisor ends, phase by phase (listed in supervisor.h). Each phase waits for children
 * or tasks, up to a deadline; a second request to end cuts all waiting short. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/container.h"
#include "base/log.h"
#include "base/log_journal.h"
#include "daemon/exit_code.h"
#include "daemon/supervisor_private.h"

#define LOOK_EVERY_NS (50 * NS_PER_MS)
#define LOOK_LIMIT_NS (5 * NS_PER_S)
#define GONE_LOOKS 10
#define UNMOUNT_LIMIT_NS (10 * NS_PER_S)
#define STOP_LIMIT_NS (2 * NS_PER_S)
#define AFTER_DRAIN_NS (UNMOUNT_LIMIT_NS + 2 * STOP_LIMIT_NS + LOOK_LIMIT_NS)

const char *stop_phase_name(enum phase phase)
{
    static const char *const names[] = {"starting",  "running",  "draining", "unmounting",
                                        "lingering", "stopping", "looking",  "ended"};

    return names[phase];
}

/* ---- ENDED ---- */

static bool is_mounted(const struct supervisor *sup)
{
    return sup->run && sup->run->unmounts && !sup->gone && sup->duties->mounted &&
           sup->duties->mounted(sup->ctx);
}

/* Sets the exit code, unless one other than 0 is set already. */
static void end_with(struct supervisor *sup, int exit_code)
{
    if (sup->exit_code == EXIT_CODE_OK)
        sup->exit_code = exit_code;
}

static void stop_end(struct supervisor *sup)
{
    if (!sup->leaves && is_mounted(sup)) {
        log_err("the mount could not be removed: remove it with umount -l");
        end_with(sup, EXIT_CODE_SYSTEM);
    }
    sup->phase = PHASE_ENDED;
    log_notice("ended exit=%d", sup->exit_code);
}

/* ---- LOOKING: was everything published? ---- */

static int look_last(void *arg, struct err *err)
{
    struct supervisor *sup = arg;

    return sup->duties->look_last(sup->ctx, err);
}

static void on_last_look(void *ctx, int code, const char *text)
{
    struct supervisor *sup = ctx;

    if (code == SUPERVISOR_UNPUBLISHED || code == TASK_DIED) {
        log_err("written data did not reach S3: %s", text);
        if (sup->exit_code == EXIT_CODE_ABORTED)
            sup->exit_code = EXIT_CODE_UNPUBLISHED;
        end_with(sup, EXIT_CODE_UNPUBLISHED);
    }
    stop_end(sup);
}

static void enter_looking(struct supervisor *sup)
{
    sup->phase = PHASE_LOOKING;
    log_journal_close(); /* for the last lines of this process */
    loop_timer_cancel(sup->loop, &sup->deadline_timer);
    if (task_start(&sup->tasks, look_last, sup, LOOK_LIMIT_NS, on_last_look, sup) < 0)
        stop_end(sup);
}

/* ---- STOPPING: children end, or are killed ---- */

static void after_stopping(struct supervisor *sup)
{
    if (!sup->leaves) {
        enter_looking(sup);
        return;
    }
    log_journal_close(); /* for the last lines of this process */
    loop_timer_cancel(sup->loop, &sup->deadline_timer);
    stop_end(sup);
}

/* Those that serve first: as long as one does, it needs the others (who is the caller of a
 * request?). */
static void end_children(struct supervisor *sup, uint64_t limit_ns)
{
    sup->phase = PHASE_STOPPING;
    loop_timer_cancel(sup->loop, &sup->look_timer);
    task_kill_all(&sup->tasks); /* their results no longer matter */
    children_end(&sup->children);
    if (sup->leaves)
        children_signal_some(&sup->children, SIGTERM, true);
    else
        children_signal(&sup->children, SIGTERM);
    loop_timer_set(sup->loop, &sup->deadline_timer, limit_ns);
    stop_look_around(sup);
}

static void enter_stopping(struct supervisor *sup)
{
    end_children(sup, STOP_LIMIT_NS);
}

static void kill_rest(struct supervisor *sup)
{
    if (sup->killed) {
        log_err("some processes cannot be killed: exiting without them");
        if (!sup->leaves) /* (the next daemon waits for them) */
            end_with(sup, EXIT_CODE_SYSTEM);
        after_stopping(sup);
        return;
    }
    sup->killed = true;
    log_warn("processes did not exit in time: killing them");
    task_kill_all(&sup->tasks);
    children_signal(&sup->children, SIGKILL);
    /* A process that waits in the kernel for a reply to a request does not even die of SIGKILL. (If
     * the next daemon is to reply, it does.) */
    if (!sup->leaves)
        sup->duties->abort(sup->ctx);
    loop_timer_set(sup->loop, &sup->deadline_timer, STOP_LIMIT_NS);
}

/* ---- LINGERING: unmounted, or not ours to unmount: open files are served ---- */

static int linger(void *arg, struct err *err)
{
    struct supervisor *sup = arg;

    return sup->duties->linger(sup->ctx, err);
}

static void on_lingered(void *ctx, int code, const char *text)
{
    struct supervisor *sup = ctx;

    (void)text;
    if (sup->phase != PHASE_LINGERING)
        return;
    if (code == SUPERVISOR_IDLE)
        enter_stopping(sup);
    else
        loop_timer_set(sup->loop, &sup->look_timer, LOOK_EVERY_NS);
}

static void enter_lingering(struct supervisor *sup)
{
    sup->phase = PHASE_LINGERING;
    if (sup->forced)
        enter_stopping(sup);
    else
        loop_timer_set(sup->loop, &sup->look_timer, 0);
}

/* ---- UNMOUNTING ---- */

static int unmount(void *arg, struct err *err)
{
    struct supervisor *sup = arg;

    return sup->duties->unmount(sup->ctx, err);
}

static void on_unmount_done(void *ctx, int code, const char *text)
{
    struct supervisor *sup = ctx;

    sup->gone |= code == 0;
    if (code != 0) {
        log_warn("cannot unmount: %s", *text ? text : "timed out");
        sup->duties->abort(sup->ctx);
    }
    if (sup->phase == PHASE_UNMOUNTING)
        enter_lingering(sup);
}

static void enter_unmounting(struct supervisor *sup)
{
    sup->phase = PHASE_UNMOUNTING;
    loop_timer_cancel(sup->loop, &sup->look_timer);
    if (!sup->run || !(sup->run->unmounts || sup->run->lingers))
        enter_stopping(sup);
    else if (!sup->run->unmounts)
        enter_lingering(sup);
    else if (task_start(&sup->tasks, unmount, sup, UNMOUNT_LIMIT_NS, on_unmount_done, sup) < 0)
        on_unmount_done(sup, TASK_DIED, "no process could be started for it");
}

/* ---- DRAINING: nothing is in flight, everything published? ---- */

static int stop_look(void *arg, struct err *err)
{
    struct supervisor *sup = arg;

    return sup->duties->look(sup->ctx, err);
}

static void on_looked(void *ctx, int code, const char *text)
{
    struct supervisor *sup = ctx;

    (void)text;
    if (sup->phase != PHASE_DRAINING)
        return;
    if (code == SUPERVISOR_IDLE || sup->forced)
        enter_unmounting(sup);
    else
        loop_timer_set(sup->loop, &sup->look_timer, LOOK_EVERY_NS);
}

static void on_look_timer(struct loop_timer *t)
{
    struct supervisor *sup = container_of(t, struct supervisor, look_timer);
    bool lingering = sup->phase == PHASE_LINGERING;

    if (task_start(&sup->tasks, lingering ? linger : stop_look, sup, LOOK_LIMIT_NS,
                   lingering ? on_lingered : on_looked, sup) < 0)
        loop_timer_set(sup->loop, t, LOOK_EVERY_NS);
}

static void enter_draining(struct supervisor *sup)
{
    char what[80];

    sup->phase = PHASE_DRAINING;
    sup->duties->set_draining(sup->ctx);
    log_notice("draining: refusing new opens, finishing uploads");
    /* The service manager's time limit for stopping may be shorter than the one configured here. */
    snprintf(what, sizeof(what), "STOPPING=1\nEXTEND_TIMEOUT_USEC=%llu\n",
             (unsigned long long)((sup->drain_timeout_ns + AFTER_DRAIN_NS) / 1000));
    sd_notify_tell(&sup->notify, what, "finishing uploads");
    loop_timer_set(sup->loop, &sup->deadline_timer, sup->drain_timeout_ns);
    loop_timer_set(sup->loop, &sup->look_timer, 0);
}

/* ---- the mount is gone, or the kernel has ended its connection ---- */

static void end_unserved(struct supervisor *sup, const char *status)
{
    if (sup->phase < PHASE_DRAINING) {
        sd_notify_tell(&sup->notify, "STOPPING=1\n", status);
        loop_timer_set(sup->loop, &sup->deadline_timer, sup->drain_timeout_ns);
    }
    enter_lingering(sup);
}

/* `umount -f` first ends the connection, then unmounts. */
static void on_gone_timer(struct loop_timer *t)
{
    struct supervisor *sup = container_of(t, struct supervisor, gone_timer);

    if (sup->phase >= PHASE_UNMOUNTING)
        return;
    if (!is_mounted(sup)) {
        log_notice("unmounted from outside: exiting");
        sup->gone = true;
        if (sup->duties->gone && sup->phase < PHASE_DRAINING) /* (else it was to end anyway) */
            end_with(sup, sup->duties->gone(sup->ctx));
        end_unserved(sup, "unmounted");
    } else if (sup->gone_looks++ < GONE_LOOKS) {
        loop_timer_set(sup->loop, t, LOOK_EVERY_NS);
    } else {
        log_err("the kernel has ended the connection of the mount (umount -f, an abort in "
                "/sys/fs/fuse/connections, or a request older than fs.fuse.max_request_timeout): "
                "programs that use the mount get ENOTCONN; exiting, to be started again");
        end_with(sup, EXIT_CODE_ABORTED);
        sup->duties->abort(sup->ctx);
        end_unserved(sup, "the connection has ended");
    }
}

/* ---- from outside ---- */

static void force(struct supervisor *sup, const char *why)
{
    if (sup->forced)
        return;
    sup->forced = true;
    log_warn("shutting down at once: %s", why);
    /* Before the unmount: after it nothing but this abort can release the callers that wait in the
     * mount. */
    sup->duties->abort(sup->ctx);
    switch (sup->phase) {
    case PHASE_DRAINING:
        enter_unmounting(sup);
        break;
    case PHASE_LINGERING:
        enter_stopping(sup);
        break;
    default: /* UNMOUNTING: the abort releases its task; the phase continues when that ends */
        break;
    }
}

static void on_deadline(struct loop_timer *t)
{
    struct supervisor *sup = container_of(t, struct supervisor, deadline_timer);

    if (sup->phase == PHASE_STOPPING)
        kill_rest(sup);
    else
        force(sup, "the drain timeout has passed");
}

void stop_init(struct supervisor *sup)
{
    sup->phase = PHASE_STARTING;
    sup->look_timer.on_time = on_look_timer;
    sup->deadline_timer.on_time = on_deadline;
    sup->gone_timer.on_time = on_gone_timer;
}

void stop_begin(struct supervisor *sup, bool again)
{
    if (sup->phase <= PHASE_RUNNING)
        enter_draining(sup);
    else if (again && !sup->leaves)
        force(sup, "requested twice");
}

void stop_leave(struct supervisor *sup)
{
    log_notice("leaving what is open to the next daemon");
    sd_notify_tell(&sup->notify, "STOPPING=1\n", "leaving what is open to the next daemon");
    sup->leaves = true;
    sup->exit_code = EXIT_CODE_LEFT;
    end_children(sup, CHILDREN_LEAVE_NS);
}

void stop_failed(struct supervisor *sup, int exit_code)
{
    if (sup->phase >= PHASE_STOPPING)
        return;
    sup->exit_code = exit_code;
    sup->duties->abort(sup->ctx);
    enter_stopping(sup);
}

/* Each worker notices it by itself; the first report counts. The other workers are left to notice
 * it too. */
void stop_unmounted(struct supervisor *sup)
{
    if (sup->phase < PHASE_UNMOUNTING && sup->gone_looks == 0)
        on_gone_timer(&sup->gone_timer);
}

void stop_look_around(struct supervisor *sup)
{
    if (sup->leaves && !sup->all_told && children_serving(&sup->children) == 0) {
        sup->all_told = true;
        children_signal_some(&sup->children, SIGTERM, false);
    }
    if (sup->phase == PHASE_STOPPING && children_running(&sup->children) == 0 &&
        task_running(&sup->tasks) == 0)
        after_stopping(sup);
    else if (sup->phase == PHASE_LINGERING && children_serving(&sup->children) == 0)
        enter_stopping(sup); /* no process is left to serve open files */
}
