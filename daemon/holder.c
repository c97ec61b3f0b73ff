/* The daemon's side of hold_wire.h. Who keeps what, and until when, is in hold.c. */
#include "daemon/holder.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/container.h"
#include "base/log.h"
#include "daemon/hold_wire.h"

#define TAKE_LIMIT_MS 5000
#define DROP_LIMIT_MS 2000
#define AGAIN_NS NS_PER_S
#define AGAIN_REFUSED_NS (30 * NS_PER_S) /* each time is a line in the holder's log */

void holder_init(struct holder *h, const struct conf *conf, const int life[2])
{
    *h = (struct holder){.sock = -1, .life = {-1, -1}};
    snprintf(h->path, sizeof(h->path), "%s", conf->daemon.holder);
    snprintf(h->name, sizeof(h->name), "%s", conf->daemon.holder_name);
    if (life)
        memcpy(h->life, life, sizeof(h->life));
}

/* ---- hello ---- */

static int holder_connect(const struct holder *h, int *ret_sock)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), r;

    if (fd < 0)
        return -errno;
    memcpy(addr.sun_path, h->path, strlen(h->path));
    r = connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 ? -errno : hold_check_peer(fd);
    if (r < 0)
        close(fd);
    else
        *ret_sock = fd;
    return r;
}

static int say_hello(struct holder *h, const char *how)
{
    char text[HOLD_TEXT_MAX];
    int r;

    if (h->life[0] < 0 && pipe2(h->life, O_CLOEXEC) < 0)
        return -errno;
    r = holder_connect(h, &h->sock);
    if (r < 0)
        return r;
    snprintf(text, sizeof(text), HOLD_HELLO "%s %s", how, h->name);
    r = hold_send(h->sock, h->life[0], text);
    if (r < 0) {
        close(h->sock);
        h->sock = -1;
    }
    return r;
}

/* As hold_recv, but waits. -ETIMEDOUT. */
static int hold_await(int sock, uint64_t until_ns, char text[HOLD_TEXT_MAX], int *ret_fd)
{
    struct pollfd p = {.fd = sock, .events = POLLIN};
    int r;

    while ((r = hold_recv(sock, text, ret_fd)) == -EAGAIN || r == -EINTR) {
        uint64_t now = clock_mono_ns();

        if (now >= until_ns)
            return -ETIMEDOUT;
        if (poll(&p, 1, (int)((until_ns - now) / NS_PER_MS) + 1) < 0 && errno != EINTR)
            return -errno;
    }
    return r;
}

static int close_sock(struct holder *h, int r)
{
    if (h->sock >= 0)
        close(h->sock);
    h->sock = -1;
    h->state = HOLDER_AWAY;
    return r;
}

/* ---- taking ---- */

/* One message of what is handed over. 1: it was the last one. *waits: the holder does. */
static int take_one(const char *text, int fd, struct fdstore_handed_in *in, bool *waits,
                    struct err *err)
{
    unsigned count;
    int number;

    if (fd < 0 && strcmp(text, "wait") == 0) {
        *waits = true;
        return 0;
    }
    if (fd < 0 && hold_parse_count(text, "end", &count)) {
        if (count != in->n)
            return err_set(err, EPROTO, "%u descriptors of %u have come from the holder", in->n,
                           count);
        return 1;
    }
    if (fd < 0 && strncmp(text, "busy ", 5) == 0)
        return err_set(err, EBUSY, "%s", text + 5);
    if (fd < 0 && strncmp(text, "full ", 5) == 0)
        return err_set(err, ENOTCONN, "%s", text + 5);
    if (fd < 0 || !hold_parse_kept(text, &number) || in->n == FDSTORE_MAX) {
        if (fd >= 0)
            close(fd);
        return err_set(err, EPROTO, "the holder says what makes no sense: \"%.80s\"", text);
    }
    in->number[in->n] = number == HOLD_RECORD ? FDSTORE_IS_RECORD : number;
    in->at[in->n++] = fd;
    return 0;
}

