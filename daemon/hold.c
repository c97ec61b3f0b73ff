/* What the holder keeps, of whom, and until when. Its messages are in hold_wire.h; the other end is
 * holder.c.
 *
 *   a daemon is   served    it has its connection (owner)
 *                 alone     no connection; from now on the deadline runs, until what is kept has
 *                           been replaced by what the next one gives
 *                 awaited   alone, and the next one waits until all its processes have ended
 *
 * What it gives is kept as a whole: until its record has come, the set before it holds. */
#include "daemon/hold.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/container.h"
#include "base/log.h"
#include "base/loop.h"
#include "daemon/hold_set.h"
#include "daemon/hold_wire.h"

#define CONNS_MAX (2 * HOLD_DAEMONS_MAX + 8)
#define BACKLOG 64
#define NAME_MAX_BYTES 255
#define HELLO_LIMIT_NS (5 * NS_PER_S)
#define HAND_AGAIN_NS (2 * NS_PER_MS)
#define HAND_LIMIT_NS (10 * NS_PER_S)
#define MESSAGES_A_TURN 64
#define NEW_SUFFIX ".new"

enum conn_state {
    CONN_NEW,   /* has not said hello */
    CONN_WAITS, /* for the end of the daemon before */
    CONN_TAKES, /* is being handed what is kept */
    CONN_GIVES,
};

struct hold_conn {
    struct hold *hold;
    struct loop_watch watch;
    struct loop_timer timer; /* NEW: the limit; TAKES: the next ones */
    enum conn_state state;
    struct held *of;   /* NULL: NEW */
    int life;          /* NEW, WAITS; -1 = none */
    unsigned handed;   /* TAKES */
    uint64_t begun_ns; /* TAKES */
};

/* Of one daemon. */
struct held {
    struct hold *hold;
    char name[NAME_MAX_BYTES + 1];
    struct hold_set kept, coming;
    struct hold_conn *owner, *next; /* `next` waits */
    struct loop_watch life;         /* fd -1: all its processes have ended */
    ino_t life_ino;
    struct loop_timer deadline;
};

struct hold {
    struct loop *loop;
    uint64_t deadline_ns;
    struct sockaddr_un addr;
    struct loop_watch listener, signals;
    bool listens;                        /* at the path */
    struct held *held[HOLD_DAEMONS_MAX]; /* NULL = free */
    unsigned n_conns;
    struct hold_conn *conn[CONNS_MAX];
};

/* ---- of one daemon ---- */

static struct held **held_place(struct hold *h, const char *name)
{
    struct held **empty = NULL;

    for (unsigned i = 0; i < HOLD_DAEMONS_MAX; i++) {
        if (h->held[i] && strcmp(h->held[i]->name, name) == 0)
            return &h->held[i];
        if (!h->held[i] && !empty)
            empty = &h->held[i];
    }
    return empty;
}

static void life_end(struct held *d)
{
    if (d->life.fd < 0)
        return;
    loop_del(d->hold->loop, &d->life);
    close(d->life.fd);
    d->life.fd = -1;
}

static void held_free(struct held *d)
{
    loop_timer_cancel(d->hold->loop, &d->deadline);
    life_end(d);
    hold_set_clear(&d->kept);
    hold_set_clear(&d->coming);
    free(d);
}

/* If nobody needs it any more. */
static void held_put(struct held *d)
{
    if (d->owner || d->next || d->kept.n)
        return;
    *held_place(d->hold, d->name) = NULL;
    held_free(d);
}

static void conn_close(struct hold_conn *c)
{
    struct hold *h = c->hold;
    struct held *d = c->of;

    loop_timer_cancel(h->loop, &c->timer);
    loop_del(h->loop, &c->watch);
    close(c->watch.fd);
    if (c->life >= 0)
        close(c->life);
    for (unsigned i = 0; i < h->n_conns; i++) {
        if (h->conn[i] == c) {
            h->conn[i] = h->conn[--h->n_conns];
            break;
        }
    }
    if (d && d->next == c)
        d->next = NULL;
    if (d && d->owner == c) {
        d->owner = NULL;
        hold_set_clear(&d->coming);
        if (d->kept.n && !d->deadline.armed) {
            log_notice("a daemon is gone, its descriptors wait for the next one name=\"%s\" "
                       "descriptors=%u seconds=%llu",
                       d->name, d->kept.n, (unsigned long long)(h->deadline_ns / NS_PER_S));
            loop_timer_set(h->loop, &d->deadline, h->deadline_ns);
        }
    }
    free(c);
    if (d)
        held_put(d);
}

