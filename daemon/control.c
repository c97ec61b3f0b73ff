/* Connections of control clients. The replies are in answer.c; the path is handled in
 * control_path.c. */
#include "daemon/control.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/container.h"
#include "base/fd.h"
#include "base/log.h"

enum client_state {
    CLIENT_FREE,
    CLIENT_READING, /* its line has not arrived yet */
    CLIENT_ASKED,   /* on_request was called, the reply is not complete */
    CLIENT_LAST,    /* the reply is complete and is being sent */
};

struct client {
    struct loop_timer timer;
    struct loop_watch watch;
    struct control *control;
    enum client_state state;
    uint64_t id;
    char line[CONTROL_LINE_MAX];
    size_t line_len;
    struct buf out;
    size_t out_sent;
    int pass_fd; /* our copy, sent with the next bytes; -1 = none */
};

struct control {
    struct loop *loop;
    struct loop_watch listener;
    struct control_path path;
    control_fn *on_request;
    void *ctx;
    uint64_t next_id;
    struct client client[CONTROL_CLIENTS_MAX];
};

int control_parse(const char *data, size_t len, enum control_request *ret)
{
    static const struct {
        const char *line;
        enum control_request request;
    } known[] = {
        {"status", CONTROL_STATUS},   {"check", CONTROL_CHECK}, {"drain", CONTROL_DRAIN},
        {"restart", CONTROL_RESTART}, {"leave", CONTROL_LEAVE},
    };
    const char *end = memchr(data, '\n', len);
    size_t n = end ? (size_t)(end - data) : len;

    if (!end)
        return len >= CONTROL_LINE_MAX ? -EMSGSIZE : 0;
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        if (strlen(known[i].line) == n && memcmp(data, known[i].line, n) == 0) {
            *ret = known[i].request;
            return 1;
        }
    }
    return -EINVAL;
}

static void control_drop(struct client *c)
{
    struct loop *loop = c->control->loop;

    loop_timer_cancel(loop, &c->timer);
    loop_del(loop, &c->watch);
    close(c->watch.fd);
    if (c->pass_fd >= 0)
        close(c->pass_fd);
    buf_done(&c->out);
    c->state = CLIENT_FREE;
}

/* Sends a part of the reply, and the descriptor with its first byte. Bytes sent or -errno. */
static ssize_t send_some(struct client *c)
{
    struct iovec iov = {.iov_base = c->out.data + c->out_sent, .iov_len = c->out.len - c->out_sent};
    union fd_room room;
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
    ssize_t n;

    if (c->pass_fd >= 0)
        fd_pass(&msg, &room, c->pass_fd);
    n = sendmsg(c->watch.fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0)
        return -errno;
    if (c->pass_fd >= 0) {
        close(c->pass_fd);
        c->pass_fd = -1;
    }
    return n;
}

/* Sends what can be sent now; waits for buffer space for the rest; drops a client that is done or
 * disconnected. */
static void flush(struct client *c)
{
    uint32_t events = 0;

    while (c->out_sent < c->out.len) {
        ssize_t n = send_some(c);

        if (n == -EAGAIN) {
            events = EPOLLOUT;
            break;
        }
        if (n < 0) {
            control_drop(c);
            return;
        }
        c->out_sent += (size_t)n;
    }
    if (!events && c->state == CLIENT_LAST) {
        control_drop(c);
        return;
    }
    if (loop_mod(c->control->loop, &c->watch, events) < 0)
        control_drop(c);
}

static struct client *control_find(struct control *control, uint64_t id)
{
    for (unsigned i = 0; i < CONTROL_CLIENTS_MAX; i++) {
        struct client *c = &control->client[i];

        if (c->state != CLIENT_FREE && c->id == id)
            return c;
    }
    return NULL;
}

void control_answer(struct control *control, uint64_t client, const char *text, int fd, bool last)
{
    struct client *c = control ? control_find(control, client) : NULL;

    if (!c)
        return;
    if (buf_puts(&c->out, text) < 0) {
        control_drop(c); /* half a reply is worse than none */
        return;
    }
    if (fd >= 0 && c->pass_fd < 0)
        c->pass_fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (last) {
        c->state = CLIENT_LAST;
        loop_timer_set(control->loop, &c->timer, CONTROL_REQUEST_NS);
    }
    flush(c);
}

void control_answer_all(struct control *control, const char *text)
{
    for (unsigned i = 0; control && i < CONTROL_CLIENTS_MAX; i++) {
        if (control->client[i].state == CLIENT_ASKED)
            control_answer(control, control->client[i].id, text, -1, true);
    }
}

static void take_request(struct client *c)
{
    enum control_request request;
    int r = control_parse(c->line, c->line_len, &request);

    if (r == 0)
        return;
    /* Anything else that it sends is not read; only a disconnect is noticed. */
    loop_timer_cancel(c->control->loop, &c->timer);
    c->state = CLIENT_ASKED;
    if (loop_mod(c->control->loop, &c->watch, 0) < 0)
        control_drop(c);
    else if (r < 0)
        control_answer(c->control, c->id, "error unknown request\n", -1, true);
    else
        c->control->on_request(c->control->ctx, c->id, request);
}

static void read_line(struct client *c)
{
    ssize_t n =
        recv(c->watch.fd, c->line + c->line_len, sizeof(c->line) - c->line_len, MSG_DONTWAIT);

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        control_drop(c);
        return;
    }
    c->line_len += (size_t)n;
    take_request(c);
}

