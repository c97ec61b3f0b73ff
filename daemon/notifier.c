/* The notifier: writes queued invalidations to the kernel. It may wait there for inode locks that a
 * request holds; it serves no request, and nobody waits for it, so that cannot deadlock. */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "fuse/fuse_notify.h"
#include "shm/shm_notify.h"
#include "workers/term.h"
#include "workers/worker_abi.h"

#define NOTIFIER_POLL_MS 1000 /* a wake-up may have died with the worker that was to send it */

static int prune(const struct worker_env *env, const struct shm_notify *n)
{
    int r = fuse_notify_prune(env->mount->fd, n->nodes, n->n);

    if (r == -EINVAL)
        atomic_store(&env->shm->notify->no_prune, 1);
    return r;
}

static int write_one(const struct worker_env *env, const struct shm_notify *n)
{
    int fd = env->mount->fd;

    switch ((enum shm_notify_kind)n->kind) {
    case SHM_NOTIFY_INODE:
        return fuse_notify_inval_inode(fd, n->node_id, 0, 0);
    case SHM_NOTIFY_ENTRY:
        return fuse_notify_inval_entry(fd, n->node_id, n->name, n->n);
    case SHM_NOTIFY_PRUNE:
        return prune(env, n);
    }
    return -EINVAL;
}

/* False when the mount is gone. */
static bool write_all(const struct worker_env *env)
{
    struct shm_notify n;

    while (shm_notify_next(env->shm, &n)) {
        int r = write_one(env, &n);

        if (r == -ENODEV || r == -EPERM)
            return false;
        if (r < 0 && r != -ENOENT && r != -ENOTDIR && r != -ENOTEMPTY)
            log_debug("invalidation refused: %s", strerror(-r));
        shm_notify_written(env->shm);
    }
    return true;
}

int notifier_main(const struct worker_env *env)
{
    struct pollfd p[] = {{.fd = env->notify_fd, .events = POLLIN},
                         {.fd = term_watch(), .events = POLLIN}};

    if (p[1].fd < 0) {
        log_err("notifier cannot start: %s", strerror(-p[1].fd));
        return WORKER_EXIT_SETUP;
    }
    while (write_all(env)) {
        if (poll(p, 2, NOTIFIER_POLL_MS) <= 0)
            continue;
        if (p[1].revents && term_told(p[1].fd))
            return WORKER_EXIT_DONE;
        if (p[0].revents)
            fd_event_clear(env->notify_fd);
    }
    return WORKER_EXIT_UNMOUNTED;
}
