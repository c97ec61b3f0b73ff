/* The giving side of fdstore.h. The taking side is in fdstore_take.c. */
#include "daemon/fdstore.h"

#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "base/container.h"
#include "base/log.h"
#include "daemon/fdstore_name.h"

#define AGAIN_NS (5 * NS_PER_MS)

static void collect(void *ctx, int fd)
{
    struct fdstore *s = ctx;

    if (s->n < FDSTORE_MAX)
        s->fd[s->n] = fd;
    s->n++;
}

/* The one number `sent`; the record is the last. 0 or -errno. */
static int send_next(struct fdstore *s)
{
    if (s->sent < s->n)
        return sd_notify_send_fd(s->notify, s->fd[s->sent], "FDSTORE=1\nFDNAME=" FDSTORE_FD "%d",
                                 s->fd[s->sent]);
    return sd_notify_send_fd(s->notify, s->record.fd, "FDSTORE=1\nFDNAME=" FDSTORE_RECORD);
}

static void fdstore_go_on(struct fdstore *s)
{
    int r = 0;

    while (s->sent <= s->n && r == 0) {
        r = send_next(s);
        if (r == 0)
            s->sent++;
    }
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
    if (s->n > FDSTORE_MAX) {
        log_warn("descriptors cannot be kept by the service manager: %s", "there are too many");
        handover_close(&s->record);
        return;
    }
    /* that of the image before, after a restart in place */
    (void)!sd_notify_send(notify, "FDSTOREREMOVE=1\nFDNAME=" FDSTORE_RECORD);
    fdstore_go_on(s);
}

void fdstore_drop(struct fdstore *s)
{
    if (!s->record.rec)
        return;
    loop_timer_cancel(s->loop, &s->timer);
    (void)!sd_notify_send(s->notify, "FDSTOREREMOVE=1\nFDNAME=" FDSTORE_RECORD);
    for (unsigned i = 0; i < s->sent && i < s->n; i++)
        (void)!sd_notify_send(s->notify, "FDSTOREREMOVE=1\nFDNAME=" FDSTORE_FD "%d", s->fd[i]);
    handover_close(&s->record); /* (spoiled: what was not dropped is dropped by the next daemon) */
}
