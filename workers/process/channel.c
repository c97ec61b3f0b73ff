/* The FUSE channel: reads requests directly into the arena, one at a time, and passes them to their
 * handlers. All workers read from one descriptor; EPOLLEXCLUSIVE wakes one of them. */
#include "workers/process/channel.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/container.h"
#include "base/log.h"
#include "workers/handlers/fuse_op.h"
#include "workers/op/op.h"

/* Requests read in one turn of the loop before S3 replies and timers are handled. */
#define CHANNEL_BURST 32

/* Handles one request. 1: handled; 0: there was none; -errno: the channel has ended. The header is
 * zeroed before the state becomes READING: a replacement that finds READING and a non-zero header
 * knows that the kernel has delivered this request, and that nothing has been done for it. */
static int read_one(struct worker *w)
{
    uint8_t *area = shm_arena_read_area(w->shm, w->slot);
    struct shm_record *rec = &w->arena->current;
    struct op *op;
    ssize_t n;

    memset(area, 0, SHM_READ_HEAD);
    rec->unique = 0;
    rec->crashes = 0;
    atomic_store(&rec->state, SHM_RECORD_READING);
    n = read(w->env->mount->fd, area, SHM_READ_HEAD + w->shm->header->sizes.payload);
    if (n < 0) {
        int e = errno;

        atomic_store(&rec->state, SHM_RECORD_FREE);
        /* ENOENT: the request was interrupted before it was read. */
        return e == EAGAIN ? 0 : e == EINTR || e == ENOENT ? 1 : -e;
    }
    op = fuse_op_begin(w, w->shm->header->sizes.records);
    if (op)
        op_dispatch(op);
    return 1;
}

/* ENODEV: unmounted. ECONNABORTED: the connection was aborted, and will not come back either. */
static void at_end(struct worker *w, int error)
{
    bool gone = error == -ENODEV || error == -ECONNABORTED;

    if (error != -ENODEV)
        log_err("cannot read from the FUSE device: %s; exiting", strerror(-error));
    if (gone) {
        worker_leave(w);
        return;
    }
    w->exit_code = WORKER_EXIT_SETUP;
    loop_stop(w->loop);
}

static void on_channel(struct loop_watch *watch, uint32_t events)
{
    struct worker *w = container_of(watch, struct worker, channel);
    int r = 1;

    (void)events;
    for (int i = 0; i < CHANNEL_BURST && r == 1; i++)
        r = read_one(w);
    if (r < 0)
        at_end(w, r);
}

int channel_start(struct worker *w)
{
    int r = 1;

    w->channel.fd = w->env->mount->fd;
    w->channel.on_event = on_channel;
    r = loop_add(w->loop, &w->channel, EPOLLIN | EPOLLEXCLUSIVE);
    if (r < 0)
        return r;
    /* epoll also reports requests that are already waiting, so one burst is enough here: more must
     * not delay S3 and the watchdog. */
    for (int i = 0; i < CHANNEL_BURST && r == 1; i++)
        r = read_one(w);
    if (r < 0)
        at_end(w, r);
    return 0;
}