static void on_deadline_over(struct loop_timer *t)
{
    struct held *d = container_of(t, struct held, deadline);

    log_warn("let go: no daemon has taken over in time, so its mount ends and programs that use it "
             "have an error name=\"%s\" descriptors=%u",
             d->name, d->kept.n);
    hold_set_clear(&d->kept);
    if (d->owner && d->owner->state == CONN_TAKES)
        conn_close(d->owner);
    else
        held_put(d);
}

/* ---- the next daemon takes ---- */

static int hand_next(struct hold_conn *c)
{
    const struct hold_set *set = &c->of->kept;
    char text[24];

    if (c->handed < set->n)
        return hold_send_kept(c->watch.fd, set->kept[c->handed].fd, set->kept[c->handed].number);
    snprintf(text, sizeof(text), "end %u", set->n);
    return hold_send(c->watch.fd, -1, text);
}

static void hand_over(struct hold_conn *c)
{
    int r = 0;

    for (; r == 0 && c->handed <= c->of->kept.n; c->handed += r == 0)
        r = hand_next(c);
    if (r == 0) {
        c->state = CONN_GIVES;
        log_notice("handed over name=\"%s\" descriptors=%u", c->of->name, c->of->kept.n);
    } else if (r == -EAGAIN && clock_mono_ns() - c->begun_ns < HAND_LIMIT_NS) {
        loop_timer_set(c->hold->loop, &c->timer, HAND_AGAIN_NS);
    } else {
        log_warn("cannot hand over name=\"%s\": %s", c->of->name, strerror(-r));
        conn_close(c);
    }
}

static int take_life(struct held *d, struct hold_conn *c)
{
    struct stat st;
    int r;

    if (fstat(c->life, &st) < 0)
        return -errno;
    life_end(d);
    d->life.fd = c->life;
    r = loop_add(d->hold->loop, &d->life, 0); /* (its end is always reported) */
    if (r < 0) {
        d->life.fd = -1;
        return r;
    }
    c->life = -1;
    d->life_ino = st.st_ino;
    return 0;
}

/* From now on what is kept is of `c`. */
static int own(struct held *d, struct hold_conn *c)
{
    int r = take_life(d, c);

    if (r == 0)
        d->owner = c;
    return r;
}

static void begin_to_hand_over(struct held *d, struct hold_conn *c)
{
    if (own(d, c) < 0) {
        conn_close(c);
        return;
    }
    c->state = CONN_TAKES;
    c->begun_ns = clock_mono_ns();
    if (d->kept.n)
        hand_over(c);
    else if (hold_send(c->watch.fd, -1, "end 0") == 0)
        c->state = CONN_GIVES;
    else
        conn_close(c);
}

static void on_life(struct loop_watch *w, uint32_t events)
{
    struct held *d = container_of(w, struct held, life);
    struct hold_conn *next = d->next;

    (void)events;
    life_end(d);
    if (!next)
        return;
    d->next = NULL;
    begin_to_hand_over(d, next);
}

/* ---- hello ---- */

static int on_conn_ready(struct hold_conn *c);

static struct held *held_get(struct hold *h, const char *name)
{
    struct held **place = held_place(h, name);

    if (!place || *place)
        return place ? *place : NULL;
    *place = calloc(1, sizeof(**place));
    if (!*place)
        return NULL;
    (*place)->hold = h;
    snprintf((*place)->name, sizeof((*place)->name), "%s", name);
    (*place)->life.fd = -1;
    (*place)->life.on_event = on_life;
    (*place)->deadline.on_time = on_deadline_over;
    return *place;
}

/* What the one before has sent, and its end, may not have been read yet. It may be gone then, and
 * what was kept of it with it. */
