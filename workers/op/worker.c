/* What every file of the worker needs: the lock, and waking. */
#include "workers/op/worker.h"

#include "base/fd.h"

void worker_lock(struct worker *w)
{
    shm_lock(w->shm, w->shm->meta);
}

void worker_unlock(struct worker *w)
{
    shm_unlock(w->shm, w->shm->meta);
}

void worker_wake_self(struct worker *w)
{
    if (!w->rescan.armed)
        loop_timer_set(w->loop, &w->rescan, 0);
}

void worker_wake(struct worker *w, uint32_t mask)
{
    for (uint32_t i = 0; mask; i++, mask >>= 1) {
        if (!(mask & 1))
            continue;
        if (i == w->slot)
            worker_wake_self(w);
        else if (i < w->shm->header->sizes.workers)
            fd_event_set(w->env->wake_fd[i]);
    }
}

void worker_hook_add(struct worker *w, struct worker_hook *hook)
{
    worker_hook_remove(w, hook);
    hook->next = w->hooks;
    w->hooks = hook;
}

void worker_hook_remove(struct worker *w, struct worker_hook *hook)
{
    for (struct worker_hook **at = &w->hooks; *at; at = &(*at)->next) {
        if (*at != hook)
            continue;
        *at = hook->next;
        return;
    }
}

void worker_hooks_run(struct worker *w)
{
    for (struct worker_hook *hook = w->hooks, *next; hook; hook = next) {
        next = hook->next;
        hook->fn(hook);
    }
}

void worker_notify_kernel(struct worker *w)
{
    fd_event_set(w->env->notify_fd);
}
