/* The bytes of write sessions. session_change.c decides which op may change them, and when. */
#include "workers/op/spool.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/min.h"

#define SPOOL_GRAIN (UINT64_C(64) << 10) /* memory is counted in steps of this */

/* A shared flag that another worker may set at any time. */
static uint32_t flags_now(struct worker *w, uint32_t session)
{
    return __atomic_load_n(&shm_session_at(w->shm, session)->flags, __ATOMIC_ACQUIRE);
}

static int fd_for(struct worker *w, uint32_t session, uint32_t flags)
{
    const struct worker_spool *s = &w->env->spool[session];

    return flags & SHM_SESSION_ON_DISK ? s->file_fd : s->mem_fd;
}

int spool_fd(struct worker *w, uint32_t session)
{
    return fd_for(w, session, flags_now(w, session));
}

/* Between the read of the flag and the read of the bytes, the content may move to disk and the
 * memory be freed. Then the flag has changed, and the read is repeated. */
int spool_read(struct worker *w, uint32_t session, void *buf, size_t len, uint64_t off)
{
    for (;;) {
        uint32_t flags = flags_now(w, session);
        ssize_t n = fd_pread_full(fd_for(w, session, flags), buf, len, (off_t)off);

        if ((flags_now(w, session) ^ flags) & SHM_SESSION_ON_DISK)
            continue;
        if (n < 0)
            return (int)n;
        memset((uint8_t *)buf + n, 0, len - (size_t)n);
        return (int)len;
    }
}

/* Writes all of it; what goes to a file does not stay in the page cache without bounds. */
static int write_out(struct worker *w, int fd, bool file, const void *buf, size_t len, off_t off)
{
    int r = fd_pwrite_full(fd, buf, len, off);

    if (r == 0 && file)
        spool_dirty(&w->dirty, w->env->dirty_max, fd, len);
    return r;
}

static uint64_t mem_limit(const struct worker *w)
{
    return (uint64_t)w->shm->header->sizes.blocks * SHM_BLOCK_SIZE / SPOOL_SHARE;
}

bool spool_reserve(struct worker *w, uint32_t session, uint64_t end)
{
    struct shm_session_table *t = w->shm->sessions;
    const struct shm_session *s = shm_session_at(w->shm, session);
    uint64_t most = s->flags & SHM_SESSION_STREAM ? mem_limit(w) : w->conf->buffer.memory;
    uint64_t bytes = end - min_u64(end, s->held_from);
    uint64_t want = (bytes + SPOOL_GRAIN - 1) / SPOOL_GRAIN * SPOOL_GRAIN;

    if ((s->flags & SHM_SESSION_ON_DISK) || want <= s->mem_reserved)
        return true;
    if (bytes > most || t->mem_used + want - s->mem_reserved > mem_limit(w))
        return false;
    shm_set(w->shm, w->shm->meta, t->mem_used, t->mem_used + want - s->mem_reserved);
    shm_session_edit(w->shm, session)->mem_reserved = want;
    return true;
}

int spool_to_disk(struct worker *w, uint32_t session)
{
    const struct worker_spool *s = &w->env->spool[session];
    char buf[65536];
    off_t off = (off_t)shm_session_at(w->shm, session)->held_from;

    if (s->file_fd < 0)
        return -ENOSPC;
    if (ftruncate(s->file_fd, 0) < 0)
        return -errno;
    for (;;) {
        ssize_t n = fd_pread_full(s->mem_fd, buf, sizeof(buf), off);
        int r;

        if (n <= 0)
            return (int)n;
        r = write_out(w, s->file_fd, true, buf, (size_t)n, off);
        if (r < 0)
            return r;
        off += n;
    }
}

void spool_drop_memory(struct worker *w, uint32_t session)
{
    struct shm_session *s;

    if (ftruncate(w->env->spool[session].mem_fd, 0) < 0)
        return; /* then it stays reserved */
    worker_lock(w);
    s = shm_session_edit(w->shm, session);
    shm_set(w->shm, w->shm->meta, w->shm->sessions->mem_used,
            w->shm->sessions->mem_used - s->mem_reserved);
    s->mem_reserved = 0;
    worker_unlock(w);
}

int spool_write(struct worker *w, uint32_t session, const void *buf, size_t len, uint64_t off)
{
    uint32_t flags = flags_now(w, session);

    if (off > S3_OBJECT_MAX || len > S3_OBJECT_MAX - off)
        return -EFBIG;
    return write_out(w, fd_for(w, session, flags), flags & SHM_SESSION_ON_DISK, buf, len,
                     (off_t)off);
}

int spool_truncate(struct worker *w, uint32_t session, uint64_t size)
{
    if (size > S3_OBJECT_MAX)
        return -EFBIG;
    return ftruncate(spool_fd(w, session), (off_t)size) < 0 ? -errno : 0;
}

void spool_release(struct worker *w, uint32_t session, uint64_t from, uint64_t to)
{
    /* Best effort: what stays is freed with the session. */
    if (to > from && fallocate(spool_fd(w, session), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                               (off_t)from, (off_t)(to - from)) < 0)
        return;
}

void spool_unreserve(struct worker *w, uint32_t session)
{
    struct shm_session *s = shm_session_edit(w->shm, session);
    uint64_t want = (s->size - s->held_from + SPOOL_GRAIN - 1) / SPOOL_GRAIN * SPOOL_GRAIN;

    if (want >= s->mem_reserved)
        return;
    shm_set(w->shm, w->shm->meta, w->shm->sessions->mem_used,
            w->shm->sessions->mem_used - s->mem_reserved + want);
    s->mem_reserved = want;
}

void spool_clear(struct worker *w, uint32_t session)
{
    const struct worker_spool *s = &w->env->spool[session];

    /* Truncating an unlinked file to size 0 does not fail in a way that could be handled. If a slot
     * kept its bytes, they would be removed when its next session is truncated or overwritten. */
    if (ftruncate(s->mem_fd, 0) < 0 || (s->file_fd >= 0 && ftruncate(s->file_fd, 0) < 0))
        return;
}

static off_t park_at(const struct worker *w, uint32_t record)
{
    return (off_t)record * w->shm->header->sizes.payload;
}

int spool_park(struct worker *w, uint32_t record, const void *buf, size_t len)
{
    return write_out(w, w->env->park_fd[w->slot], true, buf, len, park_at(w, record));
}

int spool_unpark(struct worker *w, uint32_t record, uint32_t off, void *buf, size_t len)
{
    ssize_t n = fd_pread_full(w->env->park_fd[w->slot], buf, len, park_at(w, record) + off);

    return n < 0 ? (int)n : (size_t)n == len ? 0 : -EIO;
}

void spool_park_clear(struct worker *w, uint32_t record, size_t len)
{
    /* Best effort: remaining bytes are overwritten by the next payload parked there. */
    if (fallocate(w->env->park_fd[w->slot], FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                  park_at(w, record), (off_t)len) < 0)
        return;
}

void spool_park_tidy(struct worker *w)
{
    struct stat st;

    if (fstat(w->env->park_fd[w->slot], &st) < 0 || st.st_blocks == 0)
        return;
    for (uint32_t i = 0; i < w->n_free_records; i++)
        spool_park_clear(w, w->free_records[i], w->shm->header->sizes.payload);
}
