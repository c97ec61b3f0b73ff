/* A worker's life: set-up after fork, take-over of its slot, the loop, the end. */
#include "workers/op/worker_abi.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/container.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/log_journal.h"
#include "s3/s3_cred.h"
#include "shm/shm_session.h"
#include "workers/connector/connector.h"
#include "workers/handlers/fuse_op.h"
#include "workers/http/http_server.h"
#include "workers/metrics/metrics.h"
#include "workers/op/op.h"
#include "workers/op/proc.h"
#include "workers/op/spool.h"
#include "workers/op/worker.h"
#include "workers/process/channel.h"
#include "workers/process/leak.h"
#include "workers/process/recover.h"
#include "workers/process/s3_setup.h"
#include "workers/process/term.h"
#include "workers/read/ahead.h"
#include "workers/variant/variant.h"

/* The kernel headers of Debian 12's libc may not define them. */
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#define MADV_POPULATE_WRITE 23
#endif

#define TICK_NS NS_PER_S
#define END_LOOK_NS (5 * NS_PER_MS)
#define END_CREATING_NS NS_PER_S

/* ---- the end of the mount ---- */

static bool runs_here(const struct worker *w, const struct shm_job *job)
{
    return job->state == SHM_JOB_RUNNING && job->owner == w->slot;
}

/* True if a publish is running in this worker, or an upload is being opened. They are jobs of their
 * sessions: the ops that started them may be gone. */
static bool publishes(struct worker *w)
{
    bool any = false;

    worker_lock(w);
    for (uint32_t i = 0; !any && i < shm_session_used(w->shm); i++) {
        const struct shm_session *s = shm_session_at(w->shm, i);

        any = s->state == SHM_SESSION_LIVE &&
              (runs_here(w, &s->publish) || runs_here(w, &s->opening));
    }
    worker_unlock(w);
    return any;
}

static void leave_if_done(struct worker *w)
{
    if (!op_any_stays(w) && !publishes(w))
        loop_stop(w->loop);
}

void worker_leave(struct worker *w)
{
    w->exit_code = WORKER_EXIT_UNMOUNTED;
    w->leaving = true;
    loop_del(w->loop, &w->channel); /* (it has been in the loop: only a mount leads here) */
    worker_wake_self(w);
}

static void look_again(struct worker *w)
{
    op_interrupts(w);
    ahead_take_orders(w);
    op_resume_all(w);
    worker_hooks_run(w);
    if (w->leaving)
        leave_if_done(w);
}

static void on_rescan(struct loop_timer *t)
{
    look_again(container_of(t, struct worker, rescan));
}

static void on_wake(struct loop_watch *watch, uint32_t events)
{
    (void)events;
    fd_event_clear(watch->fd);
    look_again(container_of(watch, struct worker, wake));
}

/* The requests that it serves are taken over, as when it is killed. */
#ifdef SP_SANITIZE
#define WATCHES_MEMORY false /* sanitizers reserve more than any limit */
#else
#define WATCHES_MEMORY true
#endif

static void end_if_it_leaks(struct worker *w, const struct leak *now)
{
    const struct sandbox *sb = w->env->sandbox;

    if (!WATCHES_MEMORY || !sb || !sb->on || !leak_is_large(now, sb->worker_memory))
        return;
    log_err("worker uses too much memory, ending it to be replaced");
    loop_stop(w->loop);
}

/* What this process costs, for the metrics. */
static void note_usage(struct worker *w)
{
    static uint64_t noted; /* of cpu_ns, by this process */
    struct shm_process *p = &w->stats->process;
    uint64_t cpu = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
    struct leak now;

    p->cpu_ns += cpu - noted;
    noted = cpu;
    if (!leak_look(&now))
        return;
    p->anon = now.anon;
    p->resident = now.resident;
    end_if_it_leaks(w, &now);
}

static void on_tick(struct loop_timer *t)
{
    struct worker *w = container_of(t, struct worker, tick);

    note_usage(w);
    w->arena->turn_ns = clock_mono_ns();
    ahead_note_busy(w);
    op_limits(w);
    look_again(w); /* a wake-up may have been lost with the worker that had to send it */
    loop_timer_set(w->loop, t, TICK_NS);
}

/* An upload whose id is lost with this worker would stay on the server for ever, and cost. */
static bool awaits_upload(const struct worker *w)
{
    return w->creating && clock_mono_ns() - w->told_ns < END_CREATING_NS;
}

/* (The supervisor kills those that take too long.) */
static void on_end_look(struct loop_timer *t)
{
    struct worker *w = container_of(t, struct worker, end_look);

    if ((w->http && http_server_busy(w->http)) || awaits_upload(w))
        loop_timer_set(w->loop, t, END_LOOK_NS);
    else
        loop_stop(w->loop);
}

/* The supervisor sends SIGTERM when the mount is gone, and no request can be in flight any more; or
 * to replace this worker: then what it has begun is taken over, as when it is killed. Clients of
 * the connector would notice that, so their requests are waited for; and for a moment, the ids of
 * uploads. */
