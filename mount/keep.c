/* Starts stateproxyd and stays beside it: it reads the log of stateproxyd from a pipe, waits for
 * the notification that it serves (the protocol of sd_notify(3)), and tells the foreground
 * (start.c). It ends when the last process of stateproxyd has closed the pipe. */
#include "mount/keep.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/log.h"
#include "mount/syslog_line.h"

#define NOTIFY_MAX 2048 /* bytes of a notification */
#define EXEC_FAILED 127
#define DAEMON_NAME "stateproxyd"

enum { FD_LOG, FD_NOTIFY, FD_REPORT, FD_PID, N_FDS };

struct keep {
    const struct keep_args *args;
    struct syslog_sink sink;
    pid_t pid;     /* of stateproxyd */
    int log_fd;    /* read end */
    int notify_fd; /* datagrams from stateproxyd */
    int pid_fd;    /* -1 = not available (before Linux 5.3) */
    bool told;
    char line[LOG_LINE_MAX + 1];
    size_t line_len;
};

/* ---- stateproxyd ---- */

/* An abstract address that the kernel chooses; its name goes into the environment. The sender of
 * each notification is checked. */
static int open_notify(struct err *err)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    socklen_t len = sizeof(addr);
    char name[sizeof(addr.sun_path) + 1];
    int on = 1, fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd < 0)
        return err_set(err, errno, "socket: %s", strerror(errno));
    if (setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)) < 0 ||
        bind(fd, (struct sockaddr *)&addr, sizeof(sa_family_t)) < 0 ||
        getsockname(fd, (struct sockaddr *)&addr, &len) < 0)
        goto failed;
    snprintf(name, sizeof(name), "@%.*s", (int)(len - offsetof(struct sockaddr_un, sun_path) - 1),
             addr.sun_path + 1);
    if (setenv("NOTIFY_SOCKET", name, 1) < 0)
        goto failed;
    return fd;
failed:
    (void)err_set(err, errno, "the socket for notifications: %s", strerror(errno));
    close(fd);
    return -err->code;
}

/* stateproxyd lies beside this program. */
static int daemon_path(char out[PATH_MAX])
{
    ssize_t n = readlink("/proc/self/exe", out, PATH_MAX - 1);
    char *slash;

    if (n < 0)
        return -errno;
    out[n] = '\0';
    slash = strrchr(out, '/');
    if (!slash || (size_t)(slash - out) + sizeof(DAEMON_NAME) + 1 > PATH_MAX)
        return -ENAMETOOLONG;
    strcpy(slash + 1, DAEMON_NAME);
    return 0;
}

static __attribute__((noreturn)) void run_daemon(const struct keep_args *args, int log_fd)
{
    struct sigaction sa = {.sa_handler = SIG_DFL};
    char path[PATH_MAX] = DAEMON_NAME;
    const char *argv[] = {path, *args->config ? "--config" : NULL, args->config, NULL};
    sigset_t none;

    sigaction(SIGINT, &sa, NULL);
    sigaction(SIGTERM, &sa, NULL);
    sigaction(SIGHUP, &sa, NULL);
    sigaction(SIGPIPE, &sa, NULL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    if (daemon_path(path) == 0 && dup2(log_fd, STDOUT_FILENO) >= 0 &&
        dup2(log_fd, STDERR_FILENO) >= 0) {
        execv(path, (char **)(uintptr_t)argv);
        dprintf(STDERR_FILENO, "- err mount[%d]: cannot start %s: %s\n", (int)getpid(), path,
                strerror(errno));
    }
    _exit(EXEC_FAILED);
}

static int start_daemon(struct keep *k, struct err *err)
{
    int ends[2];

    k->notify_fd = open_notify(err);
    if (k->notify_fd < 0)
        return k->notify_fd;
    if (pipe2(ends, O_CLOEXEC) < 0)
        return err_set(err, errno, "pipe: %s", strerror(errno));
    k->pid = fork();
    if (k->pid == 0)
        run_daemon(k->args, ends[1]);
    close(ends[1]);
    k->log_fd = ends[0];
    if (k->pid < 0)
        return err_set(err, errno, "fork: %s", strerror(errno));
    k->sink.pid = k->pid;
    k->pid_fd = (int)syscall(SYS_pidfd_open, k->pid, 0);
    return fd_set_nonblock(k->log_fd);
}

/* ---- the log ---- */

static void take_line(struct keep *k)
{
    struct syslog_parts parts;

    k->line[k->line_len] = '\0';
    k->line_len = 0;
    syslog_line_write(&k->sink, k->line);
    if (k->told)
        return;
    syslog_line_parse(k->line, &parts);
    if (k->args->verbose || strncmp(parts.level, "err ", 4) == 0)
        dprintf(STDERR_FILENO, "mount.stateproxy: %s\n",
                k->args->verbose ? parts.level : parts.message);
}

/* Reads what is there. False at the end: no process of stateproxyd has the pipe any more. */
static bool read_log(struct keep *k)
{
    char buf[4096];
    ssize_t n = read(k->log_fd, buf, sizeof(buf));

    if (n < 0)
        return errno == EAGAIN || errno == EINTR;
    for (ssize_t i = 0; i < n; i++) {
        if (buf[i] != '\n')
            k->line[k->line_len++] = buf[i];
        if (buf[i] == '\n' || k->line_len == LOG_LINE_MAX)
            take_line(k);
    }
    return n > 0;
}

static void read_rest(struct keep *k)
{
    struct pollfd p = {.fd = k->log_fd, .events = POLLIN};

    while (poll(&p, 1, 0) > 0 && (p.revents & POLLIN) && read_log(k))
        ;
}

/* ---- the foreground ---- */

static void report(struct keep *k, bool ready, int status)
{
    struct keep_report r = {.ready = ready, .status = status};
    int null;

    if (k->told)
        return;
    k->told = true;
    (void)!fd_write_full(k->args->report_fd, &r, sizeof(r)); /* gone: nobody is left to be told */
    close(k->args->report_fd);
    /* Whoever called mount(8) may wait for the end of its output. */
    null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null >= 0) {
        dup2(null, STDOUT_FILENO);
        dup2(null, STDERR_FILENO);
        close(null);
    }
}

