/* Robust locks with an undo log. The tables that they protect are in shm_node.c, shm_session.c,
 * ...; this file only knows bytes and offsets. */
#include "shm/shm_lock.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "shm/shm_segment.h"

/* An entry of the log: the saved bytes, padded to 8, then this trailer, so that the log can be
 * walked backwards from its end. */
struct undo_trailer {
    uint32_t len;
    uint32_t padded;
    uint64_t offset; /* of the bytes, in the segment */
};

/* How long to sleep for a lock before checking again. A waiter that is woken and killed takes the
 * wake-up with it if a third process took the lock at once: then no other waiter is woken. */
#define RETRY_NS (20 * NS_PER_MS)

/* Keeps the compiler from moving, merging or removing memory accesses across it. */
#define barrier() __asm__ volatile("" ::: "memory")

/* Ranks held by this process (single-threaded), a bit each: for the order check. */
static uint32_t held_ranks;

void shm_mutex_init(struct shm_mutex *m, enum shm_rank rank)
{
    pthread_mutexattr_t attr;

    pthread_mutexattr_init(&attr);
    pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
    pthread_mutex_init(&m->mutex, &attr);
    pthread_mutexattr_destroy(&attr);
    m->rank = rank;
    m->log_used = 0;
}

/* True if an entry can end at `end`: a log that was overwritten must not cause writes to arbitrary
 * places. */
static bool sane(const struct shm *shm, const struct undo_trailer *t, uint32_t end)
{
    return t->padded <= end && t->len <= t->padded && t->len <= shm->size &&
           t->offset <= shm->size - t->len;
}

void shm_rollback_to(struct shm *shm, struct shm_mutex *m, uint32_t mark)
{
    while (m->log_used > mark) {
        struct undo_trailer t;
        uint32_t end = m->log_used - (uint32_t)sizeof(t);

        if (end > SHM_UNDO_MAX - sizeof(t))
            abort();
        memcpy(&t, m->log + end, sizeof(t));
        if (!sane(shm, &t, end))
            abort();
        memcpy(shm->base + t.offset, m->log + end - t.padded, t.len);
        barrier();
        m->log_used = end - t.padded; /* idempotent if killed before this */
        barrier();
    }
}

void shm_rollback(struct shm *shm, struct shm_mutex *m)
{
    shm_rollback_to(shm, m, 0);
}

static int take(pthread_mutex_t *mutex)
{
    int r = pthread_mutex_trylock(mutex);

    while (r == EBUSY || r == ETIMEDOUT) {
        uint64_t until = clock_wall_ns() + RETRY_NS;
        struct timespec ts = {.tv_sec = (time_t)(until / NS_PER_S),
                              .tv_nsec = (long)(until % NS_PER_S)};

        r = pthread_mutex_timedlock(mutex, &ts);
    }
    return r;
}

lock_itself void shm_lock(struct shm *shm, struct shm_mutex *m)
{
    int r;

    assert(held_ranks < UINT32_C(1) << m->rank); /* otherwise it would wait for itself */
    r = take(&m->mutex);
    held_ranks |= UINT32_C(1) << m->rank;
    if (r == 0)
        return;
    if (r != EOWNERDEAD)
        abort(); /* a bug of ours: not initialised, or left inconsistent */
    m->owner_deaths++;
    if (m->log_used)
        m->rollbacks++;
    shm_rollback(shm, m);
    pthread_mutex_consistent(&m->mutex);
}

lock_itself void shm_unlock(struct shm *shm, struct shm_mutex *m)
{
    (void)shm;
    barrier();
    m->log_used = 0; /* the commit */
    barrier();
    held_ranks &= ~(UINT32_C(1) << m->rank);
    pthread_mutex_unlock(&m->mutex);
}

void shm_save(struct shm *shm, struct shm_mutex *m, void *p, size_t len)
{
    struct undo_trailer t = {
        .len = (uint32_t)len,
        .padded = (uint32_t)((len + 7) & ~(size_t)7),
        .offset = (uint64_t)((uint8_t *)p - shm->base),
    };
    uint32_t used = m->log_used;

    assert(t.offset + len <= shm->size);
    if (used + t.padded + sizeof(t) > SHM_UNDO_MAX)
        abort(); /* a bug of ours: the section must be split */
    memcpy(m->log + used, p, len);
    memcpy(m->log + used + t.padded, &t, sizeof(t));
    barrier();
    m->log_used = used + t.padded + (uint32_t)sizeof(t);
    barrier();
}