static void on_signal(struct loop_watch *watch, uint32_t events)
{
    struct worker *w = container_of(watch, struct worker, signals);

    (void)events;
    if (!term_told(watch->fd))
        return;
    w->exit_code = WORKER_EXIT_DONE;
    w->told_ns = clock_mono_ns();
    w->stats->process.leaves = 1;
    if (w->http)
        http_server_drain(w->http);
    if (w->metrics)
        http_server_drain(w->metrics); /* and nobody waits for it */
    on_end_look(&w->end_look);
}

/* The kernel copies requests into the arena and replies out of it. A SIGKILL that arrives during a
 * page fault inside such a copy would end the request with EIO, so all pages are made present now,
 * in this process: fork does not copy the page tables of shared mappings. */
static void populate_arena(struct worker *w)
{
    size_t len;
    void *p = shm_arena_span(w->shm, w->slot, &len);

    if (madvise(p, len, MADV_POPULATE_WRITE) < 0)
        log_debug("arena not populated: %s", strerror(errno));
}

static int watch_signals(struct worker *w)
{
    w->signals.fd = term_watch();
    if (w->signals.fd < 0)
        return w->signals.fd;
    w->signals.on_event = on_signal;
    return loop_add(w->loop, &w->signals, EPOLLIN);
}

static int watch_wake(struct worker *w)
{
    w->wake.fd = w->env->wake_fd[w->slot];
    w->wake.on_event = on_wake;
    w->rescan.on_time = on_rescan;
    w->tick.on_time = on_tick;
    w->end_look.on_time = on_end_look;
    loop_timer_set(w->loop, &w->tick, 0);
    return loop_add(w->loop, &w->wake, EPOLLIN);
}

/* The worker ends at once: see log_journal.h. */
static int cannot_start(int r, const char *why)
{
    log_journal_close();
    log_err("worker cannot start: %s", why);
    return r;
}

static int setup(struct worker *w)
{
    struct err err = {0};
    int r = loop_new(&w->loop);

    proc_keep_spares();
    leak_watch();
    if (r == 0)
        r = watch_signals(w);
    if (r == 0)
        r = watch_wake(w);
    if (r == 0)
        r = fuse_op_alloc(w);
    if (r == 0) {
        r = s3_setup(w->loop, w->env, w->stats, &w->s3, &err);
        if (r < 0)
            return cannot_start(r, err.text);
    }
    return r < 0 ? cannot_start(r, strerror(-r)) : 0;
}

/* From here on nothing is opened any more but what name resolution needs: certificates have been
 * read, and the observer is asked about callers. */
static int confine(const struct worker *w)
{
    struct err err = {0};
    int r = w->env->sandbox ? sandbox_enter(w->env->sandbox, SANDBOX_WORKER, &err) : 0;

    if (r < 0)
        return cannot_start(r, err.text);
    observer_use(w->env->boxes ? &w->env->boxes[w->slot] : NULL);
    return 0;
}

/* The worker before this one may still be dying if its whole daemon was killed: its lock on the
 * slot's byte of the segment ends with it. (No descriptor of the segment is closed in a worker,
 * which would end the lock too.) */
static void claim_slot(const struct worker_env *env, uint32_t slot)
{
    struct flock lock = {
        .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = (off_t)slot, .l_len = 1};

    while (fcntl(env->shm->fd, F_SETLKW, &lock) < 0 && errno == EINTR)
        continue;
}

int worker_main(const struct worker_env *env, uint32_t slot)
{
    struct worker *w = calloc(1, sizeof(*w));

    if (!w)
        return WORKER_EXIT_SETUP;
    claim_slot(env, slot);
    *w = (struct worker){.env = env,
                         .conf = env->conf,
                         .variant = variant_of(env->conf->variant),
                         .shm = env->shm,
                         .slot = slot,
                         .arena = shm_arena_of(env->shm, slot),
                         .stats = shm_stats_of(env->shm, slot)};
    w->arena->pid = (uint32_t)getpid();
    w->arena->incarnation++;
    if (w->stats->process.leaves)
        w->stats->process.leaves = 0;
    else
        w->stats->process.starts++;
    w->arena->fetching = w->arena->busy = 0;
    if (env->mount)
        populate_arena(w);
    if (setup(w) < 0 || confine(w) < 0)
        return WORKER_EXIT_SETUP;
    recover(w);
    spool_park_tidy(w);
    if (env->listen_fd >= 0 && connector_start(w) < 0)
        return WORKER_EXIT_SETUP;
    if (env->metrics_fd >= 0 && metrics_start(w) < 0)
        return WORKER_EXIT_SETUP;
    if (env->mount && channel_start(w) < 0)
        return WORKER_EXIT_SETUP;
    if ((w->exit_code == 0 || w->leaving) && loop_run(w->loop) < 0)
        w->exit_code = WORKER_EXIT_SETUP;
    return w->exit_code;
}
