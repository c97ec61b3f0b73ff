/* Short-lived children of the supervisor, on its loop. The callers decide what they do
 * (duties.c). */
#include "daemon/task.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "daemon/child.h"

void task_set_init(struct task_set *set, struct loop *loop, void (*in_child)(void *ctx),
                   void *child_ctx)
{
    memset(set, 0, sizeof(*set));
    set->loop = loop;
    set->in_child = in_child;
    set->child_ctx = child_ctx;
}

static void on_deadline(struct loop_timer *t)
{
    struct task *task = (struct task *)((char *)t - offsetof(struct task, deadline));

    log_warn("helper process timed out, killing it pid=%d", (int)task->pid);
    kill(task->pid, SIGKILL);
}

/* Does not return. Uses _exit: no atexit handler may run twice, and no buffer of the parent may be
 * flushed twice. */
static void run_child(const struct task_set *set, task_fn *fn, void *arg, int out_fd)
{
    struct err err = {0};
    int code;

    if (set->in_child)
        set->in_child(set->child_ctx);
    code = fn(arg, &err);
    /* (ignored: if the supervisor is gone, no reply is needed) */
    (void)!fd_write_full(out_fd, err.text, strlen(err.text));
    _exit(code);
}

static struct task *task_find(struct task_set *set, pid_t pid)
{
    for (unsigned i = 0; i < TASK_MAX; i++) {
        if (set->task[i].pid == pid)
            return &set->task[i];
    }
    return NULL;
}

int task_start(struct task_set *set, task_fn *fn, void *arg, uint64_t limit_ns,
               task_done_fn *on_done, void *ctx)
{
    struct task *task = task_find(set, 0);
    int fds[2], r;
    pid_t pid;

    if (!task)
        return -EAGAIN;
    if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) < 0)
        return -errno;
    r = child_fork(&pid);
    if (r == 0 && pid == 0)
        run_child(set, fn, arg, fds[1]);
    close(fds[1]);
    if (r < 0) {
        close(fds[0]);
        return r;
    }
    task->pid = pid;
    task->out_fd = fds[0];
    task->on_done = on_done;
    task->ctx = ctx;
    task->deadline.on_time = on_deadline;
    loop_timer_set(set->loop, &task->deadline, limit_ns);
    return 0;
}

bool task_reaped(struct task_set *set, pid_t pid, int status)
{
    struct task *task = task_find(set, pid);
    task_done_fn *on_done;
    char text[ERR_TEXT_MAX] = "";
    ssize_t n;

    if (!task)
        return false;
    loop_timer_cancel(set->loop, &task->deadline);
    n = read(task->out_fd, text, sizeof(text) - 1);
    text[n > 0 ? n : 0] = '\0';
    close(task->out_fd);
    task->pid = 0;
    on_done = task->on_done; /* it may start the next task in this slot */
    on_done(task->ctx, WIFEXITED(status) ? WEXITSTATUS(status) : TASK_DIED, text);
    return true;
}

unsigned task_running(const struct task_set *set)
{
    unsigned n = 0;

    for (unsigned i = 0; i < TASK_MAX; i++)
        n += set->task[i].pid != 0;
    return n;
}

void task_kill_all(struct task_set *set)
{
    for (unsigned i = 0; i < TASK_MAX; i++) {
        if (set->task[i].pid)
            kill(set->task[i].pid, SIGKILL);
    }
}
