/* exec, and the trial before it. */
#include "daemon/reexec.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"

extern char **environ;

#define ARGS_MAX 12
#define DELETED " (deleted)"

static char program[PATH_MAX]; /* "" = unknown */
static const char *arg0, *config;

/* The image that is called back is that of a file whose place another one has taken. */
void reexec_init(const char *argv0, const char *config_file)
{
    const size_t more = sizeof(DELETED) - 1;
    ssize_t n = readlink("/proc/self/exe", program, sizeof(program) - 1);

    program[n > 0 ? n : 0] = '\0';
    if (n > (ssize_t)more && strcmp(program + n - more, DELETED) == 0 && access(program, F_OK) < 0)
        program[n - (ssize_t)more] = '\0';
    arg0 = argv0;
    config = config_file;
}

struct call {
    const char *argv[ARGS_MAX];
    char record[16], way_back[16];
    unsigned n;
};

static void call_begin(struct call *c, int record)
{
    *c = (struct call){.argv = {arg0}, .n = 1};
    if (config) {
        c->argv[c->n++] = "--config";
        c->argv[c->n++] = config;
    }
    snprintf(c->record, sizeof(c->record), "%d", record);
    c->argv[c->n++] = "--" REEXEC_OPTION;
    c->argv[c->n++] = c->record;
}

/* Returns on failure alone: -errno of execve(2). Both descriptors are inherited. */
static int execute(int record, int way_back, bool trial)
{
    struct call c;

    call_begin(&c, record);
    snprintf(c.way_back, sizeof(c.way_back), "%d", way_back);
    c.argv[c.n++] = "--" REEXEC_WAY_BACK;
    c.argv[c.n++] = c.way_back;
    if (trial)
        c.argv[c.n++] = "--check";
    execve(program, (char *const *)(uintptr_t)c.argv, environ);
    return -errno;
}

static int check_known(struct err *err)
{
    if (!*program)
        return err_set(err, ENOENT, "the path of the program is unknown: /proc was not mounted");
    return 0;
}

/* ---- the trial ---- */

/* Does not return. */
static void run_trial(int record, int segment, int out)
{
    int r;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (dup2(out, STDOUT_FILENO) < 0 || fcntl(record, F_SETFD, 0) < 0 ||
        fcntl(segment, F_SETFD, 0) < 0)
        _exit(1);
    r = execute(record, -1, true);
    dprintf(STDOUT_FILENO, "cannot execute %.120s: %s", program, strerror(-r));
    _exit(1);
}

/* Reads until the end; what does not fit is dropped. */
static void read_text(int fd, char *out, size_t cap)
{
    size_t len = 0;
    char more[256];
    ssize_t n;

    while ((n = read(fd, more, sizeof(more))) > 0) {
        size_t room = cap - 1 - len;

        memcpy(out + len, more, (size_t)n < room ? (size_t)n : room);
        len += (size_t)n < room ? (size_t)n : room;
    }
    out[len] = '\0';
    out[strcspn(out, "\n")] = '\0';
}

static int judge_trial(pid_t pid, const char *text, struct err *err)
{
    int status;

    while (waitpid(pid, &status, 0) < 0) {
        if (errno != EINTR)
            return err_set(err, errno, "waitpid: %s", strerror(errno));
    }
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return 0;
    if (WIFEXITED(status) && WEXITSTATUS(status) == REEXEC_CARRIES && *text) {
        err_set(err, EXDEV, "%s", text);
        return 1;
    }
    if (*text)
        return err_set(err, EXDEV, "%s", text);
    return err_set(err, EXDEV, "%.120s cannot take over (%s %d): is it another version?", program,
                   WIFEXITED(status) ? "exit" : "signal",
                   WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
}

static int start_trial(int record, int segment, struct err *err)
{
    char text[ERR_TEXT_MAX];
    int fds[2];
    pid_t pid;

    if (pipe2(fds, O_CLOEXEC) < 0)
        return err_set(err, errno, "pipe: %s", strerror(errno));
    pid = fork();
    if (pid < 0) {
        int e = errno;

        close(fds[0]);
        close(fds[1]);
        return err_set(err, e, "fork: %s", strerror(e));
    }
    if (pid == 0)
        run_trial(record, segment, fds[1]);
    close(fds[1]);
    read_text(fds[0], text, sizeof(text));
    close(fds[0]);
    return judge_trial(pid, text, err);
}

int reexec_try(const struct worker_env *env, const struct handover_own *own, struct err *err)
{
    cleanup_fd int record = -1;
    int r = check_known(err);

    if (r == 0)
        r = handover_write(env, own, true, &record, err);
    return r == 0 ? start_trial(record, env->shm->fd, err) : r;
}

/* ---- the exec ---- */

/* The new image wipes the record; if there is none, we do. */
static int try_exec(struct handover *h, struct err *err)
{
    cleanup_fd int way_back = open("/proc/self/exe", O_PATH | O_CLOEXEC); /* (or -1) */
    struct err ignored;
    int r = handover_mark_fds(h, false, err);

    if (r == 0 &&
        (fcntl(h->fd, F_SETFD, 0) < 0 || (way_back >= 0 && fcntl(way_back, F_SETFD, 0) < 0)))
        r = err_set(err, errno, "fcntl: %s", strerror(errno));
    if (r == 0) {
        r = execute(h->fd, way_back, false);
        err_set(err, -r, "cannot execute %.120s: %s", program, strerror(-r));
    }
    (void)!handover_mark_fds(h, true, &ignored); /* the first error is the one to report */
    return r;
}

void reexec_back(int record, int way_back, struct err *err)
{
    struct call c;

    call_begin(&c, record);
    if (fcntl(record, F_SETFD, 0) == 0 && fcntl(way_back, F_SETFD, FD_CLOEXEC) == 0)
        syscall(SYS_execveat, way_back, "", c.argv, environ, AT_EMPTY_PATH);
    err_set(err, errno, "cannot execute the program of before: %s", strerror(errno));
}

void reexec(const struct worker_env *env, const struct handover_own *own, struct err *err)
{
    struct handover h;
    int record;

    if (check_known(err) < 0 || handover_write(env, own, true, &record, err) < 0 ||
        handover_open(record, &h, err) < 0)
        return;
    (void)!try_exec(&h, err); /* it returns on failure alone; *err has it */
    handover_close(&h);
}
