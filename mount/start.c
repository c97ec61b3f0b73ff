/* The foreground: forks the process that stays (keep.c), waits for its report, and makes an exit
 * code of mount(8) of it. */
#include "mount/start.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "mount/keep.h"

/* Exit codes of stateproxyd that mean something else than "the mount failed" (exit_code.h). */
#define DAEMON_USAGE 64
#define DAEMON_SYSTEM 71
#define EXEC_FAILED 127

static void start_on_signal(int sig)
{
    (void)sig; /* read(2) returns EINTR */
}

static void catch_signals(void)
{
    struct sigaction sa = {.sa_handler = start_on_signal};

    sigaction(SIGINT, &sa, NULL);
    sigaction(SIGTERM, &sa, NULL);
    sigaction(SIGHUP, &sa, NULL);
}

static int code_of(int status)
{
    if (status == -1)
        return START_SYSTEM;
    if (WIFSIGNALED(status)) {
        fprintf(stderr, "mount.stateproxy: stateproxyd was killed by signal %d\n",
                WTERMSIG(status));
        return START_FAILED;
    }
    switch (WEXITSTATUS(status)) {
    case 0:
        fputs("mount.stateproxy: stateproxyd was stopped before it served\n", stderr);
        return START_FAILED;
    case DAEMON_USAGE:
        return START_INTERNAL;
    case DAEMON_SYSTEM:
    case EXEC_FAILED:
        return START_SYSTEM;
    default:
        return START_FAILED;
    }
}

static int wait_report(int fd, int log_is_file)
{
    struct keep_report r;
    ssize_t n = read(fd, &r, sizeof(r));
    int code;

    if (n < 0 && errno == EINTR) {
        fputs("mount.stateproxy: interrupted\n", stderr);
        return START_INTERRUPTED;
    }
    if (n != (ssize_t)sizeof(r)) {
        fputs("mount.stateproxy: the process in the background has died\n", stderr);
        return START_INTERNAL;
    }
    if (r.ready)
        return START_OK;
    code = code_of(r.status);
    if (r.status != -1 && WIFEXITED(r.status))
        fprintf(stderr, "mount.stateproxy: stateproxyd ended with exit code %d; %s has its log\n",
                WEXITSTATUS(r.status), log_is_file ? "the file of log=" : "syslog");
    return code;
}

int start_mount(const struct mount_options *options)
{
    struct keep_args args = {
        .config = options->config, .log = options->log, .verbose = options->verbose};
    int ends[2];
    pid_t pid;

    if (pipe2(ends, O_CLOEXEC) < 0) {
        fprintf(stderr, "mount.stateproxy: pipe: %s\n", strerror(errno));
        return START_SYSTEM;
    }
    args.report_fd = ends[1];
    pid = fork();
    if (pid < 0) {
        fprintf(stderr, "mount.stateproxy: fork: %s\n", strerror(errno));
        return START_SYSTEM;
    }
    if (pid == 0) {
        close(ends[0]);
        _exit(keep_run(&args));
    }
    close(ends[1]);
    catch_signals();
    return wait_report(ends[0], *options->log != '\0');
}
