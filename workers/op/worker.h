/* One worker process: its loop, its S3 client, its view of the segment. Everything that must
 * survive the process is in the segment or in the spool files; the state here is lost with it. */
#ifndef WORKERS_OP_WORKER_H
#define WORKERS_OP_WORKER_H

#include "base/loop.h"
#include "s3/s3.h"
#include "shm/shm_journal.h"
#include "shm/shm_node.h"
#include "shm/shm_session.h"
#include "shm/shm_stats.h"
#include "workers/op/spool_dirty.h"
#include "workers/op/variant.h"
#include "workers/op/worker_abi.h"

struct op;
struct http_server;

/* Called in each turn of the loop in which waiting ops are resumed: for jobs, which are no ops. It
 * may remove itself. */
struct worker_hook {
    struct worker_hook *next;
    void (*fn)(struct worker_hook *hook);
};

struct worker {
    const struct worker_env *env;
    const struct conf *conf;
    const struct variant *variant;
    struct shm *shm;
    uint32_t slot;
    struct loop *loop;
    struct s3_client *s3;
    struct shm_arena *arena;
    struct shm_stats *stats;

    struct loop_watch channel; /* the fuse descriptor */
    struct loop_watch wake;    /* our eventfd */
    struct loop_watch signals;
    struct loop_timer rescan; /* resumes waiting ops in the next turn of the loop */
    struct loop_timer tick;   /* watchdog and counters, once a second */

    struct op **ops;      /* one for each record, and one for `current` */
    struct op **free_ops; /* stack */
    uint32_t n_free_ops;
    uint32_t *free_records; /* stack of indexes */
    uint32_t n_free_records;

    struct worker_hook *hooks;
    struct spool_dirty dirty; /* what was written to files of buffer.dir */
    uint32_t creating;        /* uploads that S3 was asked to create: nobody has their ids yet */

    int exit_code;
    struct http_server *http;    /* the connector; NULL = none */
    struct http_server *metrics; /* NULL = none */
    struct loop_timer end_look;
    uint64_t told_ns; /* when the supervisor's SIGTERM came */
    bool leaving;     /* the mount is gone; ops under way are completed, then the loop stops */
};

/* Wakes each worker in the mask (bits by slot), this one included: it calls the `resume` of its
 * waiting ops in the next turn of its loop. */
void worker_wake(struct worker *w, uint32_t mask);
void worker_wake_self(struct worker *w);

/* Adds and removes a hook. Removing one that was not added does nothing. */
void worker_hook_add(struct worker *w, struct worker_hook *hook);
void worker_hook_remove(struct worker *w, struct worker_hook *hook);
void worker_hooks_run(struct worker *w);

/* The mount is gone: ends the worker, immediately or once the ops that nobody would repeat (a
 * RELEASE that publishes, a rename half done) have ended. The supervisor's SIGTERM cuts that
 * short. */
void worker_leave(struct worker *w);

/* Lock and unlock shm->meta. */
void worker_lock(struct worker *w) lock_takes(w->shm->meta);
void worker_unlock(struct worker *w) lock_gives(w->shm->meta);

/* Under shm->meta: this worker will be woken when a job of the session, or a change of its content,
 * ends. */
static inline void worker_awaits_session(struct worker *w, uint32_t session)
{
    struct shm_session *s = &w->shm->sessions->slot[session]; /* (nothing else of it changes) */
    uint32_t waiters = s->waiters | UINT32_C(1) << w->slot;

    if (waiters != s->waiters)
        shm_set(w->shm, w->shm->meta, s->waiters, waiters);
}

/* Wakes the notifier. Call it after unlocking a section that queued notifications. */
void worker_notify_kernel(struct worker *w);

static inline void worker_count(struct worker *w, enum shm_stat what, uint64_t n)
{
    w->stats->count[what] += n;
}

/* True from the moment at which the daemon was asked to end. */
static inline bool worker_is_ending(const struct worker *w)
{
    return __atomic_load_n(&w->shm->header->draining, __ATOMIC_ACQUIRE);
}

/* A file's bytes will not reach S3, as its upload or a write to it has failed, and no program was
 * told before now. If the daemon is ending, its exit code says so as well. */
static inline void worker_gave_up(struct worker *w)
{
    if (worker_is_ending(w))
        __atomic_store_n(&w->shm->header->gave_up, 1, __ATOMIC_RELAXED);
}

#endif
