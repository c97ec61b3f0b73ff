/* See responder.h. Never blocks: what the client does not take yet waits. */
#include "tests/fuzz/responder.h"

#include <errno.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/container.h"
#include "tests/fuzz/fuzz.h"

#define HEAD_MAX (64u << 10)
#define ANSWER_MAX (4u << 20)

struct conn {
    struct loop_watch watch;
    struct responder *owner;
    struct conn *next;
    char head[HEAD_MAX + 1];
    size_t head_len;
    uint64_t body_left; /* of the request */
    bool in_body;
    struct buf out;
    size_t sent;
    bool last; /* nothing follows `out` */
};

struct responder {
    struct loop *loop;
    struct loop_watch watch;
    struct sockaddr_in at;
    responder_fn *fn;
    void *arg;
    struct conn *conns;
    unsigned events;
};

/* Reset, so that no port stays busy. */
static void end_conn(struct conn *c)
{
    struct conn **at = &c->owner->conns;
    struct linger now = {.l_onoff = 1};

    while (*at != c)
        at = &(*at)->next;
    *at = c->next;
    setsockopt(c->watch.fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    loop_del(c->owner->loop, &c->watch);
    close(c->watch.fd);
    buf_done(&c->out);
    free(c);
}

static void flush(struct conn *c)
{
    uint32_t events = EPOLLIN;

    while (c->sent < c->out.len) {
        ssize_t n = send(c->watch.fd, c->out.data + c->sent, c->out.len - c->sent,
                         MSG_NOSIGNAL | MSG_DONTWAIT);

        if (n < 0)
            break; /* EAGAIN; an end shows as an event */
        c->sent += (size_t)n;
    }
    if (c->sent < c->out.len)
        events |= EPOLLOUT;
    else if (c->last)
        shutdown(c->watch.fd, SHUT_WR);
    fuzz_check(loop_mod(c->owner->loop, &c->watch, events) == 0);
}

static void answer(struct conn *c)
{
    struct responder *r = c->owner;

    c->last = !r->fn(r->arg, c->head, &c->out);
    c->head_len = 0;
    c->in_body = false;
    flush(c);
}

static void head_over(struct conn *c)
{
    const char *length;

    c->head[c->head_len] = '\0';
    length = strcasestr(c->head, "\ncontent-length:");
    c->body_left = length ? strtoull(strchr(length, ':') + 1, NULL, 10) : 0;
    c->in_body = true;
    if (!c->body_left)
        answer(c);
}

static void take(struct conn *c, const char *data, size_t len)
{
    for (size_t i = 0; i < len && !c->last; i++) {
        if (c->in_body) {
            if (--c->body_left == 0)
                answer(c);
            continue;
        }
        fuzz_check(c->head_len < HEAD_MAX);
        c->head[c->head_len++] = data[i];
        if (c->head_len >= 4 && memcmp(c->head + c->head_len - 4, "\r\n\r\n", 4) == 0)
            head_over(c);
    }
}

static void on_conn(struct loop_watch *w, uint32_t events)
{
    struct conn *c = (struct conn *)w;
    static char data[65536];
    ssize_t n = recv(w->fd, data, sizeof(data), MSG_DONTWAIT);

    c->owner->events++;
    if (n > 0) {
        take(c, data, (size_t)n);
    } else if (n == 0 || errno != EAGAIN) {
        end_conn(c);
    } else if (events & EPOLLOUT) {
        flush(c);
    }
}

static void on_listener(struct loop_watch *w, uint32_t events)
{
    struct responder *r = container_of(w, struct responder, watch);
    int fd = accept4(w->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    struct conn *c;

    (void)events;
    r->events++;
    if (fd < 0)
        return;
    c = calloc(1, sizeof(*c));
    fuzz_check(c);
    c->owner = r;
    c->watch = (struct loop_watch){.fd = fd, .on_event = on_conn};
    buf_init(&c->out, ANSWER_MAX);
    c->next = r->conns;
    r->conns = c;
    fuzz_check(loop_add(r->loop, &c->watch, EPOLLIN) == 0);
}

struct responder *responder_new(struct loop *loop, responder_fn *fn, void *arg)
{
    struct responder *r = calloc(1, sizeof(*r));
    socklen_t len = sizeof(r->at);

    fuzz_check(r);
    *r = (struct responder){.loop = loop, .fn = fn, .arg = arg};
    r->at.sin_family = AF_INET;
    r->at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    r->watch.on_event = on_listener;
    r->watch.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    fuzz_check(r->watch.fd >= 0);
    fuzz_check(bind(r->watch.fd, (void *)&r->at, sizeof(r->at)) == 0);
    fuzz_check(listen(r->watch.fd, 128) == 0);
    fuzz_check(getsockname(r->watch.fd, (void *)&r->at, &len) == 0);
    fuzz_check(loop_add(loop, &r->watch, EPOLLIN) == 0);
    return r;
}

unsigned responder_port(const struct responder *r)
{
    return ntohs(r->at.sin_port);
}

unsigned responder_events(const struct responder *r)
{
    return r->events;
}

void responder_finish(struct responder *r)
{
    for (struct conn *c = r->conns; c; c = c->next) {
        c->last = true;
        flush(c);
    }
}

void responder_drop_all(struct responder *r)
{
    while (r->conns)
        end_conn(r->conns);
}