/* All that the holder has. After a failure *in has what came before. */
static int take_all(struct holder *h, struct fdstore_handed_in *in, struct err *err)
{
    uint64_t until = clock_mono_ns() + TAKE_LIMIT_MS * NS_PER_MS;
    char text[HOLD_TEXT_MAX];
    bool waits = false;
    int r = 0;

    while (r == 0) {
        int fd = -1;

        r = hold_await(h->sock, until, text, &fd);
        if (r > 0) {
            r = take_one(text, fd, in, &waits, err);
            if (in->n) /* the wait for processes is over */
                until = clock_mono_ns() + TAKE_LIMIT_MS * NS_PER_MS;
        } else if (r == 0)
            r = err_set(err, EPROTO, "the holder has closed the connection");
        else if (r == -ETIMEDOUT && waits && in->n == 0)
            r = err_set(err, EAGAIN,
                        "the holder does not hand over yet: processes of the daemon before have "
                        "not ended");
        else if (r == -ETIMEDOUT && in->n == 0)
            r = err_set(err, ENOTCONN, "%s: it does not answer", h->path);
        else
            err_set(err, -r, "cannot take over from the holder: %s", strerror(-r));
    }
    return r < 0 ? r : 0;
}

/* Our own descriptors go above those that are taken, which have their numbers. */
static int lift_own(struct holder *h, const struct fdstore_handed_in *in, struct err *err)
{
    int *own[] = {&h->sock, &h->life[0], &h->life[1]}, above = 0;

    for (unsigned i = 0; i < in->n; i++) {
        if (in->number[i] > above)
            above = in->number[i];
    }
    hold_raise_limit((rlim_t)above + FDSTORE_MAX + 64);
    for (unsigned i = 0; in->n && i < sizeof(own) / sizeof(own[0]); i++) {
        int fd = fcntl(*own[i], F_DUPFD_CLOEXEC, above + 1);

        if (fd < 0)
            return err_set(err, errno, "descriptor %d: %s", above + 1, strerror(errno));
        close(*own[i]);
        *own[i] = fd;
    }
    return 0;
}

int holder_take(struct holder *h, struct fdstore_left *ret, struct err *err)
{
    static struct fdstore_handed_in in;
    int r = say_hello(h, "take"), r_place;

    in = (struct fdstore_handed_in){0};
    ret->record = -1;
    ret->n = ret->n_sets = 0;
    if (r < 0)
        return err_set(err, ENOTCONN, "%s: %s", h->path, strerror(-r));
    hold_raise_limit(FDSTORE_MAX + 64);
    r = take_all(h, &in, err);
    if (r == -EBUSY || r == -EAGAIN || r == -ENOTCONN)
        return close_sock(h, r);
    h->state = HOLDER_READY;
    if (r == 0)
        r = lift_own(h, &in, err);
    r_place = fdstore_place(&in, ret, r == 0 ? err : NULL);
    return r < 0 ? r : r_place;
}

/* ---- giving ---- */

/* What came of sending. That the holder has gone is noticed by the watch. */
static int sent(int r)
{
    return r == -EPIPE || r == -ECONNRESET ? -ENOTCONN : r;
}

static int holder_begin(void *ctx)
{
    struct holder *h = ctx;

    h->kept = false;
    return h->state == HOLDER_READY ? sent(hold_send(h->sock, -1, "begin")) : -ENOTCONN;
}

static int holder_put(void *ctx, int fd, int number)
{
    struct holder *h = ctx;

    if (h->state != HOLDER_READY)
        return -ENOTCONN;
    return sent(hold_send_kept(h->sock, fd, number == FDSTORE_IS_RECORD ? HOLD_RECORD : number));
}

static int holder_has_all(void *ctx)
{
    const struct holder *h = ctx;

    return h->state != HOLDER_READY ? -ENOTCONN : h->kept;
}

static void drop_all(void *ctx, const int *number, unsigned n)
{
    (void)number; /* all */
    (void)n;
    holder_drop(ctx);
}