static void hear_owner(struct hold *h, const char *name)
{
    struct held **place = held_place(h, name);
    struct hold_conn *owner = place && *place ? (*place)->owner : NULL;
    struct pollfd p = {.fd = owner ? owner->watch.fd : -1};

    if (owner && poll(&p, 1, 0) == 1 && (p.revents & (POLLHUP | POLLERR))) {
        while (on_conn_ready(owner) == 0)
            ;
    }
}

static bool has_died(struct held *d)
{
    struct pollfd p = {.fd = d->life.fd};

    if (d->life.fd >= 0 && poll(&p, 1, 0) == 1)
        life_end(d);
    return d->life.fd < 0;
}

/* Why it must not come now; NULL: it may. */
static const char *why_not(struct held *d, const struct hold_conn *c, bool takes)
{
    struct stat st;

    if (!d)
        return "full the holder keeps descriptors of too many daemons";
    if (d->owner || d->next)
        return "busy a daemon that runs has this name";
    if (has_died(d) || takes || (fstat(c->life, &st) == 0 && st.st_ino == d->life_ino))
        return NULL;
    return "busy processes of the daemon before have not ended";
}

static bool is_name(const char *name)
{
    size_t n = strlen(name);

    return n >= 1 && n <= NAME_MAX_BYTES;
}

/* 0; or -errno: the connection is to be closed. */
static int on_hello(struct hold_conn *c, const char *text)
{
    static const char hello[] = HOLD_HELLO;
    const char *how = text + sizeof(hello) - 1, *name = how + 5, *why;
    bool takes;
    struct held *d;
    struct stat st;

    if (strncmp(text, hello, sizeof(hello) - 1) != 0 ||
        (strncmp(how, "take ", 5) != 0 && strncmp(how, "give ", 5) != 0) || !is_name(name) ||
        c->life < 0 || fstat(c->life, &st) < 0 || !S_ISFIFO(st.st_mode))
        return -EPROTO;
    takes = *how == 't';
    hear_owner(c->hold, name);
    d = held_get(c->hold, name);
    why = why_not(d, c, takes);
    if (why) {
        log_warn("refused name=\"%s\": %s", name, strchr(why, ' ') + 1);
        (void)!hold_send(c->watch.fd, -1, why); /* (it is closed anyway) */
        if (d)
            held_put(d);
        return -EBUSY;
    }
    c->of = d;
    loop_timer_cancel(c->hold->loop, &c->timer);
    if (takes && d->life.fd >= 0) {
        c->state = CONN_WAITS;
        d->next = c;
        return hold_send(c->watch.fd, -1, "wait");
    }
    if (takes) {
        begin_to_hand_over(d, c);
        return 1; /* (it may be gone) */
    }
    c->state = CONN_GIVES;
    return own(d, c) < 0 ? -EMFILE : hold_send(c->watch.fd, -1, "ok");
}

/* ---- a daemon gives ---- */

static int set_complete(struct hold_conn *c)
{
    struct held *d = c->of;
    char text[24];

    hold_set_clear(&d->kept);
    d->kept = d->coming;
    d->coming = (struct hold_set){0};
    loop_timer_cancel(c->hold->loop, &d->deadline);
    log_notice("kept name=\"%s\" descriptors=%u", d->name, d->kept.n);
    snprintf(text, sizeof(text), "kept %u", d->kept.n);
    return hold_send(c->watch.fd, -1, text);
}

static int drop(struct hold_conn *c)
{
    struct held *d = c->of;

    log_notice("dropped, as the daemon asks name=\"%s\" descriptors=%u", d->name, d->kept.n);
    hold_set_clear(&d->kept);
    hold_set_clear(&d->coming);
    loop_timer_cancel(c->hold->loop, &d->deadline);
    return hold_send(c->watch.fd, -1, "dropped");
}

