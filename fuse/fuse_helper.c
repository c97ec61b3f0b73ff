/* Runs fusermount3. It finds one end of a Unix socket in the variable _FUSE_COMMFD, mounts, sends
 * the descriptor of /dev/fuse through it, and exits. All waits are bounded; what it prints on
 * stderr becomes part of the error. */
#include "fuse/fuse_helper.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"

#define HELPER "fusermount3"
#define HELPER_TIMEOUT_MS 10000
#define REAP_TIMEOUT_MS 1000
#define SAID_BYTES 160 /* bytes of its output in an error */
#define COMM_FD 3      /* in the child */

struct helper {
    pid_t pid;
    int comm;  /* our end of the socket, -1 = none or closed */
    int words; /* its stderr, -1 = closed */
    int dev;   /* the descriptor received, -1 = none yet */
    size_t said;
    char text[SAID_BYTES];
};

static void helper_done(struct helper *h)
{
    if (h->comm >= 0)
        close(h->comm);
    if (h->words >= 0)
        close(h->words);
    if (h->dev >= 0)
        close(h->dev);
}

static int set_actions(posix_spawn_file_actions_t *fa, posix_spawnattr_t *attr, int words, int comm)
{
    sigset_t none, all;
    int r = posix_spawn_file_actions_adddup2(fa, words, STDERR_FILENO);

    sigemptyset(&none);
    sigfillset(&all);
    if (r == 0 && comm >= 0)
        r = posix_spawn_file_actions_adddup2(fa, comm, COMM_FD);
    if (r == 0)
        r = posix_spawnattr_setsigmask(attr, &none);
    if (r == 0)
        r = posix_spawnattr_setsigdefault(attr, &all);
    if (r == 0)
        r = posix_spawnattr_setflags(attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    return r;
}

/* A set-uid program gets only the environment variables that it needs. */
static int spawn(char *const argv[], int words, int comm, pid_t *ret_pid)
{
    posix_spawn_file_actions_t fa;
    posix_spawnattr_t attr;
    char comm_var[] = "_FUSE_COMMFD=3";
    char path_var[] = "PATH=/usr/sbin:/usr/bin:/sbin:/bin";
    char lang_var[] = "LC_ALL=C";
    char *env[] = {path_var, lang_var, comm >= 0 ? comm_var : NULL, NULL};
    int r = posix_spawn_file_actions_init(&fa);

    static_assert(COMM_FD == 3, "comm_var says so");
    if (r)
        return -r;
    r = posix_spawnattr_init(&attr);
    if (r == 0) {
        r = set_actions(&fa, &attr, words, comm);
        if (r == 0)
            r = posix_spawnp(ret_pid, HELPER, &fa, &attr, argv, env);
        posix_spawnattr_destroy(&attr);
    }
    posix_spawn_file_actions_destroy(&fa);
    return -r;
}

static int helper_start(struct helper *h, char *const argv[], bool with_comm, struct err *err)
{
    int pipe_ends[2];
    int pair[2] = {-1, -1};
    int r;

    *h = (struct helper){.comm = -1, .words = -1, .dev = -1};
    if (pipe2(pipe_ends, O_CLOEXEC) < 0)
        return err_set(err, errno, "pipe: %s", strerror(errno));
    h->words = pipe_ends[0];
    if (with_comm && socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) {
        close(pipe_ends[1]);
        return err_set(err, errno, "socketpair: %s", strerror(errno));
    }
    h->comm = pair[0];
    r = spawn(argv, pipe_ends[1], pair[1], &h->pid);
    close(pipe_ends[1]);
    if (pair[1] >= 0)
        close(pair[1]);
    if (r == -ENOENT)
        return err_set(err, ENOPKG,
                       HELPER " is not installed (package fuse3), and only "
                              "root can mount without it");
    if (r < 0)
        return err_set(err, -r, "running " HELPER ": %s", strerror(-r));
    return 0;
}

/* The message with the descriptor; closes our end when that, the end or an error has come. */
static void on_comm(struct helper *h)
{
    char byte;
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec iov = {.iov_base = &byte, .iov_len = 1};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control.room,
                         .msg_controllen = sizeof(control.room)};
    ssize_t n = recvmsg(h->comm, &msg, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    struct cmsghdr *c = n > 0 ? CMSG_FIRSTHDR(&msg) : NULL;

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS &&
        c->cmsg_len == CMSG_LEN(sizeof(int)))
        memcpy(&h->dev, CMSG_DATA(c), sizeof(int));
    close(h->comm);
    h->comm = -1;
}