static void on_client(struct loop_watch *w, uint32_t events)
{
    struct client *c = container_of(w, struct client, watch);

    if (c->state == CLIENT_READING && (events & EPOLLIN))
        read_line(c);
    else if (events & (EPOLLHUP | EPOLLERR))
        control_drop(c);
    else if (events & EPOLLOUT)
        flush(c);
}

static void on_timeout(struct loop_timer *t)
{
    struct client *c = container_of(t, struct client, timer);

    log_debug("control client is too slow, dropping it");
    control_drop(c);
}

static struct client *client_new(struct control *control, int fd, enum client_state state)
{
    struct client *c = NULL;

    for (unsigned i = 0; i < CONTROL_CLIENTS_MAX && !c; i++) {
        if (control->client[i].state == CLIENT_FREE)
            c = &control->client[i];
    }
    if (!c)
        return NULL;
    *c = (struct client){.timer.on_time = on_timeout,
                         .watch = {.on_event = on_client, .fd = fd},
                         .control = control,
                         .state = state,
                         .id = ++control->next_id,
                         .pass_fd = -1};
    buf_init(&c->out, CONTROL_ANSWER_MAX);
    return c;
}

static void welcome(struct control *control, int fd)
{
    struct client *c = client_new(control, fd, CLIENT_READING);

    if (!c) {
        static const char busy[] = "error too many control clients\n";

        (void)send(fd, busy, sizeof(busy) - 1, MSG_NOSIGNAL | MSG_DONTWAIT);
        close(fd);
        return;
    }
    loop_timer_set(control->loop, &c->timer, CONTROL_REQUEST_NS);
    if (loop_add(control->loop, &c->watch, EPOLLIN) < 0)
        control_drop(c);
}

/* Accepts one per turn: the loop calls again while more are waiting. */
static void on_listener(struct loop_watch *w, uint32_t events)
{
    struct control *control = container_of(w, struct control, listener);
    int fd = accept4(w->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

    (void)events;
    if (fd >= 0)
        welcome(control, fd);
}

static int control_new(struct loop *loop, control_fn *on_request, void *ctx, int listener_fd,
                       const struct control_path *path, struct control **ret_control,
                       struct err *err)
{
    struct control *control = calloc(1, sizeof(*control));
    int r;

    if (!control) {
        control_path_remove(path);
        close(listener_fd);
        return err_set(err, ENOMEM, "out of memory");
    }
    control->loop = loop;
    control->on_request = on_request;
    control->ctx = ctx;
    control->path = *path;
    control->listener.on_event = on_listener;
    control->listener.fd = listener_fd;
    r = loop_add(loop, &control->listener, EPOLLIN);
    if (r < 0) {
        control_close(control, false);
        return err_set(err, -r, "control.socket: %s", strerror(-r));
    }
    *ret_control = control;
    return 0;
}

int control_open(struct loop *loop, const char *path, const char *dir, control_fn *on_request,
                 void *ctx, struct control **ret_control, struct err *err)
{
    struct control_path bound;
    int fd = control_path_listen(path, dir, &bound, err);

    return fd < 0 ? fd : control_new(loop, on_request, ctx, fd, &bound, ret_control, err);
}

/* ---- the exec ---- */

void control_hand_over(const struct control *control, uint64_t client, struct control_handed *ret)
{
    *ret = (struct control_handed){.listener_fd = -1, .client_fd = -1};
    if (!control)
        return;
    ret->listener_fd = control->listener.fd;
    ret->path = control->path;
    for (unsigned i = 0; i < CONTROL_CLIENTS_MAX; i++) {
        if (control->client[i].state == CLIENT_ASKED && control->client[i].id == client)
            ret->client_fd = control->client[i].watch.fd;
    }
}

int control_take(struct loop *loop, const struct control_handed *handed, control_fn *on_request,
                 void *ctx, struct control **ret_control, uint64_t *ret_client, struct err *err)
{
    struct client *c;
    int r =
        control_new(loop, on_request, ctx, handed->listener_fd, &handed->path, ret_control, err);

    *ret_client = 0;
    if (r < 0 || handed->client_fd < 0)
        return r;
    c = client_new(*ret_control, handed->client_fd, CLIENT_ASKED);
    if (loop_add(loop, &c->watch, 0) < 0)
        control_drop(c);
    else
        *ret_client = c->id;
    return 0;
}

bool control_others(const struct control *control, uint64_t client)
{
    for (unsigned i = 0; control && i < CONTROL_CLIENTS_MAX; i++) {
        if (control->client[i].state != CLIENT_FREE && control->client[i].id != client)
            return true;
    }
    return false;
}

void control_close(struct control *control, bool leave)
{
    if (!control)
        return;
    for (unsigned i = 0; i < CONTROL_CLIENTS_MAX; i++) {
        if (control->client[i].state != CLIENT_FREE)
            control_drop(&control->client[i]);
    }
    loop_del(control->loop, &control->listener);
    if (!leave)
        control_path_remove(&control->path);
    close(control->listener.fd);
    free(control);
}

/* The parent shares the loop's epoll descriptor: nothing is removed from it here. */
void control_forget(struct control *control)
{
    if (!control)
        return;
    close(control->listener.fd);
    for (unsigned i = 0; i < CONTROL_CLIENTS_MAX; i++) {
        if (control->client[i].state != CLIENT_FREE)
            close(control->client[i].watch.fd);
        if (control->client[i].state != CLIENT_FREE && control->client[i].pass_fd >= 0)
            close(control->client[i].pass_fd);
    }
}
