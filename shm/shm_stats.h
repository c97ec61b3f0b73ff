/* Counters, a set for each worker slot, on separate cache lines. A replacement continues them.
 * Writer: the worker in that slot, no lock. Readers: all, relaxed (may lag). If the owner dies:
 * nothing to do; a request that it had answered may be counted as ended twice, or not at all. */
#ifndef SHM_SHM_STATS_H
#define SHM_SHM_STATS_H

#include "shm/shm_segment.h"
#include "shm/shm_timing.h"

#define SHM_STATS_FUSE_OPS 64
#define SHM_STATS_S3_OPS 12

enum shm_stat {
    SHM_STAT_READ_BYTES,    /* bytes returned by READ */
    SHM_STAT_WRITTEN_BYTES, /* bytes accepted by WRITE */
    SHM_STAT_S3_IN_BYTES,   /* object data received */
    SHM_STAT_S3_OUT_BYTES,  /* object data sent */
    SHM_STAT_S3_RETRIES,    /* attempts after the first */
    SHM_STAT_S3_ERRORS,     /* requests that ended in an error other than "does not exist" */
    SHM_STAT_PUBLISHED,     /* files uploaded, or copied by the server */
    SHM_STAT_PUBLISH_FAILED,
    SHM_STAT_DISCARDED,      /* sessions that ended with unpublished bytes */
    SHM_STAT_TORN,           /* ... because their writers were killed */
    SHM_STAT_CONFLICTS,      /* writes that were refused: the file had changed */
    SHM_STAT_UNKNOWN,        /* writes whose outcome is unknown */
    SHM_STAT_CONTRADICTIONS, /* responses that a server which enforces conditions does not send */
    SHM_STAT_RECOVERED,      /* requests taken over from a dead worker */
    SHM_STAT_INTERRUPTED,
    /* requests ended with ETIMEDOUT, or EAGAIN, because they became too old */
    SHM_STAT_TIMED_OUT,
    SHM_STAT_HIDDEN_NAMES, /* keys that cannot be file names */
    SHM_STAT_OVERLOAD,     /* requests refused with ENOMEM: no free record */
    SHM_STAT_PARKED,       /* WRITEs that had to wait */
    SHM_STAT_UPLOADS_LEFT, /* multipart uploads that could not be aborted */
    SHM_STAT_POOL_HITS,    /* READs whose blocks were all there */
    SHM_STAT_POOL_MISSES,  /* READs that waited for a block */
    SHM_STAT_SCRAPES,      /* answers with metrics */
    SHM_STATS_COUNT
};

/* Requests of the connector, by endpoint. */
enum shm_http_kind {
    SHM_HTTP_OTHER, /* no such endpoint, or no request of HTTP */
    SHM_HTTP_GET,
    SHM_HTTP_HEAD,
    SHM_HTTP_PUT,
    SHM_HTTP_DELETE,
    SHM_HTTP_LIST,
    SHM_HTTP_META_GET,
    SHM_HTTP_META_PUT,
    SHM_HTTP_QUERY,
    SHM_HTTP_HEALTH, /* /healthz, /readyz */
    SHM_HTTP_KINDS
};

/* The worker as a process. */
struct shm_process {
    uint64_t starts;   /* workers that this slot has had; those that took over as planned: not */
    uint64_t leaves;   /* 1: the present one was asked to end, and its replacement is planned */
    uint64_t cpu_ns;   /* of all of them */
    uint64_t anon;     /* of the present one, bytes: what it alone has */
    uint64_t resident; /* bytes, with what it shares with others */
};

struct shm_stats {
    uint64_t fuse[SHM_STATS_FUSE_OPS]; /* by opcode */
    uint64_t s3[SHM_STATS_S3_OPS];     /* by enum s3_op_kind, in its order */
    uint64_t count[SHM_STATS_COUNT];
    struct shm_timing fuse_ended[SHM_STATS_FUSE_OPS]; /* by opcode */
    struct shm_timing s3_ended[SHM_STATS_S3_OPS];
    struct shm_timing http_ended[SHM_HTTP_KINDS];
    struct shm_process process;
} __attribute__((aligned(64)));

extern const char *const shm_stat_names[SHM_STATS_COUNT];
extern const char *const shm_stat_s3_names[SHM_STATS_S3_OPS];
extern const char *const shm_stat_http_names[SHM_HTTP_KINDS];

size_t shm_stats_size(const struct shm_sizes *sizes);

static inline struct shm_stats *shm_stats_of(struct shm *shm, uint32_t worker)
{
    return shm->stats + worker;
}

#endif
