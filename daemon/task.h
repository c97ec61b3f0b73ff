/* Short-lived children: they do what would make the supervisor wait, or needs a shared lock. A task
 * reports its result by its exit code and one line of text. */
#ifndef DAEMON_TASK_H
#define DAEMON_TASK_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/err.h"
#include "base/loop.h"

#define TASK_MAX 16    /* concurrent tasks */
#define TASK_DIED (-1) /* instead of an exit code: by a signal, or at its deadline */

/* In the child. Returns the exit code; the supervisor gets *err->text. */
typedef int task_fn(void *arg, struct err *err);

/* In the supervisor, when the task has ended. `code` is the exit code or TASK_DIED. */
typedef void task_done_fn(void *ctx, int code, const char *text);

struct task {
    struct loop_timer deadline;
    pid_t pid; /* 0 = free */
    int out_fd;
    task_done_fn *on_done;
    void *ctx;
};

struct task_set {
    struct loop *loop;
    void (*in_child)(void *ctx); /* closes what only the supervisor may keep */
    void *child_ctx;
    struct task task[TASK_MAX];
};

void task_set_init(struct task_set *set, struct loop *loop, void (*in_child)(void *ctx),
                   void *child_ctx);

/* Starts fn(arg) in a child that is killed after `limit_ns`. 0: on_done will be called, from
 * task_reaped. -EAGAIN if TASK_MAX are running, or -errno of pipe(2), fork(2). */
must_use int task_start(struct task_set *set, task_fn *fn, void *arg, uint64_t limit_ns,
                        task_done_fn *on_done, void *ctx);

/* A child has ended (status of waitpid(2)). False if it is not a task. */
bool task_reaped(struct task_set *set, pid_t pid, int status);

unsigned task_running(const struct task_set *set);
void task_kill_all(struct task_set *set);

#endif
