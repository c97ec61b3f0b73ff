/* Robust locks with an undo log. The tables that they guard are next door (shm_node.c, shm_session.c, ...);
 * this file knows only bytes and offsets. */
#include "shm/shm_lock.h"

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "shm/shm_segment.h"

/* An entry of the log: the saved bytes, padded to 8, then this trailer, so that the log can be walked
 * backwards from its end. */
struct undo_trailer {
    uint32_t len;
    uint32_t padded;
    uint64_t offset; /* of the bytes, in the segment */
};

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

void shm_rollback(struct shm *shm, struct shm_mutex *m)
{
    while (m->log_used) {
        struct undo_trailer t;
        uint32_t end = m->log_used - (uint32_t)sizeof(t);

        memcpy(&t, m->log + end, sizeof(t));
        memcpy(shm->base + t.offset, m->log + end - t.padded, t.len);
        atomic_signal_fence(memory_order_seq_cst);
        m->log_used = end - t.padded; /* idempotent if killed before this */
        atomic_signal_fence(memory_order_seq_cst);
    }
}

void shm_lock(struct shm *shm, struct shm_mutex *m)
{
    int r = pthread_mutex_lock(&m->mutex);

    assert(held_ranks < UINT32_C(1) << m->rank);
    held_ranks |= UINT32_C(1) << m->rank;
    if (r == 0)
        return;
    if (r != EOWNERDEAD)
        abort(); /* a bug of ours: deadlock, not initialised, or left inconsistent */
    m->owner_deaths++;
    if (m->log_used)
        m->rollbacks++;
    shm_rollback(shm, m);
    pthread_mutex_consistent(&m->mutex);
}

void shm_unlock(struct shm *shm, struct shm_mutex *m)
{
    (void)shm;
    atomic_signal_fence(memory_order_seq_cst);
    m->log_used = 0; /* the commit */
    atomic_signal_fence(memory_order_seq_cst);
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
    atomic_signal_fence(memory_order_seq_cst);
    m->log_used = used + t.padded + (uint32_t)sizeof(t);
    atomic_signal_fence(memory_order_seq_cst);
}
