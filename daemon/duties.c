/* The duties of supervisor.h for a mount: what is open, what is in flight, unmounting, checking. */
#include "daemon/duties.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "fuse/fuse_decode.h"
#include "shm/shm_journal.h"
#include "shm/shm_session.h"

static bool in_flight(struct shm *shm)
{
    const struct shm_sizes *s = &shm->header->sizes;

    for (uint32_t w = 0; w < s->workers; w++) {
        for (uint32_t i = 0; i < s->records; i++) {
            if (atomic_load(&shm_arena_record(shm, w, i)->state) !=
                SHM_RECORD_FREE)
                return true;
        }
    }
    return false;
}

/* Sessions with bytes that are not on S3; the first one's path into *err. */
static unsigned unpublished(struct shm *shm, struct err *err)
{
    char path[1100];
    unsigned n = 0;

    shm_lock(shm, shm->meta);
    for (uint32_t i = 0; i < shm->header->sizes.sessions; i++) {
        const struct shm_session *s = shm_session_at(shm, i);

        if (s->state != SHM_SESSION_LIVE || !shm_session_dirty(s) ||
            (s->flags & SHM_SESSION_ORPHAN))
            continue;
        if (n++ == 0 && shm_node_path(shm, s->node, path, sizeof(path)) < 0)
            path[0] = '\0';
    }
    shm_unlock(shm, shm->meta);
    if (n)
        err_set(err, EBUSY, "%u files, the first is \"%s\"", n, path);
    return n;
}

static int look(void *ctx, struct err *err)
{
    const struct worker_env *env = ctx;

    if (unpublished(env->shm, err))
        return SUPERVISOR_UNPUBLISHED;
    return in_flight(env->shm) ? SUPERVISOR_BUSY : SUPERVISOR_IDLE;
}

static int unmount(void *ctx, struct err *err)
{
    const struct worker_env *env = ctx;

    return fuse_unmount(env->mount, err) < 0;
}

static int check(void *ctx, struct err *err)
{
    const struct worker_env *env = ctx;

    return shm_check(env->shm, err) < 0;
}

static void log_record(const struct shm_record *r, uint32_t worker, uint64_t now)
{
    if (atomic_load(&r->state) != SHM_RECORD_FREE)
        log_notice("in flight worker=%u op=%s unique=%llu age_ms=%llu", worker,
                   fuse_op_name(r->opcode), (unsigned long long)r->unique,
                   (unsigned long long)((now - r->started_ns) / NS_PER_MS));
}

static int log_inflight(void *ctx, struct err *err)
{
    const struct worker_env *env = ctx;
    uint64_t now = clock_mono_ns();

    (void)err;
    for (uint32_t w = 0; w < env->shm->header->sizes.workers; w++) {
        for (uint32_t i = 0; i < env->shm->header->sizes.records; i++)
            log_record(shm_arena_record(env->shm, w, i), w, now);
    }
    return 0;
}

static void set_draining(void *ctx)
{
    const struct worker_env *env = ctx;

    __atomic_store_n(&env->shm->header->draining, 1, __ATOMIC_RELEASE);
}

/* Nobody serves the mount any more: whoever waits for it is let go. */
static void abort_mount(void *ctx)
{
    const struct worker_env *env = ctx;
    struct err err = {0};

    if (env->mount && fuse_unmount_force(env->mount, &err) < 0)
        log_warn("cannot end the mount: %s", err.text);
}

static void reload(void *ctx)
{
    (void)ctx;
    log_notice("SIGHUP: nothing is read again; a change of configuration needs a "
               "restart");
}

const struct supervisor_duties duties = {
    .look = look,
    .look_last = look,
    .unmount = unmount,
    .check = check,
    .log_inflight = log_inflight,
    .set_draining = set_draining,
    .abort = abort_mount,
    .reload = reload,
};
