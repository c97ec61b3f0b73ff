/* See script_server.h. */
#include "script_server.h"

#include <ctype.h>
#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/container.h"

struct conn {
    struct loop_watch watch;
    struct server *server;
    struct conn *next;
    struct server_request *req; /* being read */
    const struct server_answer *answer;
    size_t head_len;
    bool in_body;
    bool deaf;
    uint64_t left;
};

struct server {
    struct loop *loop;
    struct loop_watch watch; /* the listener; fd -1 while shut */
    struct sockaddr_in at;
    const struct server_answer *script;
    size_t n, next;
    struct conn *conns;
    unsigned count, accepted, open, most;
    struct server_request *requests;
};

static void end_conn(struct conn *c, bool reset)
{
    struct server *s = c->server;
    struct conn **at = &s->conns;
    struct linger now = {.l_onoff = 1};

    while (*at != c)
        at = &(*at)->next;
    *at = c->next;
    if (reset)
        setsockopt(c->watch.fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    loop_del(s->loop, &c->watch);
    close(c->watch.fd);
    s->open--;
    free(c);
}

static void send_all(int fd, const char *text, size_t len)
{
    while (len > 0) {
        ssize_t n = send(fd, text, len, MSG_NOSIGNAL);

        if (n <= 0)
            return; /* the client has gone */
        text += n;
        len -= (size_t)n;
    }
}

/* Returns false when the connection is gone. */
static bool answer(struct conn *c)
{
    const struct server_answer *a = c->answer;

    if (a->text)
        send_all(c->watch.fd, a->text, a->len ? a->len : strlen(a->text));
    c->req = NULL;
    c->in_body = false;
    c->head_len = 0;
    if (a->end != SERVER_KEEP) {
        end_conn(c, a->end == SERVER_RESET);
        return false;
    }
    c->deaf = a->early;
    return true;
}

static bool head_over(struct conn *c)
{
    struct server *s = c->server;
    const char *length = strcasestr(c->req->head, "\ncontent-length:");

    c->left = length ? strtoull(strchr(length, ':') + 1, NULL, 10) : 0;
    c->in_body = true;
    c->answer = &s->script[s->next];
    if (s->next + 1 < s->n)
        s->next++;
    if (c->answer->early)
        return answer(c);
    for (unsigned i = 0; i < c->answer->continues; i++)
        send_all(c->watch.fd, "HTTP/1.1 100 Continue\r\n\r\n", 25);
    return c->left > 0 || answer(c);
}

static bool take(struct conn *c, const char *data, size_t len)
{
    struct server *s = c->server;

    for (size_t i = 0; i < len && !c->deaf; i++) {
        if (!c->req) {
            assert_true(s->count < SERVER_REQUESTS_MAX);
            c->req = &s->requests[s->count++];
            *c->req = (struct server_request){0};
        }
        if (c->in_body) {
            c->req->body_len++;
            c->req->body_sum += c->req->body_len * (unsigned char)data[i];
            if (--c->left == 0 && !answer(c))
                return false;
            continue;
        }
        assert_true(c->head_len + 1 < SERVER_HEAD_MAX);
        c->req->head[c->head_len++] = data[i];
        if (c->head_len >= 4 && memcmp(c->req->head + c->head_len - 4, "\r\n\r\n", 4) == 0 &&
            !head_over(c))
            return false;
    }
    return true;
}

static void on_conn(struct loop_watch *w, uint32_t events)
{
    struct conn *c = (struct conn *)w;
    static char data[65536];
    ssize_t n;

    (void)events;
    n = recv(w->fd, data, sizeof(data), MSG_DONTWAIT);
    if (n < 0 && errno == EAGAIN)
        return;
    if (n <= 0)
        end_conn(c, false);
    else if (!c->deaf)
        (void)take(c, data, (size_t)n);
}

static void on_listener(struct loop_watch *w, uint32_t events)
{
    struct server *s = container_of(w, struct server, watch);
    int fd = accept4(w->fd, NULL, NULL, SOCK_CLOEXEC);
    struct conn *c;

    (void)events;
    if (fd < 0)
        return;
    c = calloc(1, sizeof(*c));
    assert_non_null(c);
    c->server = s;
    c->watch.fd = fd;
    c->watch.on_event = on_conn;
    c->next = s->conns;
    s->conns = c;
    s->accepted++;
    if (++s->open > s->most)
        s->most = s->open;
    assert_int_equal(loop_add(s->loop, &c->watch, EPOLLIN), 0);
}

void server_open(struct server *s)
{
    int one = 1;
    socklen_t len = sizeof(s->at);

    s->watch.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_true(s->watch.fd >= 0);
    setsockopt(s->watch.fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    assert_int_equal(bind(s->watch.fd, (void *)&s->at, sizeof(s->at)), 0);
    assert_int_equal(listen(s->watch.fd, 128), 0);
    assert_int_equal(getsockname(s->watch.fd, (void *)&s->at, &len), 0);
    assert_int_equal(loop_add(s->loop, &s->watch, EPOLLIN), 0);
}

void server_shut(struct server *s)
{
    loop_del(s->loop, &s->watch);
    close(s->watch.fd);
    s->watch.fd = -1;
}

struct server *server_new(struct loop *loop, const struct server_answer *script, size_t n)
{
    struct server *s = calloc(1, sizeof(*s));

    assert_non_null(s);
    s->requests = calloc(SERVER_REQUESTS_MAX, sizeof(*s->requests));
    assert_non_null(s->requests);
    s->loop = loop;
    s->script = script;
    s->n = n;
    s->watch.on_event = on_listener;
    s->at.sin_family = AF_INET;
    s->at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    server_open(s);
    return s;
}

void server_script(struct server *s, const struct server_answer *script, size_t n)
{
    s->script = script;
    s->n = n;
    s->next = 0;
}

void server_drop_all(struct server *s)
{
    while (s->conns)
        end_conn(s->conns, false);
}

void server_free(struct server *s)
{
    server_drop_all(s);
    if (s->watch.fd >= 0)
        server_shut(s);
    free(s->requests);
    free(s);
}

unsigned server_port(const struct server *s)
{
    return ntohs(s->at.sin_port);
}

unsigned server_count(const struct server *s)
{
    return s->count;
}

unsigned server_connections(const struct server *s)
{
    return s->accepted;
}

unsigned server_most_open(const struct server *s)
{
    return s->most;
}

const struct server_request *server_request(const struct server *s, unsigned i)
{
    assert_true(i < s->count);
    return &s->requests[i];
}

const char *server_header(const struct server *s, unsigned i, const char *name)
{
    static char value[8192];
    char pattern[128];
    const char *at;
    size_t len;

    snprintf(pattern, sizeof(pattern), "\r\n%s:", name);
    at = strcasestr(server_request(s, i)->head, pattern);
    if (!at)
        return "";
    at += strlen(pattern);
    at += strspn(at, " ");
    len = strcspn(at, "\r");
    assert_true(len < sizeof(value));
    memcpy(value, at, len);
    value[len] = '\0';
    return value;
}