struct fdstore_to holder_to(struct holder *h)
{
    return (struct fdstore_to){.whom = "the holder",
                               .begin = holder_begin,
                               .put = holder_put,
                               .drop = drop_all,
                               .has_all = holder_has_all,
                               .ctx = h};
}

void holder_drop(struct holder *h)
{
    uint64_t until = clock_mono_ns() + DROP_LIMIT_MS * NS_PER_MS;
    char text[HOLD_TEXT_MAX] = "";
    int fd = -1, r;

    if (h->state != HOLDER_READY)
        return;
    r = hold_send(h->sock, -1, "drop");
    while (r >= 0 && strcmp(text, "dropped") != 0) {
        r = hold_await(h->sock, until, text, &fd);
        if (r == 0)
            r = -ECONNRESET;
        if (fd >= 0)
            close(fd);
        fd = -1;
    }
    if (r < 0)
        log_debug("the holder was not told what to drop: %s", strerror(-r));
}

/* ---- the connection ---- */

static void lost(struct holder *h, const char *why)
{
    bool refused = strncmp(why, "busy ", 5) == 0 || strncmp(why, "full ", 5) == 0 ||
                   strncmp(why, "error ", 6) == 0;

    if (h->sock >= 0)
        loop_del(h->loop, &h->watch);
    (void)close_sock(h, 0);
    if (!h->told)
        log_warn("without the holder, a crash of the whole daemon ends the mount; serving on, and "
                 "trying again socket=\"%s\": %s",
                 h->path, why);
    h->told = true;
    loop_timer_set(h->loop, &h->again, refused ? AGAIN_REFUSED_NS : AGAIN_NS);
}

static void ready(struct holder *h)
{
    h->state = HOLDER_READY;
    if (h->told)
        log_notice("the holder is there again socket=\"%s\"", h->path);
    h->told = false;
    h->on_ready(h->ctx);
}

/* 0: there may be more. -errno: the connection is of no use. */
static int on_answer(struct holder *h, char text[HOLD_TEXT_MAX])
{
    int fd = -1, r = hold_recv(h->sock, text, &fd);

    if (fd >= 0)
        close(fd);
    if (r == -EAGAIN || r == -EINTR)
        return 1;
    if (r <= 0) {
        snprintf(text, HOLD_TEXT_MAX, "%s", r == 0 ? "it has closed" : strerror(-r));
        return -ECONNRESET;
    }
    if (h->state == HOLDER_ASKED && strcmp(text, "ok") == 0) {
        ready(h);
        return 0;
    }
    log_debug("the holder says: %s", text);
    if (strncmp(text, "kept ", 5) != 0)
        return -EPROTO;
    h->kept = true;
    return 0;
}

static void on_answers(struct loop_watch *w, uint32_t events)
{
    struct holder *h = container_of(w, struct holder, watch);
    char text[HOLD_TEXT_MAX];
    int r;

    (void)events;
    while ((r = on_answer(h, text)) == 0)
        ;
    if (r < 0)
        lost(h, text);
}

static int watch_sock(struct holder *h)
{
    h->watch.fd = h->sock;
    h->watch.on_event = on_answers;
    return loop_add(h->loop, &h->watch, EPOLLIN);
}

static void come_again(struct holder *h)
{
    int r = say_hello(h, "give");

    if (r == 0)
        r = watch_sock(h);
    if (r == 0)
        h->state = HOLDER_ASKED;
    else
        lost(h, strerror(-r));
}

static void on_again(struct loop_timer *t)
{
    come_again(container_of(t, struct holder, again));
}

void holder_watch(struct holder *h, struct loop *loop, void (*on_ready)(void *ctx), void *ctx)
{
    int r;

    h->loop = loop;
    h->on_ready = on_ready;
    h->ctx = ctx;
    h->again.on_time = on_again;
    if (h->state != HOLDER_READY) {
        come_again(h);
        return;
    }
    r = watch_sock(h);
    if (r < 0)
        lost(h, strerror(-r));
}

void holder_forget(struct holder *h)
{
    (void)close_sock(h, 0);
}
