/* See limits.h. */
#include "daemon/limits.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "daemon/setup.h"
#include "fuse/fuse_timeout.h"
#include "workers/op/spool.h"

#define MIB (1u << 20)

static unsigned long long cache_mib(const struct shm_sizes *s)
{
    return (uint64_t)s->blocks * SHM_BLOCK_SIZE / MIB;
}

void limits_title(const struct conf *conf, const struct shm_sizes *s, char *out, size_t cap)
{
    const char *from;
    uint64_t limit;

    setup_memory_limit(conf, &limit, &from);
    snprintf(out, cap, " memory=%lluMi cache=%lluMi names=%u", (unsigned long long)limit / MIB,
             cache_mib(s), s->nodes);
}

static void explain_memory(const struct conf *conf, const struct shm_sizes *s, FILE *out)
{
    const char *from;
    uint64_t limit;

    setup_memory_limit(conf, &limit, &from);
    fprintf(out,
            "memory: %lluMi (%s) for %u workers: %lluMi of cached data, %u names, %lluMi of "
            "unpublished bytes before they go to disk, %u files open for writing",
            (unsigned long long)limit / MIB, from, s->workers, cache_mib(s), s->nodes,
            cache_mib(s) / SPOOL_SHARE, s->sessions);
    if (s->baselines)
        fprintf(out, ", %u baselines", s->baselines);
    fputc('\n', out);
}

static void explain_time(const struct conf *conf, FILE *out)
{
    struct fuse_timeouts t;
    uint64_t limit_ns;

    fuse_timeout_read(&t);
    limit_ns = setup_request_limit(conf, &t);
    if (limit_ns)
        fprintf(out, "requests of the mount are answered within: %llus",
                (unsigned long long)(limit_ns / NS_PER_S));
    else
        fprintf(out, "requests of the mount are answered within: no limit%s",
                t.known ? "" : " (this kernel has none)");
    if (t.max)
        fprintf(out, ", as fs.fuse.max_request_timeout is %us", t.max);
    if (t.def)
        fprintf(out, ", fs.fuse.default_request_timeout is %us", t.def);
    fputc('\n', out);
}

void limits_explain(const struct conf *conf, const struct shm_sizes *s, FILE *out)
{
    explain_memory(conf, s, out);
    if (*conf->mount.path)
        explain_time(conf, out);
}
