/* One connection: reading requests and their bodies, one after the other. http_answer.c writes. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/container.h"
#include "workers/http/http_private.h"

#define READS 4                   /* in one turn of the loop, before others have theirs */
#define IDLE_NS (60 * NS_PER_S)   /* no request */
#define HEAD_NS (10 * NS_PER_S)   /* from the first byte of a head to its last */
#define BODY_NS (3600 * NS_PER_S) /* between two pieces of a body: files stay open for long */
#define SEND_NS (60 * NS_PER_S)   /* no byte of the answer taken */

/* ---- what the service uses ---- */

struct worker *http_conn_worker(const struct http_conn *c)
{
    return c->server->w;
}

const struct http_request *http_conn_request(const struct http_conn *c)
{
    return &c->request;
}

struct http_peer http_conn_peer(const struct http_conn *c)
{
    return c->peer;
}

void *http_conn_state(const struct http_conn *c)
{
    return c->app;
}

void http_conn_set_state(struct http_conn *c, void *state)
{
    c->app = state;
}

void http_conn_set_kind(struct http_conn *c, unsigned kind)
{
    c->kind = kind;
}

bool http_conn_overran(const struct http_conn *c)
{
    return c->overran;
}

void http_conn_hold(struct http_conn *c)
{
    c->held = true;
}

void http_conn_take(struct http_conn *c)
{
    c->held = false;
    http_conn_kick(c);
}

void http_conn_kick(struct http_conn *c)
{
    if (c->pumping || c->kicked)
        return;
    c->kicked = true;
    loop_timer_set(c->server->w->loop, &c->server->soon, 0);
}

static void set_due(struct http_conn *c, uint64_t ns)
{
    c->due_ns = clock_mono_ns() + ns;
}

/* ---- a request begins and ends ---- */

static int keep_request(struct http_conn *c, const struct http_head *h)
{
    struct http_request *r = &c->request;

    c->text = malloc(h->target_len);
    if (!c->text)
        return -ENOMEM;
    memcpy(c->text, h->target, h->target_len);
    *r = (struct http_request){.method = h->method,
                               .minor = h->minor,
                               .has_length = h->has_length,
                               .length = h->length,
                               .chunked = h->chunked,
                               .if_absent = h->if_absent};
    r->has_range =
        h->range && !h->if_range && http_range_parse(h->range, h->range_len, &r->range) == 0;
    return http_target_split(c->text, h->target_len, &r->target);
}

static void count_in(struct http_conn *c)
{
    struct worker *w = c->server->w;

    c->server->n_busy++;
    c->served = true;
    c->asked_ns = clock_mono_ns();
    c->kind = 0;
    c->status = 0;
    c->counted = c->server->opts.holds_drain && !w->shm->header->draining;
    if (c->counted)
        __atomic_add_fetch(&w->arena->http_requests, 1, __ATOMIC_RELAXED);
}

static void count_out(struct http_conn *c)
{
    c->server->n_busy--;
    if (c->counted)
        __atomic_sub_fetch(&c->server->w->arena->http_requests, 1, __ATOMIC_RELAXED);
    c->counted = false;
}

/* `status` 0: nobody got the answer. */
static void tell_over(const struct http_conn *c, int status)
{
    const struct http_server *s = c->server;

    if (s->service->on_over)
        s->service->on_over(s->w, c->kind, status, clock_mono_ns() - c->asked_ns);
}

static bool has_request(const struct http_conn *c)
{
    return c->state != HTTP_STATE_HEAD;
}

static void drop_request(struct http_conn *c)
{
    count_out(c);
    free(c->text);
    c->text = NULL;
    c->request = (struct http_request){0};
    c->state = HTTP_STATE_HEAD;
    c->answered = c->pieces = c->chunks = c->overran = c->held = false;
    c->app = NULL;
}

static void use_input(struct http_conn *c, size_t len)
{
    c->in.len -= len;
    memmove(c->in.data, c->in.data + len, c->in.len);
}

static void body_over(struct http_conn *c)
{
    c->state = HTTP_STATE_WAIT;
    if (!c->answered)
        c->server->service->on_end(c);
}