/* Takes `fd`. */
static int on_given(struct hold_conn *c, const char *text, int fd)
{
    int number, r;

    if (fd < 0 && strcmp(text, "begin") == 0) {
        hold_set_clear(&c->of->coming);
        return 0;
    }
    if (fd < 0 && strcmp(text, "drop") == 0)
        return drop(c);
    r = fd >= 0 && hold_parse_kept(text, &number) ? hold_set_add(&c->of->coming, number, fd)
                                                  : -EPROTO;
    if (r < 0 && fd >= 0)
        close(fd);
    return r == 0 && number == HOLD_RECORD ? set_complete(c) : r;
}

/* ---- connections ---- */

/* Takes `fd`. 0; 1: the connection may be gone; -errno: it is to be closed. */
static int on_message(struct hold_conn *c, const char *text, int fd)
{
    if (c->state == CONN_GIVES)
        return on_given(c, text, fd);
    if (c->state == CONN_NEW) {
        c->life = fd;
        return on_hello(c, text);
    }
    if (fd >= 0)
        close(fd);
    return -EPROTO;
}

/* Reads one message. 0: there may be more. */
static int on_conn_ready(struct hold_conn *c)
{
    char text[HOLD_TEXT_MAX], answer[HOLD_TEXT_MAX];
    int fd = -1, r = hold_recv(c->watch.fd, text, &fd);

    if (r == -EAGAIN || r == -EINTR)
        return 1;
    if (r > 0)
        r = on_message(c, text, fd);
    else if (r == 0)
        r = -ECONNRESET; /* it has closed */
    if (r >= 0)
        return r;
    if (r != -ECONNRESET && r != -EBUSY) {
        log_warn("a client of the holder is turned away: %s", strerror(-r));
        snprintf(answer, sizeof(answer), "error %s", strerror(-r));
        (void)!hold_send(c->watch.fd, -1, answer); /* (it is closed anyway) */
    }
    conn_close(c);
    return 1;
}

static void on_conn(struct loop_watch *w, uint32_t events)
{
    struct hold_conn *c = container_of(w, struct hold_conn, watch);

    (void)events;
    for (int i = 0; i < MESSAGES_A_TURN && on_conn_ready(c) == 0; i++)
        ;
}

static void on_conn_timer(struct loop_timer *t)
{
    struct hold_conn *c = container_of(t, struct hold_conn, timer);

    if (c->state == CONN_TAKES)
        hand_over(c);
    else
        conn_close(c);
}

static int conn_new(struct hold *h, int fd)
{
    struct hold_conn *c = h->n_conns < CONNS_MAX ? calloc(1, sizeof(*c)) : NULL;
    int r = c ? 0 : -ENOMEM;

    if (r == 0) {
        *c = (struct hold_conn){.hold = h, .life = -1};
        c->watch = (struct loop_watch){.on_event = on_conn, .fd = fd};
        c->timer.on_time = on_conn_timer;
        r = loop_add(h->loop, &c->watch, EPOLLIN);
    }
    if (r < 0) {
        free(c);
        return r;
    }
    loop_timer_set(h->loop, &c->timer, HELLO_LIMIT_NS);
    h->conn[h->n_conns++] = c;
    return 0;
}

static void on_client(struct loop_watch *w, uint32_t events)
{
    struct hold *h = container_of(w, struct hold, listener);
    int fd = accept4(w->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK), r;

    (void)events;
    if (fd < 0)
        return;
    r = hold_check_peer(fd);
    if (r == 0)
        r = conn_new(h, fd);
    if (r < 0) {
        log_warn("a client of the holder is turned away: %s",
                 r == -EPERM ? "it is of another user" : strerror(-r));
        close(fd);
    }
}

/* ---- life ---- */

static void on_end_asked(struct loop_watch *w, uint32_t events)
{
    struct signalfd_siginfo si;

    (void)events;
    if (read(w->fd, &si, sizeof(si)) == sizeof(si))
        loop_stop(container_of(w, struct hold, signals)->loop);
}

static int watch_end(struct hold *h)
{
    static const int others[] = {SIGHUP, SIGUSR1, SIGUSR2, SIGPIPE}; /* meant for a daemon, or us */
    sigset_t set;

    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
        signal(others[i], SIG_IGN);
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
        return -errno;
    h->signals.fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    h->signals.on_event = on_end_asked;
    return h->signals.fd < 0 ? -errno : loop_add(h->loop, &h->signals, EPOLLIN);
}

