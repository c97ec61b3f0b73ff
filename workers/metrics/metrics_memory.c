/* Memory and CPU time. Each worker notes its own once a second; what they share is counted once:
 * the segment and the spool files, whose pages the kernel counts for us. */
#include "workers/metrics/metrics_families.h"

#include <stddef.h>
#include <stdio.h>
#include <sys/stat.h>

#define STAT_BLOCK 512u /* bytes; what st_blocks counts */
#define SLOT_LABEL_MAX 24

/* Bytes that a file has in memory or on its disk. */
static uint64_t allocated(int fd)
{
    struct stat st;

    return fd >= 0 && fstat(fd, &st) == 0 ? (uint64_t)st.st_blocks * STAT_BLOCK : 0;
}

static void put_shared(struct exposition *x, struct worker *w)
{
    uint64_t spool = 0, files = 0;

    for (uint32_t i = 0; i < shm_session_used(w->shm); i++) {
        spool += allocated(w->env->spool[i].mem_fd);
        files += allocated(w->env->spool[i].file_fd);
    }
    exposition_family(x, EXPOSITION_GAUGE, "shared_memory_bytes",
                      "Memory in use that the processes share: tables with the pool, and the part "
                      "of files being written that is in memory.");
    exposition_sample(x, "shared_memory_bytes", "kind=\"segment\"", allocated(w->shm->fd));
    exposition_sample(x, "shared_memory_bytes", "kind=\"spool\"", spool);
    exposition_one(x, EXPOSITION_GAUGE, "spool_file_bytes",
                   "Disk space of buffer.dir in use by files being written.", files);
}

/* A member of struct shm_process, of each worker. */
static void put_each(struct exposition *x, struct worker *w, const char *name, size_t offset,
                     void (*put)(struct exposition *x, const char *name, const char *labels,
                                 uint64_t value))
{
    char label[SLOT_LABEL_MAX];

    for (uint32_t i = 0; i < w->shm->header->sizes.workers; i++) {
        const char *process = (const char *)&shm_stats_of(w->shm, i)->process;

        snprintf(label, sizeof(label), "worker=\"%u\"", i);
        put(x, name, label,
            __atomic_load_n((const uint64_t *)(process + offset), __ATOMIC_RELAXED));
    }
}

void metrics_memory(struct exposition *x, struct worker *w)
{
    put_shared(x, w);
    exposition_family(x, EXPOSITION_GAUGE, "worker_private_bytes",
                      "Memory that a worker shares with nobody.");
    put_each(x, w, "worker_private_bytes", offsetof(struct shm_process, anon), exposition_sample);
    exposition_family(x, EXPOSITION_GAUGE, "worker_resident_bytes",
                      "Resident memory of a worker, with what it shares.");
    put_each(x, w, "worker_resident_bytes", offsetof(struct shm_process, resident),
             exposition_sample);
    exposition_family(x, EXPOSITION_COUNTER, "worker_cpu_seconds_total",
                      "CPU time of a worker and its predecessors.");
    put_each(x, w, "worker_cpu_seconds_total", offsetof(struct shm_process, cpu_ns),
             exposition_seconds);
}
