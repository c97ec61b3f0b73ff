/* Both sides of the agent: one request at a time over a socket, one reply. The agent ends with the
 * process that it serves; without the agent that process asks in vain (creds_agent_is_lost), and
 * its replacement starts another. */
#include "creds/creds_agent.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <sodium.h>

#include "base/clock.h"
#include "creds/creds_provider.h"

#define SPARE_NS (5 * NS_PER_S) /* how much longer than the agent we wait */

enum agent_what { AGENT_OPEN = 1, AGENT_RUN };

struct agent_request {
    uint32_t what;
    uint64_t limit_ns;
    char text[CREDS_COMMAND_MAX]; /* a path, or a command */
};

/* In locked memory: `data` is a secret. */
struct agent_reply {
    int32_t error;
    char error_text[ERR_TEXT_MAX];
    uint32_t len;
    char data[CREDS_BODY_MAX];
};

#define END_LIMIT_MS 1000 /* a program that it runs is killed */

static int channel = -1; /* to the agent; -1 = there is none, or it is lost */
static bool had_agent;

/* ---- what may be asked for ---- */

static bool is_given(const char *configured, const char *path)
{
    return creds_given(configured) && strcmp(configured, path) == 0;
}

static bool is_in_home(const struct creds_conf *conf, const char *path)
{
    char own[CREDS_COMMAND_MAX];
    size_t len;

    if (creds_shared_path(conf, "config", own, sizeof(own)) && strcmp(own, path) == 0)
        return true;
    if (creds_shared_path(conf, "credentials", own, sizeof(own)) && strcmp(own, path) == 0)
        return true;
    if (!creds_shared_path(conf, "sso/cache/", own, sizeof(own)))
        return false;
    len = strlen(own);
    return strncmp(own, path, len) == 0 && !strchr(path + len, '/');
}

/* The shared files are read anew: they may have changed. */
static bool is_named(const struct creds_conf *conf, const char *key, const char *value)
{
    struct creds_shared *shared;
    struct err ignored; /* what is wrong with them is reported by who uses them */
    bool r;

    if (creds_shared_read(conf, &shared, &ignored) < 0)
        return false;
    r = creds_shared_names(shared, key, value);
    creds_shared_free(shared);
    return r;
}

static bool may_open(const struct creds_conf *conf, const char *path)
{
    return is_given(conf->web_identity_token_file, path) ||
           is_given(conf->container_token_file, path) || is_given(conf->config_file, path) ||
           is_given(conf->credentials_file, path) || is_given(conf->ca_bundle, path) ||
           is_given(conf->client_cert, path) || is_given(conf->client_key, path) ||
           is_in_home(conf, path) || is_named(conf, "web_identity_token_file", path);
}

/* ---- in the agent ---- */

static int agent_open_file(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

    return fd < 0 ? -errno : fd;
}

/* `fd` goes with it, -1 = none. */
static void send_reply(int sock, const struct agent_reply *reply, int fd)
{
    union {
        struct cmsghdr head;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = {.bytes = {0}};
    struct iovec iov = {(void *)(uintptr_t)reply, offsetof(struct agent_reply, data) + reply->len};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

    if (fd >= 0) {
        msg.msg_control = control.bytes;
        msg.msg_controllen = sizeof(control.bytes);
        control.head.cmsg_level = SOL_SOCKET;
        control.head.cmsg_type = SCM_RIGHTS;
        control.head.cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(&control.head), &fd, sizeof(fd));
    }
    if (sendmsg(sock, &msg, MSG_NOSIGNAL) < 0)
        _exit(0); /* nobody is there any more */
}

static void serve_open(int sock, const struct creds_conf *conf, const char *path,
                       struct agent_reply *reply)
{
    int fd = may_open(conf, path) ? agent_open_file(path) : -EACCES;

    reply->error = fd < 0 ? -fd : 0;
    send_reply(sock, reply, fd);
    if (fd >= 0)
        close(fd);
}

/* If the other side ends meanwhile, its socket becomes readable, and the program is killed. */
static void serve_run(int sock, const struct creds_conf *conf, const struct agent_request *req,
                      struct agent_reply *reply)
{
    struct creds_conf own = *conf;
    struct creds_job job = {.conf = &own, .until_ns = clock_mono_ns() + req->limit_ns};
    cleanup_bytes struct creds_bytes told = {0};
    struct err err = {0};
    int r;

    own.stop_fd = sock;
    if (creds_bytes_new(&told, CREDS_BODY_MAX) < 0)
        r = err_set(&err, ENOMEM, "no locked memory for credentials");
    else if (!is_named(conf, "credential_process", req->text))
        r = err_set(&err, EACCES, "credential_process: the shared files do not name this command");
    else
        r = creds_program_run(&job, req->text, &told, &err);
    reply->error = -r;
    memcpy(reply->error_text, err.text, sizeof(err.text));
    if (r == 0) {
        reply->len = (uint32_t)told.len;
        memcpy(reply->data, told.data, told.len);
    }
    send_reply(sock, reply, -1);
}

static void serve_requests(int sock, const struct creds_conf *conf)
{
    struct agent_reply *reply = sodium_init() < 0 ? NULL : sodium_malloc(sizeof(*reply));
    struct agent_request req;

    while (reply && recv(sock, &req, sizeof(req), 0) == (ssize_t)sizeof(req)) {
        req.text[sizeof(req.text) - 1] = '\0';
        memset(reply, 0, sizeof(*reply));
        if (req.what == AGENT_OPEN)
            serve_open(sock, conf, req.text, reply);
        else
            serve_run(sock, conf, &req, reply);
        sodium_memzero(reply, sizeof(*reply));
    }
    _exit(0);
}

