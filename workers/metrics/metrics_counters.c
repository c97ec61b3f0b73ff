/* The counters of enum shm_stat by their names for Prometheus. A row for each. */
#include "workers/metrics/metrics_families.h"

#include <assert.h>

struct counter {
    const char *name, *help;
};

static const struct counter counters[] = {
    [SHM_STAT_READ_BYTES] = {"read_bytes_total",
                             "Bytes that programs and clients of the connector have read."},
    [SHM_STAT_WRITTEN_BYTES] = {"written_bytes_total",
                                "Bytes that programs and clients of the connector have written."},
    [SHM_STAT_S3_IN_BYTES] = {"s3_received_bytes_total", "Bytes of objects received from S3."},
    [SHM_STAT_S3_OUT_BYTES] = {"s3_sent_bytes_total",
                               "Bytes of request bodies sent to S3, those sent again included."},
    [SHM_STAT_S3_RETRIES] = {"s3_retries_total", "Attempts of S3 requests after the first."},
    [SHM_STAT_S3_ERRORS] = {"s3_errors_total", "S3 requests that failed after all attempts."},
    [SHM_STAT_PUBLISHED] = {"published_total", "Files uploaded, or copied by the server."},
    [SHM_STAT_PUBLISH_FAILED] = {"publish_failures_total", "Uploads of files that failed."},
    [SHM_STAT_DISCARDED] = {"discarded_total",
                            "Files that were closed with data that did not reach S3."},
    [SHM_STAT_TORN] = {"torn_total", "Files discarded because their writers were killed."},
    [SHM_STAT_CONFLICTS] = {"conflicts_total", "Writes refused because the file had changed."},
    [SHM_STAT_UNKNOWN] = {"unknown_outcomes_total",
                          "Writes of which it is not known whether they took effect."},
    [SHM_STAT_CONTRADICTIONS] = {"contradictions_total",
                                 "Answers that a server which enforces conditions does not give."},
    [SHM_STAT_RECOVERED] = {"recovered_requests_total",
                            "Requests taken over from a worker that died."},
    [SHM_STAT_INTERRUPTED] = {"interrupted_requests_total",
                              "Requests ended because their caller was killed."},
    [SHM_STAT_TIMED_OUT] = {"timed_out_requests_total", "Requests ended because they became too "
                                                        "old."},
    [SHM_STAT_HIDDEN_NAMES] = {"hidden_names_total",
                               "Keys met in listings that cannot be names of files."},
    [SHM_STAT_OVERLOAD] = {"overload_total", "Requests refused because too many were in flight."},
    [SHM_STAT_PARKED] = {"parked_writes_total", "WRITE requests that had to wait."},
    [SHM_STAT_UPLOADS_LEFT] = {"uploads_left_total",
                               "Multipart uploads that could not be aborted."},
    [SHM_STAT_POOL_HITS] = {"pool_hits_total", "READ requests whose blocks were all in the pool."},
    [SHM_STAT_POOL_MISSES] = {"pool_misses_total", "READ requests that waited for a block."},
    [SHM_STAT_SCRAPES] = {"scrapes_total", "Answers with metrics, this one included."},
};

static_assert(sizeof(counters) / sizeof(counters[0]) == SHM_STATS_COUNT, "a row for each");

void metrics_counters(struct exposition *x, struct worker *w)
{
    for (unsigned c = 0; c < SHM_STATS_COUNT; c++) {
        uint64_t sum = 0;

        for (uint32_t i = 0; i < w->shm->header->sizes.workers; i++)
            sum += __atomic_load_n(&shm_stats_of(w->shm, i)->count[c], __ATOMIC_RELAXED);
        exposition_one(x, EXPOSITION_COUNTER, counters[c].name, counters[c].help, sum);
    }
}
