/* The memory budget: where the limit comes from (cgroup v1 and v2), and how it is divided. */
#include "shm/shm_budget.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "shm/shm_handle.h"
#include "shm/shm_journal.h"
#include "shm/shm_layout.h"

#define CGROUP_TEXT_MAX 8192
#define DIR_MAX 1024
#define PATH_CAP (DIR_MAX + 64)
#define NO_LIMIT (UINT64_C(1) << 60) /* v1 writes a huge number for "none" */

/* Fixed parts of a worker: code, heap, curl, TLS. Measured: bench note in ARCHITECTURE.md. */
#define MIB (UINT64_C(1) << 20)
#define WORKER_HEAP (6 * MIB)
#define DAEMON_HEAP (6 * MIB)
#define PAYLOAD (1u << 20)
#define REST_MIN (24 * MIB)   /* nodes, blocks and free memory: the useful minimum */
#define LEFT_MAX (2048 * MIB) /* more does not make anything faster */
#define NODES_MIN 16384u
#define NODES_MAX (1u << 20)
#define UPLOAD_TOUCHED 8192 /* what an upload of 50 parts touches of its slot: the rest is a hole */
/* A node (288), its hash heads, its share of the long names. (That of the longest ones would be 32
 * more: they are a hole as long as there are none.) */
#define NODE_BYTES 344

static uint64_t budget_least(uint64_t a, uint64_t b)
{
    return a && (!b || a < b) ? a : b;
}

/* A file with one number; "max", "-1" and anything else is 0. */
static uint64_t read_number(const char *path)
{
    char text[64];
    char *end;
    unsigned long long v;

    if (fd_read_file(path, text, sizeof(text)) <= 0)
        return 0;
    v = strtoull(text, &end, 10);
    return end == text || v >= NO_LIMIT ? 0 : v;
}

/* memory.max (v2) or memory.limit_in_bytes (v1) of one group, 0 = none. */
static uint64_t memory_v2(const char *dir)
{
    char path[PATH_CAP];

    snprintf(path, sizeof(path), "%.*s/memory.max", DIR_MAX, dir);
    return read_number(path);
}

static uint64_t memory_v1(const char *dir)
{
    char path[PATH_CAP];

    snprintf(path, sizeof(path), "%.*s/memory.limit_in_bytes", DIR_MAX, dir);
    return read_number(path);
}

/* CPUs of one group, rounded up, 0 = no quota. */
static uint64_t cpus(unsigned long long quota, unsigned long long period)
{
    if (!quota || !period || quota >= NO_LIMIT)
        return 0;
    return quota / period + (quota % period != 0);
}

static uint64_t cpus_v2(const char *dir)
{
    char path[PATH_CAP], text[64];
    unsigned long long quota, period;

    snprintf(path, sizeof(path), "%.*s/cpu.max", DIR_MAX, dir);
    if (fd_read_file(path, text, sizeof(text)) <= 0 ||
        sscanf(text, "%llu %llu", &quota, &period) != 2)
        return 0;
    return cpus(quota, period);
}

static uint64_t cpus_v1(const char *dir)
{
    char quota[PATH_CAP], period[PATH_CAP];

    snprintf(quota, sizeof(quota), "%.*s/cpu.cfs_quota_us", DIR_MAX, dir);
    snprintf(period, sizeof(period), "%.*s/cpu.cfs_period_us", DIR_MAX, dir);
    return cpus(read_number(quota), read_number(period));
}

/* True if `names` ("cpu,cpuacct") contains this one; for v2 both are "". */
static bool has_controller(const char *names, const char *one)
{
    size_t len = strlen(one);

    for (const char *at = names; at; at = strchr(at, ',')) {
        at += *at == ',';
        if (strncmp(at, one, len) == 0 && (at[len] == ',' || !at[len]))
            return true;
    }
    return false;
}

/* Finds this process's path in a hierarchy: the line with this controller ("" = v2) of
 * /proc/self/cgroup. */
static bool cgroup_path(const char *root, const char *controller, char *out, size_t cap)
{
    char file[PATH_CAP], text[CGROUP_TEXT_MAX];
    char *line, *save = NULL;

    snprintf(file, sizeof(file), "%.*s/proc/self/cgroup", DIR_MAX, root);
    if (fd_read_file(file, text, sizeof(text)) <= 0)
        return false;
    for (line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        char *names = strchr(line, ':');
        char *path = names ? strchr(names + 1, ':') : NULL;

        if (!path)
            continue;
        *path++ = '\0';
        names++;
        if (has_controller(names, controller)) {
            snprintf(out, cap, "%s", path);
            return true;
        }
    }
    return false;
}

