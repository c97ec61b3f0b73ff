/* Names and size of the counters. */
#include "shm/shm_stats.h"

const char *const shm_stat_names[SHM_STATS_COUNT] = {
    [SHM_STAT_READ_BYTES] = "read_bytes",
    [SHM_STAT_WRITTEN_BYTES] = "written_bytes",
    [SHM_STAT_S3_IN_BYTES] = "s3_in_bytes",
    [SHM_STAT_S3_OUT_BYTES] = "s3_out_bytes",
    [SHM_STAT_S3_RETRIES] = "s3_retries",
    [SHM_STAT_S3_ERRORS] = "s3_errors",
    [SHM_STAT_PUBLISHED] = "published",
    [SHM_STAT_PUBLISH_FAILED] = "publish_failed",
    [SHM_STAT_DISCARDED] = "discarded",
    [SHM_STAT_TORN] = "torn",
    [SHM_STAT_CONFLICTS] = "conflicts",
    [SHM_STAT_UNKNOWN] = "unknown_outcomes",
    [SHM_STAT_CONTRADICTIONS] = "contradictions",
    [SHM_STAT_RECOVERED] = "recovered",
    [SHM_STAT_INTERRUPTED] = "interrupted",
    [SHM_STAT_TIMED_OUT] = "timed_out",
    [SHM_STAT_HIDDEN_NAMES] = "hidden_names",
    [SHM_STAT_OVERLOAD] = "overload",
    [SHM_STAT_PARKED] = "parked",
    [SHM_STAT_UPLOADS_LEFT] = "uploads_left",
    [SHM_STAT_POOL_HITS] = "pool_hits",
    [SHM_STAT_POOL_MISSES] = "pool_misses",
    [SHM_STAT_SCRAPES] = "scrapes",
};

const char *const shm_stat_s3_names[SHM_STATS_S3_OPS] = {
    "get",           "head",     "put",       "delete",          "copy",        "list", "get_tags",
    "create_upload", "put_part", "copy_part", "complete_upload", "abort_upload"};

const char *const shm_stat_http_names[SHM_HTTP_KINDS] = {
    [SHM_HTTP_OTHER] = "other",       [SHM_HTTP_GET] = "get",           [SHM_HTTP_HEAD] = "head",
    [SHM_HTTP_PUT] = "put",           [SHM_HTTP_DELETE] = "delete",     [SHM_HTTP_LIST] = "list",
    [SHM_HTTP_META_GET] = "meta_get", [SHM_HTTP_META_PUT] = "meta_put", [SHM_HTTP_QUERY] = "query",
    [SHM_HTTP_HEALTH] = "health",
};

size_t shm_stats_size(const struct shm_sizes *s)
{
    return (size_t)s->workers * sizeof(struct shm_stats);
}
