/* The notifier: writes queued invalidations to the kernel. Such a write may wait for what a request
 * holds: a directory's lock, a page. The notifier serves no request, and no process waits for it,
 * so this cannot deadlock while there are workers. But if all workers are killed at once, the
 * request gets no reply; and the notifier, which cannot be killed while it waits, holds the
 * descriptor that keeps the request alive: both would stay for ever. So the notifier does not write
 * what may wait for a request in progress:
 *
 *   attributes of a node, PRUNE     take no such lock
 *   pages of a node                 only when no READ or WRITE of it is in progress (is_quiet)
 *   a name (before Linux 6.18)      only when no request in its directory is in progress; it only
 *                                   makes room, so it is dropped if there is no such moment
 *
 * What remains are the microseconds between our check and the kernel's lock. A notifier that gets
 * stuck there is released by the next start (fuse_mount.h, end_silent) or by the request timeout.
 */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/log_journal.h"
#include "fuse/fuse_abi.h"
#include "fuse/fuse_notify.h"
#include "shm/shm_journal.h"
#include "shm/shm_notify.h"
#include "workers/op/worker_abi.h"
#include "workers/process/term.h"

#define NOTIFIER_POLL_MS 1000 /* a wake-up may be lost when the worker that should send it dies */
#define NOTIFIER_LATER_MS 20  /* retry while requests are in progress */
#define NAME_TRIES 50         /* one millisecond apart */

/* ---- requests in progress ---- */

static bool holds_pages(uint32_t opcode)
{
    return opcode == FUSE_READ || opcode == FUSE_WRITE;
}

/* Requests with two directories count as holding any directory. */
static bool holds_directory(const struct shm_record *r, uint64_t dir)
{
    return r->node_id == dir || r->opcode == FUSE_RENAME || r->opcode == FUSE_RENAME2 ||
           r->opcode == FUSE_LINK;
}

/* True if no request of a worker holds it, and the kernel has no request that no worker has seen
 * yet (read-ahead waits in a separate queue, with its pages locked). */
static bool is_quiet(const struct worker_env *env, uint64_t node_id, bool pages)
{
    struct shm_in_flight at = {0};
    const struct shm_record *r;
    int waiting = fuse_waiting(env->mount), seen = 0;

    while ((r = shm_in_flight_next(env->shm, &at))) {
        if (r->told)
            continue; /* for the kernel it has ended */
        seen += atomic_load(&r->state) == SHM_RECORD_IN_FLIGHT;
        if (pages ? r->node_id == node_id && holds_pages(r->opcode) : holds_directory(r, node_id))
            return false;
    }
    return waiting <= seen;
}

/* ---- writing ---- */

static int prune(const struct worker_env *env, const struct shm_notify *n)
{
    int r = fuse_notify_prune(env->mount->fd, n->nodes, n->n);

    if (r == -EINVAL)
        atomic_store(&env->shm->notify->no_prune, 1);
    return r;
}

static int drop_name(const struct worker_env *env, const struct shm_notify *n)
{
    for (unsigned i = 0; i < NAME_TRIES; i++) {
        if (is_quiet(env, n->node_id, false))
            return fuse_notify_inval_entry(env->mount->fd, n->node_id, n->name, n->n);
        (void)poll(NULL, 0, 1);
    }
    return -EBUSY;
}

static int write_one(const struct worker_env *env, const struct shm_notify *n)
{
    switch ((enum shm_notify_kind)n->kind) {
    case SHM_NOTIFY_INODE:
        return fuse_notify_inval_inode(env->mount->fd, n->node_id, -1, 0);
    case SHM_NOTIFY_ENTRY:
        return drop_name(env, n);
    case SHM_NOTIFY_PRUNE:
        return prune(env, n);
    }
    return -EINVAL;
}

/* False when the mount is gone. */
static bool is_there(int r)
{
    if (r == -ENODEV || r == -EPERM)
        return false;
    if (r < 0 && r != -ENOENT && r != -ENOTDIR && r != -ENOTEMPTY)
        log_debug("invalidation refused: %s", strerror(-r));
    return true;
}

/* False when the mount is gone. */
static bool write_all(const struct worker_env *env)
{
    struct shm_notify n;

    while (shm_notify_next(env->shm, &n)) {
        if (!is_there(write_one(env, &n)))
            return false;
        shm_notify_written(env->shm);
    }
    return true;
}

/* Drops the pages of one node. False when the mount is gone. */
static bool drop_one(const struct worker_env *env, uint64_t id)
{
    int r = fuse_notify_inval_inode(env->mount->fd, id, 0, 0);

    shm_notify_dropped(env->shm);
    return is_there(r);
}

/* Drops the pages that can be dropped now; *ret_left: some are left. False when the mount is
 * gone. */
static bool drop_pages(const struct worker_env *env, bool *ret_left)
{
    uint64_t ids[SHM_NOTIFY_PAGES];
    uint32_t n = shm_notify_pages(env->shm, ids);

    *ret_left = false;
    for (uint32_t i = 0; i < n; i++) {
        if (!is_quiet(env, ids[i], true) || !shm_notify_drop(env->shm, ids[i]))
            *ret_left = true;
        else if (!drop_one(env, ids[i]))
            return false;
    }
    return true;
}

int notifier_main(const struct worker_env *env)
{
    struct err err = {0};
    struct pollfd p[] = {{.fd = env->notify_fd, .events = POLLIN},
                         {.fd = term_watch(), .events = POLLIN}};
    bool left = false;

    if (p[1].fd < 0) {
        log_journal_close(); /* it ends at once */
        log_err("notifier cannot start: %s", strerror(-p[1].fd));
        return WORKER_EXIT_SETUP;
    }
    if (env->sandbox && sandbox_enter(env->sandbox, SANDBOX_NOTIFIER, &err) < 0) {
        log_journal_close();
        log_err("notifier cannot start: %s", err.text);
        return WORKER_EXIT_SETUP;
    }
    shm_notify_resume(env->shm);
    while (write_all(env) && drop_pages(env, &left)) {
        if (poll(p, 2, left ? NOTIFIER_LATER_MS : NOTIFIER_POLL_MS) <= 0)
            continue;
        if (p[1].revents && term_told(p[1].fd))
            return WORKER_EXIT_DONE;
        if (p[0].revents)
            fd_event_clear(env->notify_fd);
    }
    return WORKER_EXIT_UNMOUNTED;
}