int creds_agent_start(const struct creds_conf *conf, void (*in_agent)(void *ctx), void *ctx,
                      struct err *err)
{
    pid_t me = getpid(), pid;
    int fds[2];

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0)
        return err_set(err, errno, "socketpair: %s", strerror(errno));
    pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != me)
            _exit(0);
        close(fds[0]);
        in_agent(ctx);
        serve_requests(fds[1], conf);
    }
    close(fds[1]);
    if (pid < 0) {
        close(fds[0]);
        return err_set(err, errno, "fork: %s", strerror(errno));
    }
    channel = fds[0];
    had_agent = true;
    return 0;
}

void creds_agent_end(void)
{
    struct pollfd p = {.fd = channel};

    if (channel < 0)
        return;
    if (shutdown(channel, SHUT_WR) == 0) /* it hangs up when it ends */
        (void)poll(&p, 1, END_LIMIT_MS);
    close(channel);
    channel = -1;
    had_agent = false;
}

bool creds_agent_is_lost(void)
{
    return had_agent && channel < 0;
}

/* ---- in the process that it serves ---- */

/* A reply that is not there in time may come later, for another question: the agent is lost. */
static int lose_agent(int r)
{
    close(channel);
    channel = -1;
    return r;
}

/* 0, or -errno: -ECANCELED (stop_fd), -ETIMEDOUT, -EPIPE. */
static int await_reply(int stop_fd, uint64_t limit_ns)
{
    struct pollfd p[] = {{.fd = channel, .events = POLLIN}, {.fd = stop_fd, .events = POLLIN}};
    uint64_t until = clock_mono_ns() + limit_ns, now;

    while ((now = clock_mono_ns()) < until) {
        if (poll(p, 2, (int)((until - now) / NS_PER_MS) + 1) <= 0)
            continue;
        if (p[0].revents)
            return 0;
        return -ECANCELED;
    }
    return -ETIMEDOUT;
}

static int receive_reply(struct agent_reply *ret, int *ret_fd)
{
    union {
        struct cmsghdr head;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = {.bytes = {0}};
    struct iovec iov = {ret, sizeof(*ret)};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control.bytes,
                         .msg_controllen = sizeof(control.bytes)};
    ssize_t n = recvmsg(channel, &msg, MSG_CMSG_CLOEXEC);
    const struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

    if (c && c->cmsg_type == SCM_RIGHTS && c->cmsg_len == CMSG_LEN(sizeof(int)))
        memcpy(ret_fd, CMSG_DATA(c), sizeof(int));
    if (n < (ssize_t)offsetof(struct agent_reply, data) || ret->len > sizeof(ret->data) ||
        (size_t)n != offsetof(struct agent_reply, data) + ret->len)
        return -EPIPE;
    ret->error_text[sizeof(ret->error_text) - 1] = '\0';
    return 0;
}

/* 0 and *ret, with *ret_fd if a descriptor came; or -errno. */
static int agent_ask(enum agent_what what, const char *text, int stop_fd, uint64_t limit_ns,
                     struct agent_reply *ret, int *ret_fd)
{
    struct agent_request req = {.what = what, .limit_ns = limit_ns};
    size_t len = strlen(text);
    int r;

    if (channel < 0)
        return -EPIPE;
    if (len >= sizeof(req.text))
        return -ENAMETOOLONG;
    memcpy(req.text, text, len);
    if (send(channel, &req, sizeof(req), MSG_NOSIGNAL) < 0)
        return lose_agent(-EPIPE);
    r = await_reply(stop_fd, limit_ns + SPARE_NS);
    if (r == 0)
        r = receive_reply(ret, ret_fd);
    return r < 0 ? lose_agent(r) : 0;
}

static int ask_open(const char *path)
{
    struct agent_reply *reply = sodium_malloc(sizeof(*reply));
    int fd = -1, r;

    if (!reply)
        return -ENOMEM;
    r = agent_ask(AGENT_OPEN, path, -1, SPARE_NS, reply, &fd);
    if (r == 0 && reply->error)
        r = -reply->error;
    sodium_free(reply);
    return r < 0 || fd < 0 ? (r < 0 ? r : -EPIPE) : fd;
}

int creds_agent_open(const char *path)
{
    int fd = agent_open_file(path);

    return fd == -EACCES && had_agent ? ask_open(path) : fd;
}

static int take_output(const struct agent_reply *reply, struct creds_bytes *told, struct err *err)
{
    if (reply->error)
        return err_set(err, reply->error, "%s", reply->error_text);
    if (reply->len > told->cap)
        return err_set(err, EINVAL, "its output is too long");
    memcpy(told->data, reply->data, reply->len);
    told->len = reply->len;
    told->data[told->len] = '\0';
    return 0;
}

int creds_agent_run(const struct creds_job *job, const char *command, struct creds_bytes *told,
                    struct err *err)
{
    struct agent_reply *reply;
    int fd = -1, r;

    if (!had_agent)
        return creds_program_run(job, command, told, err);
    reply = sodium_malloc(sizeof(*reply));
    if (!reply)
        return err_set(err, ENOMEM, "no locked memory for credentials");
    r = agent_ask(AGENT_RUN, command, job->conf->stop_fd, creds_left(job, CREDS_PROGRAM_LIMIT_NS),
                  reply, &fd);
    if (r == -ECANCELED)
        r = err_set(err, ECANCELED, "ended by the daemon");
    else if (r < 0)
        r = err_set(err, EHOSTUNREACH, "credential_process: the agent that runs it is gone: %s",
                    strerror(-r));
    else
        r = take_output(reply, told, err);
    sodium_free(reply);
    return r;
}