static void begin_request(struct http_conn *c, const struct http_head *h, size_t head_len)
{
    int r;

    c->state = HTTP_STATE_BODY;
    c->keeps = h->keep_alive && !(c->server->drains && c->in.len == head_len);
    c->expects = h->expects;
    c->left = h->has_length ? h->length : 0;
    http_chunk_init(&c->chunk);
    count_in(c);
    set_due(c, BODY_NS);
    r = keep_request(c, h);
    use_input(c, head_len);
    if (r == -ENOMEM)
        http_answer_refuse(c, 503, "unavailable", "out of memory");
    else if (r < 0)
        http_answer_refuse(c, 400, "bad_request", "the target of the request is not a path");
    else
        c->server->service->on_request(c);
    if (!c->request.chunked && !c->left)
        body_over(c);
}

/* A head that cannot be served: nothing is known of what follows it. */
static void refuse_head(struct http_conn *c, int error)
{
    c->state = HTTP_STATE_WAIT;
    c->expects = false;
    count_in(c);
    buf_reset(&c->in);
    if (error == -EMSGSIZE)
        http_answer_refuse(c, 431, "bad_request", "the head of the request is too large");
    else if (error == -EOPNOTSUPP)
        http_answer_refuse(c, 501, "not_implemented", "an unknown transfer coding");
    else
        http_answer_refuse(c, 400, "bad_request", "this is not a request of HTTP/1.0 or 1.1");
}

/* True if there was something to do. */
static bool take_head(struct http_conn *c)
{
    struct http_head h;
    size_t len;
    int r;

    if (!c->in.len)
        return false;
    r = http_head_parse(c->in.data, c->in.len, &h, &len);
    if (r == -EAGAIN)
        return false;
    if (r < 0)
        refuse_head(c, r);
    else
        begin_request(c, &h, len);
    return true;
}

/* ---- bodies ---- */

static void give_body(struct http_conn *c, const char *data, size_t len)
{
    if (len && !c->answered)
        c->server->service->on_body(c, data, len);
}

/* The framing is wrong: where the next request begins is unknown. What has begun is given up. */
static void refuse_body(struct http_conn *c)
{
    c->state = HTTP_STATE_WAIT;
    c->keeps = false;
    buf_reset(&c->in);
    if (c->answered)
        return;
    c->server->service->on_gone(c);
    c->app = NULL;
    http_answer_refuse(c, 400, "bad_request", "the chunks of the body are malformed");
}

/* Returns the bytes that belong to the body. */
static size_t feed_chunks(struct http_conn *c, const char *data, size_t len)
{
    size_t at = 0;

    while (at < len && c->state == HTTP_STATE_BODY && !c->held && !c->dead) {
        const char *piece;
        size_t used, n;
        int r = http_chunk_take(&c->chunk, data + at, len - at, &used, &piece, &n);

        at += used;
        if (r < 0) {
            refuse_body(c);
            return len;
        }
        give_body(c, piece, n);
        if (r == 1)
            body_over(c);
    }
    return at;
}

static size_t feed_length(struct http_conn *c, const char *data, size_t len)
{
    size_t n = len < c->left ? len : (size_t)c->left;

    c->left -= n;
    give_body(c, data, n);
    if (!c->left && !c->dead)
        body_over(c);
    return n;
}

static size_t feed(struct http_conn *c, const char *data, size_t len)
{
    set_due(c, BODY_NS);
    return c->request.chunked ? feed_chunks(c, data, len) : feed_length(c, data, len);
}

/* True if there was something to do. */
static bool take_body(struct http_conn *c)
{
    size_t before, used;

    if (c->held)
        return false;
    if (c->expects && !c->answered && http_answer_continue(c) < 0)
        c->broken = true;
    if (c->expects) { /* it got its answer instead: its body may never come */
        c->state = HTTP_STATE_WAIT;
        return true;
    }
    if (!c->in.len)
        return false;
    before = c->in.len;
    used = feed(c, c->in.data, before);
    if (c->in.len == before) /* else it was dropped: a malformed body */
        use_input(c, used);
    return true;
}

/* Behind a chunked body: a method begins with a capital letter, the size of a chunk, as clients
 * write it, with a digit or a small letter. One more end without any bytes before it loses
 * nothing. */
static void look_behind(struct http_conn *c)
{
    static const char end[] = "0\r\n\r\n";
    size_t n = sizeof(end) - 1;

    if (!c->request.chunked || c->state != HTTP_STATE_WAIT)
        return;
    while (c->in.len >= n && memcmp(c->in.data, end, n) == 0)
        use_input(c, n);
    if (c->in.len && memcmp(c->in.data, end, c->in.len < n ? c->in.len : n) != 0 &&
        (c->in.data[0] < 'A' || c->in.data[0] > 'Z') && c->in.data[0] != '\r')
        c->overran = true;
}

