/* What the tables hold. Numbers that a rollback can take back are read under the lock of their
 * table, so that no counter ever falls; sessions and requests are walked without one, for a rough
 * figure. */
#include "workers/metrics/metrics_families.h"

#include <linux/fuse.h>

#include "base/clock.h"
#include "shm/shm_block.h"
#include "shm/shm_handle.h"
#include "shm/shm_notify.h"
#include "shm/shm_upload.h"

/* Read under shm->meta. */
struct meta_figures {
    uint64_t nodes, evictable, lookups, evictions, handles, sessions;
};

static struct meta_figures look_at_meta(struct worker *w)
{
    struct shm *shm = w->shm;
    struct meta_figures f;

    worker_lock(w);
    f = (struct meta_figures){.nodes = shm->nodes->live,
                              .evictable = shm->nodes->evictable,
                              .lookups = shm->nodes->lookups,
                              .evictions = shm->nodes->evictions,
                              .handles = shm->handles->live,
                              .sessions = shm->sessions->live};
    worker_unlock(w);
    return f;
}

static void put_meta(struct exposition *x, struct worker *w)
{
    struct meta_figures f = look_at_meta(w);

    exposition_one(x, EXPOSITION_GAUGE, "nodes", "Files and directories that are known.", f.nodes);
    exposition_one(x, EXPOSITION_GAUGE, "nodes_evictable",
                   "Known files that nothing refers to, and whose place may be used.", f.evictable);
    exposition_one(x, EXPOSITION_GAUGE, "nodes_limit", "Room for known files and directories.",
                   w->shm->header->sizes.nodes);
    exposition_one(x, EXPOSITION_GAUGE, "kernel_lookups",
                   "References of the kernel to files and directories.", f.lookups);
    exposition_one(x, EXPOSITION_COUNTER, "node_evictions_total",
                   "Known files that were forgotten to make room.", f.evictions);
    exposition_one(x, EXPOSITION_GAUGE, "handles", "Open files and directories.", f.handles);
    exposition_one(x, EXPOSITION_GAUGE, "sessions", "Files open for writing, or being uploaded.",
                   f.sessions);
    exposition_one(x, EXPOSITION_GAUGE, "sessions_limit", "Files that can be open for writing.",
                   w->shm->header->sizes.sessions);
    exposition_one(x, EXPOSITION_COUNTER, "lock_owner_deaths_total",
                   "Processes that died while they held the lock of the tables.",
                   w->shm->meta->owner_deaths);
}

static void put_pool(struct exposition *x, struct worker *w)
{
    struct shm *shm = w->shm;
    uint64_t ready, fetching, evictions;

    shm_lock(shm, &shm->blocks->lock);
    ready = shm->blocks->ready;
    fetching = shm->blocks->fetching;
    evictions = shm->blocks->evictions;
    shm_unlock(shm, &shm->blocks->lock);
    exposition_family(x, EXPOSITION_GAUGE, "pool_bytes", "Data of objects in the pool of blocks.");
    exposition_sample(x, "pool_bytes", "state=\"ready\"", ready * SHM_BLOCK_SIZE);
    exposition_sample(x, "pool_bytes", "state=\"fetching\"", fetching * SHM_BLOCK_SIZE);
    exposition_one(x, EXPOSITION_GAUGE, "pool_limit_bytes", "Size of the pool of blocks.",
                   (uint64_t)shm->header->sizes.blocks * SHM_BLOCK_SIZE);
    exposition_one(x, EXPOSITION_COUNTER, "pool_evictions_total",
                   "Blocks that were dropped to make room.", evictions);
}

struct session_figures {
    uint64_t dirty, publishing, uploads, sending;
};

static struct session_figures look_at_sessions(struct shm *shm)
{
    struct session_figures f = {0};

    for (uint32_t i = 0; i < shm_session_used(shm); i++) {
        const struct shm_session *s = shm_session_at(shm, i);

        if (__atomic_load_n(&s->state, __ATOMIC_RELAXED) != SHM_SESSION_LIVE)
            continue;
        f.dirty += shm_session_dirty(s);
        f.publishing += s->publish.state == SHM_JOB_RUNNING;
        f.uploads += shm_upload_at(shm, i)->open != 0;
        f.sending += shm_upload_at(shm, i)->sending;
    }
    return f;
}

static void put_sessions(struct exposition *x, struct worker *w)
{
    struct session_figures f = look_at_sessions(w->shm);

    exposition_one(x, EXPOSITION_GAUGE, "sessions_dirty",
                   "Files with data that has not reached S3 yet.", f.dirty);
    exposition_one(x, EXPOSITION_GAUGE, "sessions_publishing", "Files that are being uploaded.",
                   f.publishing);
    exposition_one(x, EXPOSITION_GAUGE, "uploads_in_flight", "Multipart uploads that are open.",
                   f.uploads);
    exposition_one(x, EXPOSITION_GAUGE, "upload_parts_in_flight", "Parts that are being sent.",
                   f.sending);
}

static void put_requests(struct exposition *x, struct worker *w)
{
    uint64_t now = clock_mono_ns(), n = 0, oldest = 0, clients = 0;
    struct shm_in_flight at = {0};
    const struct shm_record *r;

    while ((r = shm_in_flight_next(w->shm, &at))) {
        uint64_t started = r->started_ns;

        n++;
        if (now > started && now - started > oldest && r->opcode != FUSE_SETLKW)
            oldest = now - started;
    }
    for (uint32_t i = 0; i < w->shm->header->sizes.workers; i++)
        clients += __atomic_load_n(&shm_arena_of(w->shm, i)->http_requests, __ATOMIC_RELAXED);
    exposition_one(x, EXPOSITION_GAUGE, "requests_in_flight",
                   "Requests that have not got their reply.", n);
    exposition_family(x, EXPOSITION_GAUGE, "oldest_request_age_seconds",
                      "Age of the oldest of them; one that waits for a file lock does not count.");
    exposition_seconds(x, "oldest_request_age_seconds", "", oldest);
    exposition_one(x, EXPOSITION_GAUGE, "connector_requests_in_flight",
                   "Requests of the connector that have not got their answer.", clients);
}

void metrics_tables(struct exposition *x, struct worker *w)
{
    put_meta(x, w);
    put_pool(x, w);
    put_sessions(x, w);
    put_requests(x, w);
}
