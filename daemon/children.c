/* Starts, reaps and restarts children. When the daemon ends is decided in stop.c, how long to wait
 * before a restart in respawn.c. */
#include "daemon/children.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/container.h"
#include "base/log.h"
#include "workers/op/worker_abi.h"

#define CRASHES_AT_START 3 /* in a row: the first two are started again within 100 ms */
#define UNKILLABLE_NS (2 * NS_PER_S)

void children_init(struct children *all, struct loop *loop, const struct children_ops *ops,
                   void *ops_ctx)
{
    memset(all, 0, sizeof(*all));
    all->loop = loop;
    all->ops = ops;
    all->ops_ctx = ops_ctx;
    all->hang_ns = CHILDREN_HANG_NS;
}

/* Does not return. Uses _exit: nothing that the supervisor registered or buffered may run twice. */
static void run_child(struct children *all, const struct child *c)
{
    all->ops->in_child(all->ops_ctx);
    _exit(c->role->entry(all->role_ctx, c->slot));
}

static int children_start_one(struct child *c)
{
    struct children *all = c->all;
    pid_t pid;
    int r;

    respawn_started(&c->respawn, clock_mono_ns());
    c->by_watchdog = c->pressed = false;
    c->told_ns = 0;
    r = child_fork(&pid);
    if (r < 0)
        return r;
    if (pid == 0)
        run_child(all, c);
    c->pid = pid;
    c->state = CHILD_RUNNING;
    log_debug("started %s slot=%u pid=%d", c->role->name, c->slot, (int)pid);
    return 0;
}

static void start_later(struct child *c, uint64_t delay_ns)
{
    c->state = CHILD_WAITING;
    loop_timer_set(c->all->loop, &c->start_at, delay_ns);
}

static void restart(struct child *c)
{
    int r;

    c->restarts++;
    r = children_start_one(c);
    if (r == 0)
        return;
    log_err("cannot start %s slot=%u, retrying: %s", c->role->name, c->slot, strerror(-r));
    start_later(c, RESPAWN_FIRST_NS);
}

static void on_start_at(struct loop_timer *t)
{
    struct child *c = container_of(t, struct child, start_at);

    restart(c);
}

/* Those of `handed` of this role and slot that is still our child, or NULL. */
static const struct child_handed *handed_of(const struct child *c,
                                            const struct children_handed *handed)
{
    for (unsigned i = 0; handed && i < handed->n; i++) {
        const struct child_handed *h = &handed->child[i];
        siginfo_t si;

        if (strcmp(h->role, c->role->name) == 0 && h->slot == c->slot && h->pid > 0 &&
            waitid(P_PID, (id_t)h->pid, &si, WEXITED | WNOHANG | WNOWAIT) == 0)
            return h;
    }
    return NULL;
}

static void child_adopt(struct child *c, const struct child_handed *h)
{
    c->state = CHILD_RUNNING;
    c->pid = h->pid;
    c->restarts = h->restarts;
    c->respawn.started_ns = h->started_ns;
    c->old = true;
}

/* As a start that is planned: none that counts. */
static void start_or_retry(struct child *c)
{
    int r = children_start_one(c);

    if (r == 0)
        return;
    log_err("cannot start %s slot=%u, retrying: %s", c->role->name, c->slot, strerror(-r));
    start_later(c, RESPAWN_FIRST_NS);
}

static int begin_child(struct child *c, const struct children_handed *handed)
{
    const struct child_handed *h = handed_of(c, handed);

    if (!handed)
        return children_start_one(c);
    if (h)
        child_adopt(c, h);
    else
        start_or_retry(c);
    return 0;
}

int children_take(struct children *all, const struct role *roles, unsigned n_roles, void *role_ctx,
                  const struct children_handed *handed)
{
    all->role_ctx = role_ctx;
    for (unsigned i = 0; i < n_roles; i++) {
        for (unsigned slot = 0; slot < roles[i].count; slot++) {
            struct child *c = &all->child[all->n];
            int r;

            if (all->n == CHILDREN_MAX)
                return -E2BIG;
            *c = (struct child){
                .start_at.on_time = on_start_at, .all = all, .role = &roles[i], .slot = slot};
            all->n++;
            r = begin_child(c, handed);
            if (r < 0)
                return r;
        }
    }
    return 0;
}

int children_start(struct children *all, const struct role *roles, unsigned n_roles, void *role_ctx)
{
    return children_take(all, roles, n_roles, role_ctx, NULL);
}