/* ---- the connection ---- */

static void conn_free(struct http_conn *c)
{
    static const struct linger at_once = {.l_onoff = 1};

    loop_del(c->server->w->loop, &c->watch);
    if (c->broken)
        (void)setsockopt(c->watch.fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
    close(c->watch.fd);
    http_server_removed(c->server, c);
    buf_done(&c->in);
    buf_done(&c->out);
    free(c->text);
    free(c);
}

/* The service hears of it, unless it has answered. */
static void conn_gone(struct http_conn *c)
{
    if (c->dead)
        return;
    c->dead = true;
    if (has_request(c)) {
        if (!c->answered)
            c->server->service->on_gone(c);
        tell_over(c, 0);
        count_out(c);
        c->state = HTTP_STATE_HEAD;
    }
}

void http_conn_close(struct http_conn *c)
{
    conn_gone(c);
    if (!c->pumping)
        conn_free(c);
}

/* A request without a body is under way. */
static bool is_bodiless(const struct http_conn *c)
{
    return c->state == HTTP_STATE_WAIT && !c->request.chunked && !c->request.length;
}

static void take_unread(struct http_conn *c)
{
    char byte;

    if (c->unread && recv(c->watch.fd, &byte, 1, MSG_DONTWAIT) < 0)
        c->broken = true;
    c->unread = false;
}

/* The answer is out: the next request, or the end. */
static bool request_done(struct http_conn *c)
{
    bool stays = c->keeps && (!c->eof || c->in.len);

    if (!c->answered || c->state != HTTP_STATE_WAIT || c->out.len)
        return false;
    if (c->request.chunked)
        look_behind(c);
    stays = stays && !c->overran;
    tell_over(c, c->status);
    drop_request(c);
    take_unread(c);
    if (!c->in.len)
        buf_done(&c->in);
    set_due(c, IDLE_NS);
    if (!stays || (c->server->drains && !c->in.len)) {
        /* What is still unread would turn the close into a reset, and take the answer along. */
        shutdown(c->watch.fd, SHUT_WR);
        c->dead = true;
    }
    return true;
}

/* The client sends no more. */
static void at_eof(struct http_conn *c)
{
    if (c->state == HTTP_STATE_HEAD) {
        c->dead = true;
        return;
    }
    if (c->state != HTTP_STATE_BODY || c->held)
        return;
    c->state = HTTP_STATE_WAIT;
    c->keeps = false;
    if (c->answered)
        return;
    c->server->service->on_gone(c);
    c->app = NULL;
    http_answer_refuse(c, 400, "bad_request", "the body of the request broke off");
}

static bool may_send(const struct http_conn *c)
{
    return c->out.len && (c->state != HTTP_STATE_BODY || c->pieces || !c->answered);
}

/* False: the client is gone. */
static bool send_out(struct http_conn *c)
{
    size_t before = c->out_at;

    if (!may_send(c))
        return true;
    if (http_answer_flush(c) < 0)
        return false;
    if (c->out.len && (!c->sending || c->out_at != before))
        set_due(c, SEND_NS);
    c->sending = c->out.len;
    if (c->wants_room && c->out.len - c->out_at <= HTTP_OUT_LOW) {
        c->wants_room = false;
        c->server->service->on_room(c);
    }
    return true;
}

/* True if there may be more to do. */
static bool conn_step(struct http_conn *c)
{
    bool did = false;

    if (!send_out(c) || c->broken) {
        conn_gone(c);
        return false;
    }
    if (request_done(c))
        return !c->dead;
    if (c->state == HTTP_STATE_HEAD)
        did = take_head(c);
    else if (c->state == HTTP_STATE_BODY)
        did = take_body(c);
    else
        look_behind(c);
    if (!did && c->eof && !c->dead)
        at_eof(c);
    return did || (c->answered && c->state == HTTP_STATE_WAIT && !c->out.len);
}

static bool wants_input(const struct http_conn *c)
{
    if (c->eof || c->unread || c->in.len >= HTTP_HEAD_MAX)
        return false;
    return c->state != HTTP_STATE_BODY || !c->held;
}

static void watch_for(struct http_conn *c)
{
    uint32_t want = (wants_input(c) ? EPOLLIN : 0) | (may_send(c) ? EPOLLOUT : 0) |
                    (c->unread && !c->eof ? EPOLLRDHUP : 0);

    if (want == c->interest)
        return;
    if (loop_mod(c->server->w->loop, &c->watch, want) < 0)
        c->broken = true; /* closed at the next event, or by its time limit */
    c->interest = want;
}

void http_conn_pump(struct http_conn *c)
{
    if (c->pumping)
        return;
    c->pumping = true;
    c->kicked = false;
    while (!c->dead && conn_step(c))
        ;
    c->pumping = false;
    if (c->unread && !is_bodiless(c))
        take_unread(c);
    if (c->dead)
        conn_free(c);
    else
        watch_for(c);
}

/* ---- events ---- */

/* Receives into the scratch buffer. The last byte of what may be a request stays in the socket. */
static ssize_t receive(struct http_conn *c, bool body)
{
    char *scratch = c->server->scratch;
    ssize_t n;

    if (c->state != HTTP_STATE_HEAD)
        return recv(c->watch.fd, scratch, body ? HTTP_SCRATCH : HTTP_HEAD_MAX, MSG_DONTWAIT);
    n = recv(c->watch.fd, scratch, HTTP_HEAD_MAX, MSG_DONTWAIT | MSG_PEEK);
    if (n > 1 && recv(c->watch.fd, scratch, (size_t)n - 1, MSG_DONTWAIT) != n - 1)
        return -1;
    c->unread = n > 0;
    return n;
}

/* 1: something came; 0: nothing, or the end. */
static int read_input(struct http_conn *c)
{
    char *scratch = c->server->scratch;
    bool body = c->state == HTTP_STATE_BODY && !c->in.len && !c->expects;
    ssize_t n = receive(c, body);
    size_t used = 0;

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    if (n <= 0) {
        c->eof = true;
        return 0;
    }
    if (c->state == HTTP_STATE_HEAD && !c->in.len)
        set_due(c, HEAD_NS);
    if (body) {
        c->pumping = true; /* answers inside are sent by the pump that follows */
        used = feed(c, scratch, (size_t)n);
        c->pumping = false;
    }
    if (!c->dead && used < (size_t)n && buf_append(&c->in, scratch + used, (size_t)n - used) < 0)
        c->broken = true;
    return 1;
}

static void conn_on_event(struct loop_watch *watch, uint32_t events)
{
    struct http_conn *c = container_of(watch, struct http_conn, watch);
    struct http_server *s = c->server;
    unsigned before;

    for (int i = 0; (events & EPOLLIN) && i < READS && wants_input(c); i++) {
        int r = read_input(c);

        before = s->n_conns;
        http_conn_pump(c);
        if (s->n_conns < before)
            return; /* it is gone */
        if (!r)
            break;
    }
    if ((events & (EPOLLHUP | EPOLLERR)) && (c->eof || !(events & EPOLLIN))) {
        http_conn_close(c);
        return;
    }
    c->eof |= (events & EPOLLRDHUP) != 0;
    if (events & (EPOLLOUT | EPOLLRDHUP))
        http_conn_pump(c);
}

static void note_peer(struct http_conn *c)
{
    struct ucred cred;
    socklen_t len = sizeof(cred);

    if (getsockopt(c->watch.fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
        return;
    c->peer = (struct http_peer){
        .pid = cred.pid > 0 ? (uint32_t)cred.pid : 0, .uid = cred.uid, .gid = cred.gid};
}

int http_conn_open(struct http_server *s, int fd)
{
    struct http_conn *c = calloc(1, sizeof(*c));
    int r = c ? 0 : -ENOMEM;

    if (c) {
        c->server = s;
        c->watch.fd = fd;
        c->watch.on_event = conn_on_event;
        c->interest = EPOLLIN;
        buf_init(&c->in, HTTP_IN_MAX);
        buf_init(&c->out, HTTP_OUT_MAX);
        note_peer(c);
        set_due(c, IDLE_NS);
        r = loop_add(s->w->loop, &c->watch, EPOLLIN);
    }
    if (r < 0) {
        free(c);
        close(fd);
        return r;
    }
    http_server_added(s, c);
    return 0;
}
