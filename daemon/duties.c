/* The duties of supervisor.h for a mount: open files, requests in flight, unmounting, checking. */
#include "daemon/duties.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "daemon/reexec.h"
#include "daemon/unpublished.h"
#include "fuse/fuse_decode.h"
#include "fuse/fuse_name.h"
#include "shm/shm_handle.h"
#include "shm/shm_journal.h"

/* Requests that change something. Others (a reader, a program that waits for a lock) are served
 * even after the unmount, and must not delay it. */
static bool has_effect(uint32_t opcode)
{
    static const uint8_t effects[] = {FUSE_WRITE,
                                      FUSE_FLUSH,
                                      FUSE_RELEASE,
                                      FUSE_FSYNC,
                                      FUSE_FSYNCDIR,
                                      FUSE_SETATTR,
                                      FUSE_CREATE,
                                      FUSE_MKNOD,
                                      FUSE_MKDIR,
                                      FUSE_UNLINK,
                                      FUSE_RMDIR,
                                      FUSE_RENAME,
                                      FUSE_RENAME2,
                                      FUSE_SYMLINK,
                                      FUSE_LINK,
                                      FUSE_FALLOCATE,
                                      FUSE_SETXATTR,
                                      FUSE_REMOVEXATTR,
                                      FUSE_COPY_FILE_RANGE,
                                      FUSE_OP_COPY_FILE_RANGE_64,
                                      FUSE_OPEN /* it may truncate */};

    for (size_t i = 0; i < sizeof(effects); i++) {
        if (effects[i] == opcode)
            return true;
    }
    return false;
}

/* Clients of the connector that have not got their answer. */
static bool clients_wait(struct shm *shm)
{
    for (uint32_t i = 0; i < shm->header->sizes.workers; i++) {
        if (__atomic_load_n(&shm_arena_of(shm, i)->http_requests, __ATOMIC_RELAXED))
            return true;
    }
    return false;
}

static bool effects_in_flight(struct shm *shm)
{
    struct shm_in_flight at = {0};
    const struct shm_record *r;

    if (clients_wait(shm))
        return true;
    while ((r = shm_in_flight_next(shm, &at))) {
        if (has_effect(r->opcode))
            return true;
    }
    return false;
}

/* A task that reads tables does what workers wrote: it needs no rights. */
static const struct worker_env *confined(void *ctx)
{
    const struct worker_env *env = ctx;
    struct err err = {0};

    if (env->sandbox && sandbox_enter(env->sandbox, SANDBOX_TASK, &err) < 0) {
        log_err("helper process cannot start: %s", err.text);
        kill(getpid(), SIGKILL); /* TASK_DIED */
    }
    return env;
}

static int look_now(const struct worker_env *env, struct err *err)
{
    if (unpublished(env, UNPUBLISHED_WAITED_FOR, err))
        return SUPERVISOR_UNPUBLISHED;
    return effects_in_flight(env->shm) ? SUPERVISOR_BUSY : SUPERVISOR_IDLE;
}

static int duties_look(void *ctx, struct err *err)
{
    return look_now(confined(ctx), err);
}

static int look_last(void *ctx, struct err *err)
{
    const struct worker_env *env = confined(ctx);

    if (unpublished(env, UNPUBLISHED_LOST, err))
        return SUPERVISOR_UNPUBLISHED;
    if (!__atomic_load_n(&env->shm->header->gave_up, __ATOMIC_RELAXED))
        return SUPERVISOR_IDLE;
    err_set(err, EIO, "uploads failed after the request to end: the log names their files");
    return SUPERVISOR_UNPUBLISHED;
}

/* Directories in use as a working directory, or being read, do not count: nothing is lost with
 * them. */
static int linger(void *ctx, struct err *err)
{
    const struct worker_env *env = confined(ctx);
    struct shm *shm = env->shm;
    unsigned open_files = 0;

    shm_lock(shm, shm->meta);
    for (uint32_t i = 0; i < shm->handles->fresh_handle; i++)
        open_files += shm_handle_at(shm, i)->kind == SHM_HANDLE_FILE;
    shm_unlock(shm, shm->meta);
    return open_files ? SUPERVISOR_BUSY : look_now(env, err);
}

static int unmount(void *ctx, struct err *err)
{
    const struct worker_env *env = ctx;

    return fuse_unmount(env->mount, err) < 0;
}

static int duties_check(void *ctx, struct err *err)
{
    const struct worker_env *env = confined(ctx);

    return shm_check(env->shm, err) < 0 || shm_arena_check_holds(env->shm, err) < 0;
}

static int duties_may_restart(void *ctx, const struct handover_own *own, struct err *err)
{
    int r = reexec_try(ctx, own, err);

    return r == 0 ? SUPERVISOR_TAKES : r > 0 ? SUPERVISOR_TAKES_LEFT : SUPERVISOR_TAKES_NOT;
}

static void duties_restart(void *ctx, const struct handover_own *own, struct err *err)
{
    reexec(ctx, own, err);
}

static int duties_leave(void *ctx, const struct handover_own *own, struct err *err)
{
    int fd;
    int r = handover_write(ctx, own, false, &fd, err);

    return r < 0 ? r : fd;
}

static int log_inflight(void *ctx, struct err *err)
{
    const struct worker_env *env = confined(ctx);
    uint64_t now = clock_mono_ns();
    struct shm_in_flight at = {0};
    const struct shm_record *r;

    (void)err;
    log_notice("in-flight table follows");
    while ((r = shm_in_flight_next(env->shm, &at)))
        log_notice("in flight worker=%u op=%s unique=%llu age_ms=%llu", at.worker,
                   shm_http_op_name(r->opcode, fuse_op_name(r->opcode)),
                   (unsigned long long)r->unique,
                   (unsigned long long)((now - r->started_ns) / NS_PER_MS));
    return 0;
}

static void set_draining(void *ctx)
{
    const struct worker_env *env = ctx;

    __atomic_store_n(&env->shm->header->draining, 1, __ATOMIC_RELEASE);
}

/* No process serves the mount any more: releases all callers that wait for it. */
static void abort_mount(void *ctx)
{
    const struct worker_env *env = ctx;
    struct err err = {0};

    if (env->mount && fuse_unmount_force(env->mount, &err) < 0)
        log_warn("cannot abort the connection of the mount: %s", err.text);
}

static bool is_mounted(void *ctx)
{
    const struct worker_env *env = ctx;

    return fuse_mounted(env->mount);
}

/* A task may wait in the kernel for the workers (an unmount does), and then it cannot be killed. If
 * all workers are killed, the task must not keep the mount's connection alive. */
static void close_channel(void *ctx)
{
    const struct worker_env *env = ctx;

    if (env->listen_fd >= 0)
        close(env->listen_fd);
    if (env->metrics_fd >= 0)
        close(env->metrics_fd);
    if (env->mount)
        close(env->mount->fd);
}

const struct supervisor_duties duties = {
    .mounted = is_mounted,
    .in_task = close_channel,
    .look = duties_look,
    .linger = linger,
    .look_last = look_last,
    .unmount = unmount,
    .check = duties_check,
    .log_inflight = log_inflight,
    .set_draining = set_draining,
    .abort = abort_mount,
    .may_restart = duties_may_restart,
    .restart = duties_restart,
    .leave = duties_leave,
};