static void on_words(struct helper *h)
{
    char buf[256];
    ssize_t n = read(h->words, buf, sizeof(buf));
    size_t room = sizeof(h->text) - 1 - h->said;

    if (n < 0 && errno == EINTR)
        return;
    if (n <= 0) {
        close(h->words);
        h->words = -1;
        return;
    }
    if ((size_t)n < room)
        room = (size_t)n;
    memcpy(h->text + h->said, buf, room);
    h->said += room;
}

/* Reads until both channels are closed. False when the time is over. */
static bool helper_listen(struct helper *h)
{
    uint64_t deadline_ns = clock_mono_ns() + HELPER_TIMEOUT_MS * NS_PER_MS;

    while (h->comm >= 0 || h->words >= 0) {
        struct pollfd p[] = {{.fd = h->comm, .events = POLLIN}, {.fd = h->words, .events = POLLIN}};
        uint64_t now = clock_mono_ns();

        if (now >= deadline_ns)
            return false;
        if (poll(p, 2, (int)((deadline_ns - now) / NS_PER_MS + 1)) <= 0)
            continue;
        if (p[0].revents)
            on_comm(h);
        if (p[1].revents)
            on_words(h);
    }
    return true;
}

/* Its exit status; -1 if it was killed or does not end. */
static int helper_reap(struct helper *h)
{
    struct timespec pause = {.tv_nsec = 5 * (long)NS_PER_MS};

    for (int ms = 0; ms < REAP_TIMEOUT_MS; ms += 5) {
        int status;
        pid_t pid = waitpid(h->pid, &status, WNOHANG);

        if (pid == h->pid)
            return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
        if (pid < 0 && errno != EINTR)
            return -1;
        nanosleep(&pause, NULL);
    }
    return -1;
}

/* Its first line of output, without its own name in front. */
static const char *first_line(struct helper *h)
{
    static const char own[] = HELPER ": ";
    char *text = h->text;

    text[h->said] = '\0';
    text[strcspn(text, "\n")] = '\0';
    if (strncmp(text, own, sizeof(own) - 1) == 0)
        text += sizeof(own) - 1;
    return *text ? text : "failed without a message";
}

static int helper_run(struct helper *h, char *const argv[], bool with_comm, struct err *err)
{
    int r = helper_start(h, argv, with_comm, err);

    if (r < 0)
        return r;
    if (!helper_listen(h)) {
        kill(h->pid, SIGKILL);
        (void)helper_reap(h);
        return err_set(err, ETIMEDOUT, HELPER " did not end within %d s", HELPER_TIMEOUT_MS / 1000);
    }
    r = helper_reap(h);
    if (r != 0 || (with_comm && h->dev < 0))
        return err_set(err, EPERM, HELPER ": %s", first_line(h));
    return 0;
}

int fuse_helper_mount(const char *path, const char *options, int *ret_fd, struct err *err)
{
    char *const argv[] = {HELPER, "-o", (char *)options, "--", (char *)path, NULL};
    struct helper h;
    int r = helper_run(&h, argv, true, err);

    if (r == 0)
        *ret_fd = take_fd(&h.dev);
    helper_done(&h);
    return r;
}

int fuse_helper_unmount(const char *path, bool lazy, struct err *err)
{
    char *argv[] = {HELPER, "-u", "-z", "--", (char *)path, NULL};
    struct helper h;
    int r;

    if (!lazy) {
        argv[2] = argv[3];
        argv[3] = argv[4];
        argv[4] = NULL;
    }
    r = helper_run(&h, argv, false, err);
    helper_done(&h);
    return r;
}