/* The lowest value that `read` returns from the process's own group up to the root of the mount. In
 * a container the path may not exist below the mount (it is the host's path): then only the root of
 * the mount counts. */
static uint64_t walk_up(const char *root, const char *controller, const char *mount,
                        uint64_t (*read)(const char *dir))
{
    char path[PATH_CAP], dir[PATH_CAP];
    uint64_t v = 0;
    char *slash;

    if (!cgroup_path(root, controller, path, sizeof(path)))
        return 0;
    do {
        if (snprintf(dir, sizeof(dir), "%s%s%s", root, mount, path) <= DIR_MAX)
            v = budget_least(read(dir), v);
        slash = strrchr(path, '/');
        if (slash)
            *slash = '\0';
    } while (slash);
    return v;
}

uint64_t shm_budget_cgroup_limit(const char *root)
{
    uint64_t v2 = walk_up(root, "", "/sys/fs/cgroup", memory_v2);
    uint64_t v1 = walk_up(root, "memory", "/sys/fs/cgroup/memory", memory_v1);

    return budget_least(v2, v1);
}

uint32_t shm_budget_cgroup_cpus(const char *root)
{
    uint64_t v2 = walk_up(root, "", "/sys/fs/cgroup", cpus_v2);
    uint64_t v1 = walk_up(root, "cpu", "/sys/fs/cgroup/cpu", cpus_v1);
    uint64_t n = budget_least(v2, v1);

    return n > UINT32_MAX ? UINT32_MAX : (uint32_t)n;
}

/* Bytes that do not depend on the budget. */
static uint64_t fixed_bytes(const struct shm_sizes *s)
{
    uint64_t n = DAEMON_HEAP + s->workers * WORKER_HEAP;

    for (int i = 0; i < SHM_TABLES; i++) {
        if (i != SHM_TABLE_NODE && i != SHM_TABLE_BLOCK && i != SHM_TABLE_BLOCK_DATA &&
            i != SHM_TABLE_UPLOAD && i != SHM_TABLE_HANDLE && i != SHM_TABLE_ARENA)
            n += shm_layout[i].size(s);
    }
    return n + s->sessions * (uint64_t)UPLOAD_TOUCHED + shm_handle_filled(s) +
           s->workers * (uint64_t)shm_arena_filled(s);
}

static uint32_t nodes_for(uint64_t bytes)
{
    uint32_t nodes = NODES_MIN;

    while (nodes < NODES_MAX && (uint64_t)nodes * 2 * NODE_BYTES <= bytes)
        nodes *= 2;
    return nodes;
}

/* Half of what is left after the fixed parts goes to blocks, a quarter to nodes; the rest stays
 * free for spool memory, page tables and kernel memory. */
int shm_budget_sizes(uint64_t limit, uint32_t workers, uint32_t sessions, uint32_t baselines,
                     struct shm_sizes *ret, struct err *err)
{
    struct shm_sizes s = {.workers = workers,
                          .handles = 8192,
                          .sessions = sessions,
                          .records = 500,
                          .baselines = baselines,
                          .payload = PAYLOAD,
                          .page = (uint32_t)sysconf(_SC_PAGESIZE)};
    uint64_t fixed = fixed_bytes(&s), needed = fixed + REST_MIN, left;

    if (needed < SHM_BUDGET_MIN)
        needed = SHM_BUDGET_MIN;
    if (!limit)
        limit = SHM_BUDGET_DEFAULT;
    if (limit < needed)
        return err_set(err, EINVAL,
                       "memory limit of %llu MiB is too small for %u workers: "
                       "at least %llu MiB are needed (memory.limit, "
                       "workers.count)",
                       (unsigned long long)(limit >> 20), workers,
                       (unsigned long long)((needed + MIB - 1) / MIB));
    left = limit - fixed < LEFT_MAX ? limit - fixed : LEFT_MAX;
    s.nodes = nodes_for(left / 4);
    s.long_names = s.nodes / 8;
    s.longest_names = s.nodes / 32;
    s.blocks = (uint32_t)(left / 2 / SHM_BLOCK_SIZE);
    *ret = s;
    return 0;
}
