/* The memory budget. Where the limit comes from (cgroup v1 and v2), and what it is spent on. */
#include "shm/shm_budget.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"

#define CGROUP_TEXT_MAX 8192
#define NO_LIMIT (UINT64_C(1) << 60) /* v1 says "none" with a huge number */

/* Fixed parts of a worker: code, heap, curl, TLS. Measured: bench note in ARCHITECTURE.md. */
#define WORKER_HEAP (UINT64_C(6) << 20)
#define DAEMON_HEAP (UINT64_C(6) << 20)
#define PAYLOAD (UINT32_C(1) << 20)

static uint64_t least(uint64_t a, uint64_t b)
{
    return a && (!b || a < b) ? a : b;
}

/* A file of one number; "max" and anything else is 0. */
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

/* Finds this process's path in a hierarchy: the line with this controller ("" = v2) of /proc/self/cgroup. */
static bool cgroup_path(const char *root, const char *controller, char *out,
                        size_t cap)
{
    char file[512], text[CGROUP_TEXT_MAX];
    char *line, *save = NULL;

    snprintf(file, sizeof(file), "%s/proc/self/cgroup", root);
    if (fd_read_file(file, text, sizeof(text)) <= 0)
        return false;
    for (line = strtok_r(text, "\n", &save); line;
         line = strtok_r(NULL, "\n", &save)) {
        char *names = strchr(line, ':');
        char *path = names ? strchr(names + 1, ':') : NULL;

        if (!path)
            continue;
        *path++ = '\0';
        names++;
        if (strcmp(names, controller) == 0) {
            snprintf(out, cap, "%s", path);
            return true;
        }
    }
    return false;
}

/* The least value of `file` from the process's own group up to the root. In a container the path may not
 * exist below the mount (it is the host's): then only the root of the mount counts. */
static uint64_t walk_up(const char *root, const char *mount, const char *path,
                        const char *file)
{
    char dir[1024], full[2048];
    uint64_t v = 0;

    snprintf(dir, sizeof(dir), "%s", strcmp(path, "/") == 0 ? "" : path);
    for (;;) {
        char *slash;

        snprintf(full, sizeof(full), "%s%s%s/%s", root, mount, dir, file);
        v = least(read_number(full), v);
        slash = strrchr(dir, '/');
        if (!slash)
            return v;
        *slash = '\0';
    }
}

uint64_t shm_budget_cgroup_limit(const char *root)
{
    char path[1024];
    uint64_t v = 0;

    if (cgroup_path(root, "", path, sizeof(path)))
        v = walk_up(root, "/sys/fs/cgroup", path, "memory.max");
    if (cgroup_path(root, "memory", path, sizeof(path)))
        v = least(walk_up(root, "/sys/fs/cgroup/memory", path,
                          "memory.limit_in_bytes"),
                  v);
    return v;
}

static uint32_t quota_v2(const char *root)
{
    char path[1024], file[2048], text[64];
    unsigned long long quota, period;

    if (!cgroup_path(root, "", path, sizeof(path)))
        return 0;
    snprintf(file, sizeof(file), "%s/sys/fs/cgroup%s/cpu.max", root, path);
    if (fd_read_file(file, text, sizeof(text)) <= 0) {
        snprintf(file, sizeof(file), "%s/sys/fs/cgroup/cpu.max", root);
        if (fd_read_file(file, text, sizeof(text)) <= 0)
            return 0;
    }
    if (sscanf(text, "%llu %llu", &quota, &period) != 2 || !period)
        return 0;
    return (uint32_t)((quota + period - 1) / period);
}

static uint32_t quota_v1(const char *root)
{
    char path[1024];
    const char *name = "cpu,cpuacct";
    uint64_t quota, period;

    if (!cgroup_path(root, name, path, sizeof(path))) {
        name = "cpu";
        if (!cgroup_path(root, name, path, sizeof(path)))
            return 0;
    }
    quota = walk_up(root, "/sys/fs/cgroup/cpu", path, "cpu.cfs_quota_us");
    period = walk_up(root, "/sys/fs/cgroup/cpu", path, "cpu.cfs_period_us");
    return quota && period ? (uint32_t)((quota + period - 1) / period) : 0;
}

uint32_t shm_budget_cgroup_cpus(const char *root)
{
    uint32_t v2 = quota_v2(root);

    return v2 ? v2 : quota_v1(root);
}

/* Half of what is left after the fixed parts goes to blocks, a quarter to nodes; the rest stays free for spool
 * memory, page tables and the kernel's own. */
int shm_budget_sizes(uint64_t limit, uint32_t workers, uint32_t sessions,
                     struct shm_sizes *ret, struct err *err)
{
    uint64_t fixed = DAEMON_HEAP + workers * (WORKER_HEAP + PAYLOAD);
    uint64_t left, nodes;

    if (!limit)
        limit = SHM_BUDGET_DEFAULT;
    if (limit < SHM_BUDGET_MIN || limit < fixed + (UINT64_C(24) << 20))
        return err_set(err, EINVAL,
                       "memory limit of %llu MiB is too small for %u workers: "
                       "at least %llu MiB are needed (memory.limit, "
                       "workers.count)",
                       (unsigned long long)(limit >> 20), workers,
                       (unsigned long long)((fixed >> 20) + 24));
    left = limit - fixed;
    if (left > UINT64_C(2) << 30)
        left = UINT64_C(2) << 30;
    for (nodes = 16384; nodes * 2 * 320 <= left / 4 && nodes < (1u << 20);)
        nodes *= 2;
    *ret = (struct shm_sizes){
        .workers = workers,
        .nodes = (uint32_t)nodes,
        .long_names = (uint32_t)(nodes / 16),
        .handles = 8192,
        .sessions = sessions,
        .records = 500,
        .blocks = (uint32_t)(left / 2 / SHM_BLOCK_SIZE),
        .payload = PAYLOAD,
    };
    return 0;
}
