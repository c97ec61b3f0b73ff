/* The observer: looks into /proc, and into the memory of callers, for workers that may not. It has
 * the right to inspect every process, so it does nothing else: it has no network, no FUSE
 * descriptor, no shared tables, and reads nothing but the workers' mailboxes, bounded, and what the
 * kernel tells about processes.
 *
 * Each mailbox has a thread of its own, and what can wait for the process that is inspected is read
 * by a thread of that one (peek.h): so one caller that is stuck holds up no other worker. */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/log.h"
#include "base/log_journal.h"
#include "workers/names/intent.h"
#include "workers/op/observer.h"
#include "workers/op/proc.h"
#include "workers/op/worker_abi.h"
#include "workers/process/term.h"

#define THREAD_STACK (128u << 10)

/* ---- the answers ---- */

static void tell_info(const struct proc_info *info, struct observer_answer *a)
{
    *a = (struct observer_answer){.known = info->known,
                                  .tgid = info->tgid,
                                  .parent = info->parent,
                                  .start = info->start,
                                  .exiting = info->exiting,
                                  .signal = info->signal,
                                  .waits = info->waits,
                                  .reaps = info->reaps,
                                  .gone = info->gone,
                                  .execs = info->execs};
}

static void answer_proc(const struct observer_question *q, struct observer_answer *a)
{
    struct proc_info info;

    switch (q->what) {
    case OBSERVER_LOOK:
        proc_look(q->tid, &info);
        tell_info(&info, a);
        break;
    case OBSERVER_LOOK_PARENT:
        proc_look_parent((int32_t)q->tid, &info);
        tell_info(&info, a);
        break;
    case OBSERVER_DYING:
        a->yes = proc_is_dying(q->tid);
        break;
    case OBSERVER_HOLDS_WRITE:
        a->yes = proc_holds_write((int32_t)q->tid, q->ino, &a->known);
        break;
    case OBSERVER_BESIDE:
        a->n = proc_writes_beside((int32_t)q->tid, q->ino, &a->known);
        break;
    case OBSERVER_HAS_DIR:
        a->yes = proc_has_dir(q->tid, q->ino);
        break;
    default:
        break;
    }
}

static void answer_intent(const struct observer_question *q, struct observer_answer *a)
{
    struct intent in;

    intent_look(q->tid, &in);
    if (q->what == OBSERVER_MAKES)
        a->yes = intent_makes(&in, q->path);
    else if (q->what == OBSERVER_PASSES)
        a->yes = intent_passes(&in, q->path);
    a->kind = in.kind;
    a->flags = in.flags;
}

static void answer_question(const struct observer_question *q, struct observer_answer *a)
{
    if (q->tid == 0 || q->tid > INT32_MAX)
        return;
    if (q->what == OBSERVER_INTENT || q->what == OBSERVER_MAKES || q->what == OBSERVER_PASSES)
        answer_intent(q, a);
    else
        answer_proc(q, a);
}

static void *serve(void *arg)
{
    struct observer_box *box = arg;

    proc_keep_spares();
    for (;;) {
        struct observer_question q;
        struct observer_answer a = {0};

        observer_next(box, &q);
        if (observer_is_harmless(box))
            answer_question(&q, &a);
        observer_reply(box, &a);
    }
    return NULL;
}

/* ---- the process ---- */

static int start_threads(struct observer_box *boxes, uint32_t n)
{
    pthread_attr_t attr;
    pthread_t thread;
    sigset_t all, before;
    int r = 0;

    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, THREAD_STACK);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    sigfillset(&all);
    sigdelset(&all, SIGSYS);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* the main thread handles signals */
    for (uint32_t i = 0; r == 0 && i < n; i++)
        r = -pthread_create(&thread, &attr, serve, &boxes[i]);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attr);
    return r;
}

/* Above all the FUSE descriptor, which would keep the mount's connection alive. */
static void close_others(int keep)
{
    long max = sysconf(_SC_OPEN_MAX);

    if (syscall(SYS_close_range, STDERR_FILENO + 1, keep - 1, 0) == 0 &&
        syscall(SYS_close_range, keep + 1, INT_MAX, 0) == 0)
        return;
    for (int fd = STDERR_FILENO + 1; fd < max; fd++) { /* before Linux 5.9 */
        if (fd != keep)
            close(fd);
    }
}

int observer_main(const struct worker_env *env)
{
    struct pollfd p = {.fd = term_watch(), .events = POLLIN};
    struct err err = {0};
    uint32_t n_workers = env->shm->header->sizes.workers;
    int r;

    shm_close(env->shm);
    log_journal_close(); /* stderr stays */
    close_others(p.fd);
    if (p.fd < 0 || sandbox_enter(env->sandbox, SANDBOX_OBSERVER, &err) < 0) {
        log_err("observer cannot start: %s", p.fd < 0 ? strerror(-p.fd) : err.text);
        return WORKER_EXIT_SETUP;
    }
    r = start_threads(env->boxes, n_workers);
    if (r < 0) {
        log_err("observer cannot start: %s", strerror(-r));
        return WORKER_EXIT_SETUP;
    }
    while (poll(&p, 1, -1) < 0 || !term_told(p.fd))
        ;
    return WORKER_EXIT_DONE;
}
