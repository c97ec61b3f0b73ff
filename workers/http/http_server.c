/* Accepting connections, and ending those whose time is over. http_conn.c serves them. */
#include "workers/http/http_server.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/container.h"
#include "workers/http/http_private.h"

#define ACCEPTS 4 /* in one turn of the loop: the other workers take the rest */
#define TICK_NS NS_PER_S
#define BEGUN_NS (500 * NS_PER_MS)

static void listen_on(struct http_server *s)
{
    if (s->listening || s->drains || s->n_conns >= s->opts.conns_max)
        return;
    s->listening = loop_add(s->w->loop, &s->listener, EPOLLIN | EPOLLEXCLUSIVE) == 0;
}

static void listen_off(struct http_server *s)
{
    if (s->listening)
        loop_del(s->w->loop, &s->listener);
    s->listening = false;
}

/* (Without descriptors or memory it stops until the next tick, and does not spin.) */
static void on_listener(struct loop_watch *watch, uint32_t events)
{
    struct http_server *s = container_of(watch, struct http_server, listener);

    (void)events;
    for (int i = 0; i < ACCEPTS && s->n_conns < s->opts.conns_max; i++) {
        int fd = accept4(watch->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

        if (fd < 0 && (errno == ECONNABORTED || errno == EINTR))
            continue;
        if (fd < 0 && errno == EAGAIN)
            return;
        if (fd < 0 || http_conn_open(s, fd) < 0) {
            listen_off(s);
            return;
        }
    }
    if (s->n_conns >= s->opts.conns_max)
        listen_off(s);
}

void http_server_added(struct http_server *s, struct http_conn *c)
{
    c->next = s->first;
    if (s->first)
        s->first->prev = c;
    s->first = c;
    s->n_conns++;
}

void http_server_removed(struct http_server *s, struct http_conn *c)
{
    if (c->prev)
        c->prev->next = c->next;
    else
        s->first = c->next;
    if (c->next)
        c->next->prev = c->prev;
    s->n_conns--;
    listen_on(s);
}

/* A request that waits for S3 has the time limits of S3. */
static bool is_due(const struct http_conn *c, uint64_t now)
{
    bool waits = c->state == HTTP_STATE_WAIT && !c->out.len;

    return c->due_ns && now >= c->due_ns && !waits && !c->held;
}

static void on_tick(struct loop_timer *t)
{
    struct http_server *s = container_of(t, struct http_server, tick);
    uint64_t now = clock_mono_ns();
    struct http_conn *next;

    for (struct http_conn *c = s->first; c; c = next) {
        next = c->next;
        if (is_due(c, now))
            http_conn_close(c);
    }
    listen_on(s);
    loop_timer_set(s->w->loop, t, TICK_NS);
}

static void on_soon(struct loop_timer *t)
{
    struct http_server *s = container_of(t, struct http_server, soon);
    struct http_conn *next;

    for (struct http_conn *c = s->first; c; c = next) {
        next = c->next;
        if (c->kicked)
            http_conn_pump(c);
    }
}

int http_server_start(struct worker *w, const struct http_server_opts *opts,
                      const struct http_service *service, struct http_server **ret_server)
{
    struct http_server *s = calloc(1, sizeof(*s));

    if (!s)
        return -ENOMEM;
    s->w = w;
    s->service = service;
    s->opts = *opts;
    s->listener.fd = opts->listen_fd;
    s->listener.on_event = on_listener;
    s->tick.on_time = on_tick;
    s->soon.on_time = on_soon;
    if (opts->holds_drain)
        w->arena->http_requests = 0; /* those of a predecessor ended with it */
    loop_timer_set(w->loop, &s->tick, TICK_NS);
    listen_on(s);
    if (!s->listening) {
        loop_timer_cancel(w->loop, &s->tick);
        free(s);
        return -EIO;
    }
    *ret_server = s;
    return 0;
}

/* Between two requests, and no other has come. */
static bool is_idle(const struct http_conn *c)
{
    char byte;

    return c->state == HTTP_STATE_HEAD && !c->in.len && c->served &&
           recv(c->watch.fd, &byte, 1, MSG_DONTWAIT | MSG_PEEK) <= 0;
}

void http_server_drain(struct http_server *s)
{
    struct http_conn *next;

    s->drains = true;
    s->drain_ns = clock_mono_ns();
    listen_off(s);
    for (struct http_conn *c = s->first; c; c = next) {
        next = c->next;
        if (is_idle(c))
            http_conn_close(c);
    }
}

/* A client that has just connected has its request on the way, one whose head is incomplete the
 * rest of it: for a moment. */
static bool is_begun(const struct http_server *s)
{
    return s->drains && s->n_conns && clock_mono_ns() - s->drain_ns < BEGUN_NS;
}

unsigned http_server_busy(const struct http_server *s)
{
    return is_begun(s) ? s->n_conns : s->n_busy;
}