static bool is_held_already(const struct sockaddr_un *addr)
{
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    bool held = fd >= 0 &&
                (connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) == 0 || errno == EAGAIN);

    if (fd >= 0)
        close(fd);
    return held;
}

/* Bound beside its path and moved there, so that who finds the path can connect. */
static int bind_at(int fd, const struct sockaddr_un *addr)
{
    struct sockaddr_un beside = *addr;
    size_t n = strlen(addr->sun_path);
    mode_t mask = umask(0177);
    int r;

    memcpy(beside.sun_path + n, NEW_SUFFIX, sizeof(NEW_SUFFIX));
    r = unlink(beside.sun_path) < 0 && errno != ENOENT ? -errno : 0;
    if (r == 0 && bind(fd, (struct sockaddr *)&beside, sizeof(beside)) < 0)
        r = -errno;
    umask(mask);
    if (r == 0 && (listen(fd, BACKLOG) < 0 || rename(beside.sun_path, addr->sun_path) < 0))
        r = -errno;
    return r;
}

static int hold_listen(struct hold *h, const char *path, struct err *err)
{
    struct stat st;
    int r;

    if (strlen(path) + sizeof(NEW_SUFFIX) > sizeof(h->addr.sun_path))
        return err_set(err, ENAMETOOLONG, "--socket: \"%.120s\" is too long for a socket", path);
    h->addr.sun_family = AF_UNIX;
    memcpy(h->addr.sun_path, path, strlen(path));
    if (lstat(path, &st) == 0 && !S_ISSOCK(st.st_mode))
        return err_set(err, EEXIST, "--socket: \"%s\" is there and is not a socket", path);
    if (is_held_already(&h->addr))
        return err_set(err, EADDRINUSE, "--socket: another holder listens at \"%s\"", path);
    h->listener.fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    h->listener.on_event = on_client;
    r = h->listener.fd < 0 ? -errno : bind_at(h->listener.fd, &h->addr);
    h->listens = r == 0;
    if (r == 0)
        r = loop_add(h->loop, &h->listener, EPOLLIN);
    return r < 0 ? err_set(err, -r, "--socket: cannot listen at \"%s\": %s", path, strerror(-r))
                 : 0;
}

int hold_new(const char *path, uint64_t deadline_ns, struct hold **ret_hold, struct err *err)
{
    struct hold *h = calloc(1, sizeof(*h));
    int r = h ? loop_new(&h->loop) : -ENOMEM;

    if (r < 0) {
        free(h);
        return err_set(err, -r, "%s", strerror(-r));
    }
    h->deadline_ns = deadline_ns;
    h->listener.fd = h->signals.fd = -1;
    hold_raise_limit(2 * HOLD_DAEMONS_MAX * HOLD_FDS_MAX); /* (as many as are allowed) */
    r = watch_end(h);
    if (r < 0)
        err_set(err, -r, "cannot watch for signals: %s", strerror(-r));
    else
        r = hold_listen(h, path, err);
    if (r < 0)
        hold_free(h);
    else
        *ret_hold = h;
    return r;
}

int hold_run(struct hold *hold)
{
    return loop_run(hold->loop);
}

void hold_free(struct hold *h)
{
    if (!h)
        return;
    if (h->listens)
        (void)unlink(h->addr.sun_path); /* (the next holder replaces it) */
    if (h->listener.fd >= 0)
        close(h->listener.fd);
    for (unsigned i = 0; i < HOLD_DAEMONS_MAX; i++) {
        if (h->held[i] && h->held[i]->kept.n) {
            log_warn("let go: the holder ends name=\"%s\" descriptors=%u", h->held[i]->name,
                     h->held[i]->kept.n);
            hold_set_clear(&h->held[i]->kept);
        }
    }
    while (h->n_conns)
        conn_close(h->conn[0]);
    for (unsigned i = 0; i < HOLD_DAEMONS_MAX; i++) {
        if (h->held[i])
            held_free(h->held[i]);
    }
    if (h->signals.fd >= 0)
        close(h->signals.fd);
    loop_free(h->loop);
    free(h);
}
