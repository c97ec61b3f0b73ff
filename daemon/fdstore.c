/* The giving side of fdstore.h. The taking side is in fdstore_take.c. */
#include "daemon/fdstore.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "base/clock.h"
#include "base/container.h"
#include "base/log.h"
#include "daemon/fdstore_name.h"

#define AGAIN_NS (5 * NS_PER_MS)
#define REMOVE_LIMIT_NS (5 * NS_PER_S)

static void collect(void *ctx, int fd)
{
    struct fdstore *s = ctx;

    if (s->n < FDSTORE_MAX)
        s->fd[s->n] = fd;
    s->n++;
}

/* ---- the service manager ---- */

/* It must not watch what we watch (FDPOLL=0): each request of a program would wake it. */
static int manager_put(void *ctx, int fd, int number)
{
    const struct fdstore_manager *m = ctx;

    if (number == FDSTORE_IS_RECORD)
        return sd_notify_send_fd(m->notify, fd, "FDSTORE=1\nFDPOLL=0\nFDNAME=" FDSTORE_RECORD "%u",
                                 m->set);
    return sd_notify_send_fd(m->notify, fd, "FDSTORE=1\nFDPOLL=0\nFDNAME=" FDSTORE_FD "%d", number);
}

/* (May be repeated, after -EAGAIN.) */
static int manager_complete(void *ctx)
{
    const struct fdstore_manager *m = ctx;
    int r = sd_notify_send(m->notify, "FDSTOREREMOVE=1\nFDNAME=" FDSTORE_RECORD "%u", m->set - 1);

    for (unsigned i = 0; r == 0 && i < 2; i++) {
        if (m->gone[i] >= 0)
            r = sd_notify_send(m->notify, "FDSTOREREMOVE=1\nFDNAME=" FDSTORE_FD "%d", m->gone[i]);
    }
    return r;
}

static void manager_drop(void *ctx, const int *number, unsigned n)
{
    const struct fdstore_manager *m = ctx;
    const unsigned set[] = {m->set, m->set - 1};

    fdstore_remove(m->notify, set, 2, number, n);
}

struct fdstore_to fdstore_to_manager(const struct fdstore_manager *m)
{
    return (struct fdstore_to){.whom = "the service manager",
                               .put = manager_put,
                               .complete = manager_complete,
                               .drop = manager_drop,
                               .ctx = (void *)(uintptr_t)m};
}

/* ---- any keeper ---- */

static bool is_all_sent(const struct fdstore *s)
{
    return s->sent > s->n + 1;
}

/* The record comes last. 0 or -errno. */
static int send_next(struct fdstore *s)
{
    int r;

    if (!s->begun) {
        r = s->to.begin ? s->to.begin(s->to.ctx) : 0;
        s->begun = r == 0;
        return r;
    }
    if (s->sent < s->n)
        r = s->to.put(s->to.ctx, s->fd[s->sent], s->fd[s->sent]);
    else if (s->sent == s->n)
        r = s->to.put(s->to.ctx, s->record.fd, FDSTORE_IS_RECORD);
    else
        r = s->to.complete ? s->to.complete(s->to.ctx) : 0;
    s->sent += r == 0;
    return r;
}

static void fdstore_go_on(struct fdstore *s)
{
    int r = 0;

    while (!is_all_sent(s) && r == 0)
        r = send_next(s);
    if (r == -EAGAIN || r == -ENOBUFS) {
        loop_timer_set(s->loop, &s->timer, AGAIN_NS);
    } else if (r < 0 && r != -ENOTCONN && !s->told) {
        s->told = true;
        log_warn("descriptors cannot be kept by %s, so a crash of the whole daemon ends the mount: "
                 "%s",
                 s->to.whom, strerror(-r));
    } else if (r == 0) {
        log_debug("kept by %s descriptors=%u", s->to.whom, s->n + 1);
    }
}

static void on_fdstore_timer(struct loop_timer *t)
{
    fdstore_go_on(container_of(t, struct fdstore, timer));
}

void fdstore_keep(struct fdstore *s, struct loop *loop, const struct fdstore_to *to, int record)
{
    struct err err = {0};

    s->loop = loop;
    s->to = *to;
    s->timer.on_time = on_fdstore_timer;
    if (handover_open(record, &s->record, &err) < 0) {
        log_warn("descriptors cannot be kept by %s: %s", to->whom, err.text);
        return;
    }
    handover_each_fd(&s->record, collect, s);
    if (s->n >= FDSTORE_MAX) {
        log_warn("descriptors cannot be kept by %s: %s", to->whom, "there are too many");
        handover_close(&s->record);
        return;
    }
    fdstore_go_on(s);
}

static int has_all(const struct fdstore *s)
{
    return s->to.has_all ? s->to.has_all(s->to.ctx) : 1;
}

bool fdstore_is_whole(const struct fdstore *s)
{
    return s->record.rec && is_all_sent(s) && has_all(s) == 1;
}

bool fdstore_is_coming(const struct fdstore *s)
{
    return s->record.rec && (is_all_sent(s) ? has_all(s) == 0 : !s->told);
}

void fdstore_again(struct fdstore *s)
{
    if (!s->record.rec)
        return;
    s->begun = false;
    s->sent = 0;
    fdstore_go_on(s);
}

void fdstore_remove(const struct sd_notify *notify, const unsigned *set, unsigned n_sets,
                    const int *number, unsigned n)
{
    uint64_t limit = clock_mono_ns() + REMOVE_LIMIT_NS;
    int r = 0;

    for (unsigned i = 0; r == 0 && i < n_sets; i++)
        r = sd_notify_send_waiting(notify, "FDSTOREREMOVE=1\nFDNAME=" FDSTORE_RECORD "%u", set[i]);
    for (unsigned i = 0; r == 0 && i < n && clock_mono_ns() < limit; i++) {
        if (number[i] >= 0)
            r = sd_notify_send_waiting(notify, "FDSTOREREMOVE=1\nFDNAME=" FDSTORE_FD "%d",
                                       number[i]);
    }
    if (r < 0)
        log_debug("the service manager was not told what to drop: %s", strerror(-r));
}

void fdstore_drop(struct fdstore *s)
{
    if (!s->record.rec)
        return;
    loop_timer_cancel(s->loop, &s->timer);
    s->to.drop(s->to.ctx, s->fd, s->sent < s->n ? s->sent : s->n);
    handover_close(&s->record); /* (spoiled: what was not dropped is dropped by the next daemon) */
}
