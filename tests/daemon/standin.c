/* The stand-in children and duties. */
#include "tests/daemon/standin.h"

#include <assert.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "daemon/supervisor.h"
#include "workers/op/worker_abi.h"

struct standin *standin_new(void)
{
    struct standin *b =
        mmap(NULL, sizeof(*b), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    assert(b != MAP_FAILED);
    return b;
}

void standin_free(struct standin *b)
{
    munmap(b, sizeof(*b));
}

/* ---- children ---- */

static volatile sig_atomic_t told;

static void on_term(int sig)
{
    (void)sig;
    told = 1;
}

static void nap(void)
{
    struct timespec ts = {.tv_nsec = 1000 * 1000};

    nanosleep(&ts, NULL);
}

/* Children have it blocked. */
static void take_term(void (*handler)(int sig))
{
    sigset_t set;

    signal(SIGTERM, handler);
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
}

static int serve(struct standin *b, struct standin_worker *w)
{
    while (!told && atomic_load(&b->mounted)) {
        atomic_store(&w->turned_ns, clock_mono_ns());
        nap();
    }
    return told ? WORKER_EXIT_DONE : WORKER_EXIT_UNMOUNTED;
}

static int worker(void *ctx, unsigned slot)
{
    struct standin *b = ctx;
    struct standin_worker *w = &b->worker[slot];
    unsigned n = atomic_fetch_add(&w->starts, 1);
    int does = atomic_load(&b->does);

    if (n < STANDIN_STARTS)
        atomic_store(&w->start_ns[n], clock_mono_ns());
    if (does != STANDIN_STUBBORN)
        take_term(on_term);
    if (does == STANDIN_FAILS)
        return WORKER_EXIT_SETUP;
    if (does == STANDIN_CRASHES) {
        signal(SIGSEGV, SIG_DFL); /* a sanitizer's handler would exit instead */
        raise(SIGSEGV);
    }
    atomic_store(&w->pid, getpid());
    return serve(b, w);
}

static int notifier(void *ctx, unsigned slot)
{
    struct standin *b = ctx;

    (void)slot;
    take_term(SIG_DFL);
    atomic_store(&b->notifier, getpid());
    while (pause() < 0)
        ;
    return WORKER_EXIT_DONE;
}

static uint64_t turned_ns(void *ctx, unsigned slot)
{
    struct standin *b = ctx;

    return atomic_load(&b->worker[slot].turned_ns);
}

static void on_crash(void *ctx, unsigned slot)
{
    struct standin *b = ctx;

    atomic_fetch_add(&b->worker[slot].blamed, 1);
}

/* ---- duties ---- */

static int look(void *ctx, struct err *err)
{
    struct standin *b = ctx;

    (void)err;
    atomic_fetch_add(&b->looks, 1);
    return atomic_load(&b->look);
}

static int linger(void *ctx, struct err *err)
{
    struct standin *b = ctx;

    (void)err;
    return atomic_load(&b->linger);
}

static int look_last(void *ctx, struct err *err)
{
    struct standin *b = ctx;

    (void)err;
    atomic_fetch_add(&b->lasts, 1);
    return atomic_load(&b->last);
}

static int unmount(void *ctx, struct err *err)
{
    struct standin *b = ctx;

    (void)err;
    atomic_fetch_add(&b->unmounts, 1);
    if (atomic_load(&b->linger) == SUPERVISOR_IDLE)
        atomic_store(&b->mounted, false);
    return 0;
}

static int check(void *ctx, struct err *err)
{
    struct standin *b = ctx;

    if (atomic_load(&b->check))
        err_set(err, 1, "table node is wrong");
    return atomic_load(&b->check);
}

static int log_inflight(void *ctx, struct err *err)
{
    struct standin *b = ctx;

    (void)err;
    atomic_fetch_add(&b->dumps, 1);
    return 0;
}

static int gone(void *ctx)
{
    struct standin *b = ctx;

    return atomic_load(&b->gone);
}

static void set_draining(void *ctx)
{
    struct standin *b = ctx;

    atomic_fetch_add(&b->drains, 1);
}

static void abort_mount(void *ctx)
{
    struct standin *b = ctx;

    atomic_fetch_add(&b->aborts, 1);
    atomic_store(&b->mounted, false);
}

static void reload(void *ctx)
{
    struct standin *b = ctx;

    atomic_fetch_add(&b->reloads, 1);
}

static const struct supervisor_duties duties = {
    .look = look,
    .linger = linger,
    .look_last = look_last,
    .unmount = unmount,
    .check = check,
    .log_inflight = log_inflight,
    .set_draining = set_draining,
    .abort = abort_mount,
    .reload = reload,
    .gone = gone,
};

/* ---- the supervisor ---- */

static int supervise(struct standin *b, const char *socket, uint64_t drain_ns)
{
    static const struct role roles[] = {
        {.name = "worker",
         .count = STANDIN_WORKERS,
         .serves = true,
         .entry = worker,
         .turned_ns = turned_ns,
         .on_crash = on_crash},
        {.name = "notifier", .count = 1, .entry = notifier},
    };
    const struct handover_own left = {
        .left = true, .control.listener_fd = -1, .control.client_fd = -1};
    struct supervisor_opts opts = {.duties = &duties,
                                   .gone_fd = {-1, -1},
                                   .ctx = b,
                                   .drain_timeout_ns = drain_ns,
                                   .socket = socket,
                                   .taken = atomic_load(&b->left) ? &left : NULL};
    struct supervisor_run run = {.roles = roles,
                                 .n_roles = 2,
                                 .unmounts = true,
                                 .segment_fd = -1,
                                 .title = "",
                                 .info = "mount /nowhere\n"};
    struct supervisor *sup;
    int code;

    if (supervisor_new(&opts, &sup, NULL) < 0)
        return 99;
    code = supervisor_run(sup, &run);
    supervisor_free(sup);
    return code;
}

pid_t standin_start(struct standin *b, const char *socket, uint64_t drain_ns)
{
    pid_t pid;

    atomic_store(&b->mounted, true);
    pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        log_init(LOG_ERR, "supervisor");
        _exit(supervise(b, socket, drain_ns));
    }
    return pid;
}