/* True if it comes from stateproxyd itself and says that it serves. */
static bool says_ready(struct keep *k)
{
    char text[NOTIFY_MAX + 1];
    union {
        char buf[CMSG_SPACE(sizeof(struct ucred))];
        struct cmsghdr align;
    } control;
    struct iovec iov = {.iov_base = text, .iov_len = NOTIFY_MAX};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control.buf,
                         .msg_controllen = sizeof(control.buf)};
    ssize_t n = recvmsg(k->notify_fd, &msg, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    const struct cmsghdr *c;
    struct ucred who;

    if (n < 0)
        return false;
    text[n] = '\0';
    c = CMSG_FIRSTHDR(&msg);
    if (!c || c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_CREDENTIALS)
        return false;
    memcpy(&who, CMSG_DATA(c), sizeof(who));
    return who.pid == k->pid && (strncmp(text, "READY=1", 7) == 0 || strstr(text, "\nREADY=1"));
}

/* stateproxyd has ended. Its own processes may still be about to end. */
static void daemon_ended(struct keep *k)
{
    char line[128];
    int status;

    if (waitpid(k->pid, &status, 0) != k->pid)
        return;
    read_rest(k);
    report(k, false, status);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        snprintf(line, sizeof(line), "stateproxyd has ended: %s %d",
                 WIFEXITED(status) ? "exit code" : "signal",
                 WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
        syslog_line_write(&k->sink, line);
    }
    k->pid = 0;
    close(k->pid_fd);
    k->pid_fd = -1;
}

static void keep_loop(struct keep *k)
{
    bool logs = true;

    while (logs) {
        struct pollfd p[N_FDS] = {
            [FD_LOG] = {.fd = k->log_fd, .events = POLLIN},
            [FD_NOTIFY] = {.fd = k->notify_fd, .events = POLLIN},
            [FD_REPORT] = {.fd = k->told ? -1 : k->args->report_fd, .events = 0},
            [FD_PID] = {.fd = k->pid_fd, .events = POLLIN},
        };

        if (poll(p, N_FDS, -1) < 0)
            continue; /* EINTR */
        if (p[FD_LOG].revents)
            logs = read_log(k);
        if (p[FD_NOTIFY].revents && says_ready(k))
            report(k, true, 0);
        if (p[FD_REPORT].revents) { /* the foreground was interrupted */
            report(k, false, 0);
            kill(k->pid, SIGTERM);
        }
        if (p[FD_PID].revents)
            daemon_ended(k);
    }
    if (k->pid > 0)
        daemon_ended(k);
}

/* It ends with stateproxyd, not before: a service manager that signals all processes of a mount
 * would otherwise cut off the last lines of the log. */
static void ignore_signals(void)
{
    struct sigaction sa = {.sa_handler = SIG_IGN};

    sigaction(SIGINT, &sa, NULL);
    sigaction(SIGTERM, &sa, NULL);
    sigaction(SIGHUP, &sa, NULL);
    sigaction(SIGPIPE, &sa, NULL);
}

/* Signals of a terminal are not for a mount. But without one the process group stays that of the
 * caller: automount(8) and systemd make a mount within theirs, and every other process that comes
 * to the mount point, stateproxyd too, has to wait for that mount. */
static void leave_terminal(void)
{
    int fd = open("/dev/tty", O_RDONLY | O_CLOEXEC | O_NOCTTY);

    if (fd < 0)
        return;
    close(fd);
    (void)setsid(); /* it has just been forked: it leads no group */
}

int keep_run(const struct keep_args *args)
{
    struct keep k = {.args = args, .log_fd = -1, .notify_fd = -1, .pid_fd = -1};
    struct err err = {0};
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);

    ignore_signals();
    leave_terminal();
    if (null < 0 || dup2(null, STDIN_FILENO) < 0 || chdir("/") < 0)
        (void)err_set(&err, errno, "/dev/null, /: %s", strerror(errno));
    else if (syslog_sink_open(&k.sink, args->log, &err) == 0 && start_daemon(&k, &err) == 0) {
        keep_loop(&k);
        return 0;
    }
    dprintf(STDERR_FILENO, "mount.stateproxy: %s\n", err.text);
    report(&k, false, -1);
    return 1;
}