void children_hand_over(const struct children *all, struct children_handed *ret)
{
    memset(ret, 0, sizeof(*ret));
    for (unsigned i = 0; i < all->n; i++) {
        const struct child *c = &all->child[i];
        struct child_handed *h = &ret->child[ret->n];

        if (c->state != CHILD_RUNNING)
            continue;
        snprintf(h->role, sizeof(h->role), "%s", c->role->name);
        h->slot = c->slot;
        h->restarts = c->restarts;
        h->pid = c->pid;
        h->started_ns = c->respawn.started_ns;
        ret->n++;
    }
}

static void log_death(const struct child *c, int status, uint64_t delay_ns)
{
    char how[64];

    if (c->by_watchdog)
        snprintf(how, sizeof(how), "watchdog");
    else if (WIFSIGNALED(status))
        snprintf(how, sizeof(how), "signal=%d (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
    else
        snprintf(how, sizeof(how), "exit=%d", WEXITSTATUS(status));
    log_warn("%s ended, restarting slot=%u pid=%d %s restarts=%u delay_ms=%llu", c->role->name,
             c->slot, (int)c->pid, how, c->restarts + 1,
             (unsigned long long)(delay_ns / NS_PER_MS));
}

static void bury_and_restart(struct child *c, int status)
{
    enum respawn_death death = respawn_judge(status, c->by_watchdog);
    bool setup = WIFEXITED(status) && WEXITSTATUS(status) == WORKER_EXIT_SETUP;
    uint64_t delay = respawn_delay(&c->respawn, death, clock_mono_ns());

    log_death(c, status, delay);
    c->pid = 0;
    c->old = false;
    /* A worker that could not even start was not harmed by a request. */
    if (death == RESPAWN_CRASHED && !setup && c->role->on_crash)
        c->role->on_crash(c->all->role_ctx, c->slot);
    if (delay)
        start_later(c, delay);
    else
        restart(c);
    if (setup)
        c->all->ops->on_setup_failed(c->all->ops_ctx);
}

/* An old child has ended because we asked it to. */
static bool is_planned(const struct child *c, int status)
{
    if (!c->old || !c->told_ns || c->by_watchdog)
        return false;
    return (WIFEXITED(status) && WEXITSTATUS(status) == WORKER_EXIT_DONE) ||
           (c->pressed && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

/* No restart that counts, and nothing to wait for. */
static void replace(struct child *c)
{
    log_debug("%s replaced slot=%u pid=%d", c->role->name, c->slot, (int)c->pid);
    c->pid = 0;
    c->old = false;
    start_or_retry(c);
}

static void bury(struct child *c, bool unmounted)
{
    struct children *all = c->all;

    log_debug("%s ended slot=%u pid=%d", c->role->name, c->slot, (int)c->pid);
    c->pid = 0;
    c->old = false;
    c->state = CHILD_ENDED;
    if (unmounted)
        all->ops->on_unmounted(all->ops_ctx);
    all->ops->on_ended(all->ops_ctx);
}

bool children_reaped(struct children *all, pid_t pid, int status)
{
    bool unmounted = WIFEXITED(status) && WEXITSTATUS(status) == WORKER_EXIT_UNMOUNTED;

    for (unsigned i = 0; i < all->n; i++) {
        struct child *c = &all->child[i];

        if (c->state != CHILD_RUNNING || c->pid != pid)
            continue;
        if (all->ending || unmounted)
            bury(c, unmounted);
        else if (is_planned(c, status))
            replace(c);
        else
            bury_and_restart(c, status);
        return true;
    }
    return false;
}

static uint64_t last_turn(const struct child *c)
{
    uint64_t t = c->role->turned_ns(c->all->role_ctx, c->slot);

    return t > c->respawn.started_ns ? t : c->respawn.started_ns;
}

/* A supervisor that was itself delayed (stopped, or the machine stalled) kills no child: its
 * children had no more time than it had. */
void children_watch(struct children *all, uint64_t now_ns)
{
    bool late = now_ns - all->looked_ns > all->hang_ns / 2;

    all->looked_ns = now_ns;
    for (unsigned i = 0; i < all->n && !late; i++) {
        struct child *c = &all->child[i];
        uint64_t turn;

        if (c->state != CHILD_RUNNING || !c->role->turned_ns || c->by_watchdog)
            continue;
        turn = last_turn(c);
        if (turn >= now_ns || now_ns - turn < all->hang_ns)
            continue;
        log_err("%s does not respond, killing it slot=%u pid=%d seconds=%llu", c->role->name,
                c->slot, (int)c->pid, (unsigned long long)((now_ns - turn) / NS_PER_S));
        c->by_watchdog = true;
        kill(c->pid, SIGKILL);
    }
}

void children_end(struct children *all)
{
    all->ending = true;
    for (unsigned i = 0; i < all->n; i++) {
        struct child *c = &all->child[i];

        loop_timer_cancel(all->loop, &c->start_at);
        if (c->state == CHILD_WAITING)
            c->state = CHILD_ENDED;
    }
}

void children_signal_some(struct children *all, int sig, bool serving)
{
    for (unsigned i = 0; i < all->n; i++) {
        struct child *c = &all->child[i];

        if (c->state == CHILD_RUNNING && c->role->serves == serving)
            kill(c->pid, sig);
    }
}

void children_signal(struct children *all, int sig)
{
    children_signal_some(all, sig, true);
    children_signal_some(all, sig, false);
}

unsigned children_running(const struct children *all)
{
    unsigned n = 0;

    for (unsigned i = 0; i < all->n; i++)
        n += all->child[i].state == CHILD_RUNNING;
    return n;
}

unsigned children_serving(const struct children *all)
{
    unsigned n = 0;

    for (unsigned i = 0; i < all->n; i++)
        n += all->child[i].role->serves && all->child[i].state != CHILD_ENDED;
    return n;
}

unsigned children_restarts(const struct children *all)
{
    unsigned n = 0;

    for (unsigned i = 0; i < all->n; i++)
        n += all->child[i].restarts;
    return n;
}

static bool has_turned(const struct child *c)
{
    return c->state == CHILD_RUNNING &&
           (!c->role->turned_ns ||
            c->role->turned_ns(c->all->role_ctx, c->slot) >= c->respawn.started_ns);
}

bool children_turned(const struct children *all)
{
    for (unsigned i = 0; i < all->n; i++) {
        if (all->child[i].role->serves && has_turned(&all->child[i]))
            return true;
    }
    return false;
}

/* Asks an old child to end; one that takes too long is killed. */
static void press(struct child *c, uint64_t now_ns)
{
    if (!c->told_ns) {
        c->told_ns = now_ns;
        kill(c->pid, SIGTERM);
    } else if (!c->pressed && now_ns - c->told_ns >= CHILDREN_LEAVE_NS) {
        log_notice("%s takes too long to end, killing it to replace it slot=%u pid=%d",
                   c->role->name, c->slot, (int)c->pid);
        c->pressed = true;
        kill(c->pid, SIGKILL);
    }
}

bool children_renew(struct children *all, uint64_t now_ns)
{
    for (unsigned i = 0; i < all->n; i++) {
        struct child *c = &all->child[i];

        if (c->old)
            press(c, now_ns);
        if (c->old || !has_turned(c))
            return false;
    }
    return true;
}

bool children_crash(const struct children *all)
{
    for (unsigned i = 0; i < all->n; i++) {
        const struct child *c = &all->child[i];

        if (!c->old && !has_turned(c) && c->respawn.crashes >= CRASHES_AT_START)
            return true;
    }
    return false;
}

static unsigned count_running(const struct children *all, bool serving)
{
    unsigned n = 0;

    for (unsigned i = 0; i < all->n; i++)
        n += all->child[i].state == CHILD_RUNNING && all->child[i].role->serves == serving;
    return n;
}

bool children_leave(struct children *all, uint64_t now_ns)
{
    bool serving;

    children_end(all);
    serving = count_running(all, true);
    for (unsigned i = 0; i < all->n; i++) {
        struct child *c = &all->child[i];

        if (c->state == CHILD_RUNNING && c->role->serves == serving)
            press(c, now_ns);
    }
    return children_running(all) == 0;
}

pid_t children_unkillable(const struct children *all, uint64_t now_ns)
{
    for (unsigned i = 0; i < all->n; i++) {
        const struct child *c = &all->child[i];

        if (c->state == CHILD_RUNNING && c->pressed &&
            now_ns - c->told_ns >= CHILDREN_LEAVE_NS + UNKILLABLE_NS)
            return c->pid;
    }
    return 0;
}

/* (One that was asked to end, and has not yet, is replaced then.) */
void children_resume(struct children *all)
{
    all->ending = false;
    for (unsigned i = 0; i < all->n; i++) {
        struct child *c = &all->child[i];

        if (c->state == CHILD_ENDED)
            start_or_retry(c);
        else if (c->state == CHILD_RUNNING && c->told_ns)
            c->old = true;
    }
}

const char *child_state_name(enum child_state state)
{
    static const char *const names[] = {
        [CHILD_NONE] = "none",
        [CHILD_RUNNING] = "running",
        [CHILD_WAITING] = "waiting",
        [CHILD_ENDED] = "ended",
    };

    return names[state];
}
