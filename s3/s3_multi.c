/* libcurl's multi interface on the caller's loop: its sockets are watches, its timeout is a timer;
 * finished transfers go to whoever runs the requests (struct s3_multi_ops). Easy handles are
 * reused; TLS sessions and resolved names are shared. */
#include "s3/s3_multi.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>

#include "base/clock.h"
#include "s3/s3_client.h"

/* A socket of curl's. */
struct s3_sock {
    struct loop_watch watch;
    struct s3_client *client;
    struct s3_sock *prev, *next;
};

static uint32_t to_epoll(int what)
{
    return (what & CURL_POLL_IN ? EPOLLIN : 0u) | (what & CURL_POLL_OUT ? EPOLLOUT : 0u);
}

static void collect(struct s3_client *c)
{
    CURLMsg *msg;
    int left;

    while ((msg = curl_multi_info_read(c->multi, &left))) {
        CURLcode curl = msg->data.result;
        struct s3_req *req = NULL;

        if (msg->msg != CURLMSG_DONE)
            continue;
        curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, (char **)&req);
        c->multi_ops->ended(req, curl); /* frees the handle, and msg with it */
    }
}

static void act(struct s3_client *c, curl_socket_t fd, int events)
{
    int running;

    c->in_curl = true;
    curl_multi_socket_action(c->multi, fd, events, &running);
    c->in_curl = false;
    c->multi_ops->returned(c);
    collect(c);
    c->multi_ops->room(c);
}

static void on_socket_event(struct loop_watch *w, uint32_t events)
{
    struct s3_sock *s = (struct s3_sock *)w;
    int what = 0;

    if (events & (EPOLLIN | EPOLLHUP))
        what |= CURL_CSELECT_IN;
    if (events & EPOLLOUT)
        what |= CURL_CSELECT_OUT;
    if (events & EPOLLERR)
        what |= CURL_CSELECT_ERR;
    act(s->client, w->fd, what);
}

static void on_curl_time(struct loop_timer *t)
{
    struct s3_client *c = (struct s3_client *)((char *)t - offsetof(struct s3_client, curl_timer));

    act(c, CURL_SOCKET_TIMEOUT, 0);
}

static int timer_function(CURLM *multi, long timeout_ms, void *arg)
{
    struct s3_client *c = arg;

    (void)multi;
    if (timeout_ms < 0)
        loop_timer_cancel(c->loop, &c->curl_timer);
    else
        loop_timer_set(c->loop, &c->curl_timer, (uint64_t)timeout_ms * NS_PER_MS);
    return 0;
}

static void drop_sock(struct s3_client *c, struct s3_sock *s)
{
    loop_del(c->loop, &s->watch);
    *(s->prev ? &s->prev->next : &c->socks) = s->next;
    if (s->next)
        s->next->prev = s->prev;
    free(s);
}

/* An error here would make curl give up the multi handle forever. A transfer whose socket is not
 * watched is ended by its stall timer, and retried. */
static void add_sock(struct s3_client *c, curl_socket_t fd, int what)
{
    struct s3_sock *s = calloc(1, sizeof(*s));

    if (!s)
        return;
    s->client = c;
    s->watch.fd = fd;
    s->watch.on_event = on_socket_event;
    s->next = c->socks;
    if (s->next)
        s->next->prev = s;
    c->socks = s;
    if (loop_add(c->loop, &s->watch, to_epoll(what)) < 0) {
        drop_sock(c, s);
        return;
    }
    curl_multi_assign(c->multi, fd, s);
}

static int socket_function(CURL *easy, curl_socket_t fd, int what, void *arg, void *sock)
{
    struct s3_client *c = arg;
    struct s3_sock *s = sock;

    (void)easy;
    if (what == CURL_POLL_REMOVE) {
        if (s) {
            curl_multi_assign(c->multi, fd, NULL);
            drop_sock(c, s);
        }
    } else if (!s) {
        add_sock(c, fd, what);
    } else {
        (void)!loop_mod(c->loop, &s->watch, to_epoll(what)); /* as above */
    }
    return 0;
}

int s3_multi_new(struct s3_client *c, const struct s3_multi_ops *ops, struct err *err)
{
    CURLM *m;

    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        return err_set(err, ENOMEM, "libcurl does not start");
    c->multi_ops = ops;
    c->curl_timer.on_time = on_curl_time;
    c->multi = m = curl_multi_init();
    c->share = curl_share_init();
    if (!m || !c->share)
        return err_set(err, ENOMEM, "libcurl does not start");
    curl_multi_setopt(m, CURLMOPT_SOCKETFUNCTION, socket_function);
    curl_multi_setopt(m, CURLMOPT_SOCKETDATA, c);
    curl_multi_setopt(m, CURLMOPT_TIMERFUNCTION, timer_function);
    curl_multi_setopt(m, CURLMOPT_TIMERDATA, c);
    curl_multi_setopt(m, CURLMOPT_MAXCONNECTS, (long)c->conf.max_connections);
    curl_share_setopt(c->share, CURLSHOPT_SHARE, CURL_LOCK_DATA_SSL_SESSION);
    curl_share_setopt(c->share, CURLSHOPT_SHARE, CURL_LOCK_DATA_DNS);
    return 0;
}

void s3_multi_free(struct s3_client *c)
{
    if (!c->curl_timer.on_time)
        return; /* was never begun */
    while (c->n_idle > 0)
        curl_easy_cleanup(c->idle[--c->n_idle]);
    if (c->multi)
        curl_multi_cleanup(c->multi);
    if (c->share)
        curl_share_cleanup(c->share);
    while (c->socks)
        drop_sock(c, c->socks);
    loop_timer_cancel(c->loop, &c->curl_timer);
    curl_global_cleanup();
}

CURL *s3_multi_handle(struct s3_client *c)
{
    return c->n_idle > 0 ? c->idle[--c->n_idle] : curl_easy_init();
}

void s3_multi_give_back(struct s3_client *c, CURL *easy)
{
    curl_multi_remove_handle(c->multi, easy);
    if (c->n_idle == S3_IDLE_HANDLES) {
        curl_easy_cleanup(easy);
        return;
    }
    curl_easy_reset(easy);
    c->idle[c->n_idle++] = easy;
}

int s3_multi_start(struct s3_client *c, CURL *easy)
{
    return curl_multi_add_handle(c->multi, easy) == CURLM_OK ? 0 : -ENOMEM;
}

void s3_multi_resume(struct s3_client *c, CURL *easy)
{
    c->in_curl = true;
    curl_easy_pause(easy, CURLPAUSE_CONT);
    c->in_curl = false;
    c->multi_ops->returned(c);
}
