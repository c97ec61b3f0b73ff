/* Requests of the kernel, of the connector's clients, and to S3. Kinds that have not occurred are
 * left out of the histograms, or a scrape would be three times as long; those of the connector and
 * of S3 have their outcomes from the start, so that a rate counts the first one. */
#include "workers/metrics/metrics_families.h"

#include <assert.h>
#include <ctype.h>
#include <stddef.h>
#include <stdio.h>

#include "fuse/fuse_name.h"

#define NAME_MAX_BYTES 32
#define KINDS_MAX SHM_STATS_FUSE_OPS

static_assert(SHM_STATS_S3_OPS <= KINDS_MAX && SHM_HTTP_KINDS <= KINDS_MAX, "the largest");

/* One kind of requests, of all workers. */
struct row {
    char label[NAME_MAX_BYTES]; /* op="read"; "" = there is no such kind */
    struct shm_timing t;
};

static void fuse_label(unsigned kind, char out[NAME_MAX_BYTES])
{
    const char *name = fuse_op_name(kind);
    char lower[NAME_MAX_BYTES];
    unsigned i = 0;

    if (*name == '?')
        snprintf(lower, sizeof(lower), "opcode_%u", kind);
    for (; *name != '?' && name[i] && i + 1 < sizeof(lower); i++)
        lower[i] = (char)tolower((unsigned char)name[i]);
    if (*name != '?')
        lower[i] = '\0';
    snprintf(out, NAME_MAX_BYTES, "op=\"%.24s\"", lower);
}

static void http_label(unsigned kind, char out[NAME_MAX_BYTES])
{
    snprintf(out, NAME_MAX_BYTES, "op=\"%s\"", shm_stat_http_names[kind]);
}

static void s3_label(unsigned kind, char out[NAME_MAX_BYTES])
{
    *out = '\0';
    if (*shm_stat_s3_names[kind])
        snprintf(out, NAME_MAX_BYTES, "op=\"%s\"", shm_stat_s3_names[kind]);
}

/* One front end, or S3. */
struct group {
    const char *name, *durations, *outcomes; /* the family, and the help of its two */
    size_t offset;                           /* of its timings in struct shm_stats */
    unsigned n;
    bool from_start;
    void (*label)(unsigned kind, char out[NAME_MAX_BYTES]);
};

static const struct group groups[] = {
    {"fuse", "Time from reading a request of the kernel to its reply.",
     "Requests of the kernel that got their reply, by outcome.",
     offsetof(struct shm_stats, fuse_ended), SHM_STATS_FUSE_OPS, false, fuse_label},
    {"connector", "Time from the head of a request of the connector to the end of its answer.",
     "Requests of the connector that ended, by outcome.", offsetof(struct shm_stats, http_ended),
     SHM_HTTP_KINDS, true, http_label},
    {"s3", "Time from asking for a request to S3 to its result, all attempts included.",
     "Requests to S3 that ended, by outcome.", offsetof(struct shm_stats, s3_ended),
     SHM_STATS_S3_OPS, true, s3_label},
};

static void sum_up(struct worker *w, const struct group *g, struct row rows[KINDS_MAX])
{
    for (unsigned k = 0; k < g->n; k++) {
        rows[k] = (struct row){0};
        g->label(k, rows[k].label);
        for (uint32_t i = 0; i < w->shm->header->sizes.workers; i++) {
            const char *stats = (const char *)shm_stats_of(w->shm, i);

            shm_timing_sum(&rows[k].t, (const struct shm_timing *)(stats + g->offset) + k);
        }
    }
}

static void put_durations(struct exposition *x, const struct group *g, const struct row *rows)
{
    char name[64];

    snprintf(name, sizeof(name), "%s_request_duration_seconds", g->name);
    exposition_family(x, EXPOSITION_HISTOGRAM, name, g->durations);
    for (unsigned k = 0; k < g->n; k++) {
        if (*rows[k].label && shm_timing_count(&rows[k].t))
            exposition_histogram(x, name, rows[k].label, &rows[k].t);
    }
}

static void put_outcomes(struct exposition *x, const struct group *g, const struct row *rows)
{
    char name[64], labels[3 * NAME_MAX_BYTES];

    snprintf(name, sizeof(name), "%s_requests_total", g->name);
    exposition_family(x, EXPOSITION_COUNTER, name, g->outcomes);
    for (unsigned k = 0; k < g->n; k++) {
        if (!*rows[k].label || (!g->from_start && !shm_timing_count(&rows[k].t)))
            continue;
        for (unsigned i = 0; i < SHM_OUTCOMES; i++) {
            snprintf(labels, sizeof(labels), "%.31s,outcome=\"%s\"", rows[k].label,
                     shm_outcome_names[i]);
            exposition_sample(x, name, labels, rows[k].t.outcome[i]);
        }
    }
}

void metrics_requests(struct exposition *x, struct worker *w)
{
    struct row rows[KINDS_MAX];

    for (size_t i = 0; i < sizeof(groups) / sizeof(groups[0]); i++) {
        sum_up(w, &groups[i], rows);
        put_durations(x, &groups[i], rows);
        put_outcomes(x, &groups[i], rows);
    }
}
