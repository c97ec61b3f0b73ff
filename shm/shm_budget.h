/* The memory budget: the sizes of all tables for which the whole daemon stays within its limit. */
#ifndef SHM_SHM_BUDGET_H
#define SHM_SHM_BUDGET_H

#include "shm/shm_segment.h"

#define SHM_BUDGET_DEFAULT (UINT64_C(128) << 20)
#define SHM_BUDGET_MIN (UINT64_C(48) << 20)

/* The memory limit of this process's cgroup in bytes (v2 memory.max, v1 memory.limit_in_bytes, the
 * lowest on the way to the root), 0 if there is none. `root` is "/" (tests use another). */
uint64_t shm_budget_cgroup_limit(const char *root);

/* The CPU quota of the cgroup (v2 cpu.max, v1 cpu.cfs_quota_us, the lowest on the way to the root),
 * rounded up to whole CPUs; 0 if there is none. */
uint32_t shm_budget_cgroup_cpus(const char *root);

/* Divides `limit` bytes (0 = SHM_BUDGET_DEFAULT) among the tables for `workers` workers, `sessions`
 * sessions and `baselines` baselines (0 without compare-and-set). 0, or -EINVAL with *err if it is
 * below SHM_BUDGET_MIN plus what the workers need. */
must_use int shm_budget_sizes(uint64_t limit, uint32_t workers, uint32_t sessions,
                              uint32_t baselines, struct shm_sizes *ret, struct err *err);

#endif
