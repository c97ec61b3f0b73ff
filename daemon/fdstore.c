/* The giving side of fdstore.h. The taking side is in fdstore_take.c. */
#include "daemon/fdstore.h"

#include <errno.h>
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

/* First the record of the image before is dropped, then all are sent, and the record comes last.
 * The keeper must not watch what we watch (FDPOLL=0): each request of a program would wake it. 0 or
 * -errno. */
static int send_next(struct fdstore *s)
{
    int r;

    if (!s->dropped) {
        r = sd_notify_send(s->notify, "FDSTOREREMOVE=1\nFDNAME=" FDSTORE_RECORD);
        s->dropped = r == 0;
        return r;
    }
    if (s->sent < s->n)
        r = sd_notify_send_fd(s->notify, s->fd[s->sent],
                              "FDSTORE=1\nFDPOLL=0\nFDNAME=" FDSTORE_FD "%d", s->fd[s->sent]);
    else
        r = sd_notify_send_fd(s->notify, s->record.fd,
                              "FDSTORE=1\nFDPOLL=0\nFDNAME=" FDSTORE_RECORD);
    s->sent += r == 0;
    return r;
}

static void fdstore_go_on(struct fdstore *s)
{
    int r = 0;

    while (s->sent <= s->n && r == 0)
        r = send_next(s);
    if (r == -EAGAIN || r == -ENOBUFS) {
        loop_timer_set(s->loop, &s->timer, AGAIN_NS);
    } else if (r < 0 && !s->told) {
        s->told = true;
        log_warn(
            "descriptors cannot be kept by the service manager, so a crash of the whole daemon "
            "ends the mount: %s",
            strerror(-r));
    } else if (r == 0) {
        log_debug("kept by the service manager descriptors=%u", s->n + 1);
    }
}

static void on_fdstore_timer(struct loop_timer *t)
{
    fdstore_go_on(container_of(t, struct fdstore, timer));
}

void fdstore_keep(struct fdstore *s, struct loop *loop, const struct sd_notify *notify, int record)
{
    struct err err = {0};

    s->loop = loop;
    s->notify = notify;
    s->timer.on_time = on_fdstore_timer;
    if (handover_open(record, &s->record, &err) < 0) {
        log_warn("descriptors cannot be kept by the service manager: %s", err.text);
        return;
    }
    handover_each_fd(&s->record, collect, s);
    if (s->n >= FDSTORE_MAX) {
        log_warn("descriptors cannot be kept by the service manager: %s", "there are too many");
        handover_close(&s->record);
        return;
    }
    fdstore_go_on(s);
}

bool fdstore_is_whole(const struct fdstore *s)
{
    return s->record.rec && s->sent > s->n;
}

bool fdstore_is_coming(const struct fdstore *s)
{
    return s->record.rec && s->sent <= s->n && !s->told;
}

void fdstore_remove(const struct sd_notify *notify, const int *number, unsigned n)
{
    uint64_t limit = clock_mono_ns() + REMOVE_LIMIT_NS;
    int r = sd_notify_send_waiting(notify, "FDSTOREREMOVE=1\nFDNAME=" FDSTORE_RECORD);

    for (unsigned i = 0; r == 0 && i < n && clock_mono_ns() < limit; i++)
        r = sd_notify_send_waiting(notify, "FDSTOREREMOVE=1\nFDNAME=" FDSTORE_FD "%d", number[i]);
    if (r < 0)
        log_debug("the service manager was not told what to drop: %s", strerror(-r));
}

void fdstore_drop(struct fdstore *s)
{
    if (!s->record.rec)
        return;
    loop_timer_cancel(s->loop, &s->timer);
    fdstore_remove(s->notify, s->fd, s->sent < s->n ? s->sent : s->n);
    handover_close(&s->record); /* (spoiled: what was not dropped is dropped by the next daemon) */
}
