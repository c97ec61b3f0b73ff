/* Where the memory limit comes from, and that all tables together stay below it. cgroup files lie
 * in a temporary root. */
#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shm/shm_budget.h"
#include "shm/shm_handle.h"
#include "shm/shm_journal.h"
#include "shm/shm_layout.h"
#include "tests/shm/fixture.h"

#define MIB (UINT64_C(1) << 20)

/* ---- the limit ---- */

static int root_setup(void **state)
{
    char *dir = strdup("/tmp/stateproxy-test-XXXXXX");

    *state = mkdtemp(dir);
    return *state ? 0 : -1;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st;
    (void)type;
    (void)at;
    return remove(path);
}

static int root_teardown(void **state)
{
    nftw(*state, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    free(*state);
    return 0;
}

/* Writes a file below the root, with the directories on its way. */
static void put(const char *root, const char *path, const char *text)
{
    char full[1024];
    FILE *f;

    snprintf(full, sizeof(full), "%s%s", root, path);
    for (char *at = full + strlen(root) + 1; (at = strchr(at, '/')); at++) {
        *at = '\0';
        mkdir(full, 0700);
        *at = '/';
    }
    f = fopen(full, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void test_no_cgroup(void **state)
{
    assert_int_equal(shm_budget_cgroup_limit(*state), 0);
    assert_int_equal(shm_budget_cgroup_cpus(*state), 0);
}

static void test_v2(void **state)
{
    const char *root = *state;

    put(root, "/proc/self/cgroup", "0::/pods/one\n");
    assert_int_equal(shm_budget_cgroup_limit(root), 0);
    put(root, "/sys/fs/cgroup/pods/one/memory.max", "134217728\n");
    put(root, "/sys/fs/cgroup/pods/one/cpu.max", "150000 100000\n");
    assert_int_equal(shm_budget_cgroup_limit(root), 134217728);
    assert_int_equal(shm_budget_cgroup_cpus(root), 2);
    put(root, "/sys/fs/cgroup/pods/memory.max", "67108864\n"); /* the least counts */
    put(root, "/sys/fs/cgroup/pods/cpu.max", "50000 100000\n");
    assert_int_equal(shm_budget_cgroup_limit(root), 67108864);
    assert_int_equal(shm_budget_cgroup_cpus(root), 1);
    put(root, "/sys/fs/cgroup/pods/memory.max", "max\n");
    put(root, "/sys/fs/cgroup/pods/cpu.max", "max 100000\n");
    assert_int_equal(shm_budget_cgroup_limit(root), 134217728);
    assert_int_equal(shm_budget_cgroup_cpus(root), 2);
}

/* A container with a cgroup namespace: its own group is the root of the mount. */
static void test_v2_in_namespace(void **state)
{
    const char *root = *state;

    put(root, "/proc/self/cgroup", "0::/\n");
    put(root, "/sys/fs/cgroup/memory.max", "268435456\n");
    put(root, "/sys/fs/cgroup/cpu.max", "400000 100000\n");
    assert_int_equal(shm_budget_cgroup_limit(root), 268435456);
    assert_int_equal(shm_budget_cgroup_cpus(root), 4);
}

/* A container without one: the path is the host's and does not exist here. */
static void test_path_of_the_host(void **state)
{
    const char *root = *state;

    put(root, "/proc/self/cgroup", "0::/kubepods.slice/pod1.slice/cri-1.scope\n");
    put(root, "/sys/fs/cgroup/memory.max", "268435456\n");
    put(root, "/sys/fs/cgroup/cpu.max", "100000 100000\n");
    assert_int_equal(shm_budget_cgroup_limit(root), 268435456);
    assert_int_equal(shm_budget_cgroup_cpus(root), 1);
}

/* Moved out of the root of its namespace. */
static void test_path_above_the_root(void **state)
{
    const char *root = *state;

    put(root, "/proc/self/cgroup", "0::/../../other\n");
    put(root, "/sys/fs/cgroup/memory.max", "268435456\n");
    assert_int_equal(shm_budget_cgroup_limit(root), 268435456);
}

static void test_v1(void **state)
{
    const char *root = *state;

    put(root, "/proc/self/cgroup",
        "12:pids:/docker/1\n4:memory:/docker/1\n3:cpu,cpuacct:/docker/1\n"
        "1:name=systemd:/docker/1\n");
    put(root, "/sys/fs/cgroup/memory/docker/1/memory.limit_in_bytes", "104857600\n");
    put(root, "/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
    put(root, "/sys/fs/cgroup/cpu/docker/1/cpu.cfs_quota_us", "250000\n");
    put(root, "/sys/fs/cgroup/cpu/docker/1/cpu.cfs_period_us", "100000\n");
    put(root, "/sys/fs/cgroup/cpu/docker/cpu.cfs_quota_us", "-1\n");
    put(root, "/sys/fs/cgroup/cpu/docker/cpu.cfs_period_us", "50000\n");
    assert_int_equal(shm_budget_cgroup_limit(root), 104857600);
    assert_int_equal(shm_budget_cgroup_cpus(root), 3); /* of one group, not mixed */
}

static void test_v1_without_limit(void **state)
{
    const char *root = *state;

    put(root, "/proc/self/cgroup", "4:memory:/\n3:cpu:/\n");
    put(root, "/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
    put(root, "/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n");
    put(root, "/sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
    assert_int_equal(shm_budget_cgroup_limit(root), 0);
    assert_int_equal(shm_budget_cgroup_cpus(root), 0);
}

static void test_v1_joined_controllers(void **state)
{
    const char *root = *state;

    put(root, "/proc/self/cgroup", "2:cpuset,cpu,memory:/box\n");
    put(root, "/sys/fs/cgroup/memory/box/memory.limit_in_bytes", "104857600\n");
    put(root, "/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "200000\n");
    put(root, "/sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
    assert_int_equal(shm_budget_cgroup_limit(root), 104857600);
    assert_int_equal(shm_budget_cgroup_cpus(root), 2);
}

static void test_hybrid(void **state)
{
    const char *root = *state;

    put(root, "/proc/self/cgroup", "4:memory:/a\n1:name=systemd:/b\n0::/b\n");
    put(root, "/sys/fs/cgroup/memory/a/memory.limit_in_bytes", "104857600\n");
    put(root, "/sys/fs/cgroup/memory/b/memory.limit_in_bytes", "1048576\n");
    put(root, "/sys/fs/cgroup/unified/b/cgroup.procs", "1\n");
    assert_int_equal(shm_budget_cgroup_limit(root), 104857600);
}

static void test_nonsense(void **state)
{
    const char *root = *state;
    char text[6000], *at = text;

    put(root, "/proc/self/cgroup", "\n:\n0:\n::\nx\n0::/a\n");
    put(root, "/sys/fs/cgroup/a/memory.max", "many\n");
    put(root, "/sys/fs/cgroup/a/cpu.max", "1 0\n");
    assert_int_equal(shm_budget_cgroup_limit(root), 0);
    assert_int_equal(shm_budget_cgroup_cpus(root), 0);
    put(root, "/sys/fs/cgroup/a/cpu.max", "100000\n");
    assert_int_equal(shm_budget_cgroup_cpus(root), 0);
    put(root, "/sys/fs/cgroup/a/memory.max", "");
    assert_int_equal(shm_budget_cgroup_limit(root), 0);

    /* A path longer than any: the root of the mount still counts. */
    at += sprintf(at, "0::");
    for (int i = 0; i < 250; i++)
        at += sprintf(at, "/a-long-directory");
    put(root, "/proc/self/cgroup", text);
    put(root, "/sys/fs/cgroup/memory.max", "268435456\n");
    assert_int_equal(shm_budget_cgroup_limit(root), 268435456);
}

static void test_this_machine(void **state)
{
    (void)state;
    print_message("  limit %llu, cpus %u\n", (unsigned long long)shm_budget_cgroup_limit(""),
                  shm_budget_cgroup_cpus(""));
}

/* ---- the sizes ---- */

#define BASELINES 4096 /* as with compare-and-set */

static uint64_t whole_pages(const struct shm_sizes *s, uint64_t n)
{
    return (n + s->page - 1) & ~(uint64_t)(s->page - 1);
}

/* Without what stays a hole: nearly all of the uploads, and places for the longest names, except
 * those of nodes. */
static uint64_t segment_bytes(const struct shm_sizes *s)
{
    uint64_t n = s->page;

    for (int i = 0; i < SHM_TABLES; i++) {
        if (i == SHM_TABLE_HANDLE)
            n += whole_pages(s, shm_handle_filled(s));
        else if (i == SHM_TABLE_ARENA)
            n += s->workers * (uint64_t)shm_arena_filled(s);
        else if (i != SHM_TABLE_UPLOAD)
            n += whole_pages(s, shm_layout[i].size(s));
    }
    return n;
}

static void default_fits(uint32_t baselines)
{
    struct shm_sizes s;
    struct err err = {0};

    assert_int_equal(shm_budget_sizes(0, 2, 128, baselines, &s, &err), 0);
    assert_int_equal(s.baselines, baselines);
    assert_int_equal(s.workers, 2);
    assert_int_equal(s.sessions, 128);
    assert_true(s.nodes >= 65536); /* the smallest pod holds that many */
    /* 6 MiB of heap for each process beside the segment; something is left for spool files in
     * memory. */
    assert_true(segment_bytes(&s) + 3 * 6 * MIB + 16 * MIB <= SHM_BUDGET_DEFAULT);
    print_message("  2 workers in 128 MiB: segment %.1f MiB, %u nodes, %u blocks\n",
                  (double)segment_bytes(&s) / (double)MIB, s.nodes, s.blocks);
}

static void test_default_fits(void **state)
{
    (void)state;
    default_fits(0);
    default_fits(BASELINES); /* and the conflicts, which come with them */
}

static void all_limits_fit(uint32_t baselines)
{
    for (uint64_t limit = 0; limit < 8192 * MIB; limit += limit < 512 * MIB ? MIB : 97 * MIB) {
        for (uint32_t workers = 1; workers <= SHM_WORKERS_MAX; workers++) {
            struct shm_sizes s;
            struct err err = {0};
            uint64_t heap = (workers + 1) * 6 * MIB;
            int r = shm_budget_sizes(limit, workers, 256, baselines, &s, &err);

            if (r < 0) {
                assert_int_equal(r, -EINVAL);
                continue;
            }
            assert_true(s.blocks >= 64);
            assert_true(s.nodes >= 16384 && s.long_names >= 1024 && s.longest_names >= 512);
            assert_true(segment_bytes(&s) + heap <= (limit ? limit : SHM_BUDGET_DEFAULT));
        }
    }
}

static void test_all_limits_fit(void **state)
{
    (void)state;
    all_limits_fit(0);
    all_limits_fit(BASELINES);
}

static void test_more_gives_more(void **state)
{
    struct shm_sizes small, large, huge;

    (void)state;
    assert_int_equal(shm_budget_sizes(128 * MIB, 2, 64, 0, &small, NULL), 0);
    assert_int_equal(shm_budget_sizes(1024 * MIB, 2, 64, 0, &large, NULL), 0);
    assert_int_equal(shm_budget_sizes(UINT64_MAX, 2, 64, 0, &huge, NULL), 0);
    assert_true(large.nodes > small.nodes && large.blocks > small.blocks);
    assert_true(segment_bytes(&huge) <= 2048 * MIB);
}

/* What the message says is needed is enough, and a byte less is not. */
static void test_too_small(void **state)
{
    (void)state;
    for (uint32_t workers = 1; workers <= SHM_WORKERS_MAX; workers++) {
        struct shm_sizes s;
        struct err err = {0};
        unsigned long long needed = 0;
        const char *at;

        assert_int_equal(shm_budget_sizes(MIB, workers, 64, 0, &s, &err), -EINVAL);
        at = strstr(err.text, "at least ");
        assert_non_null(at);
        assert_int_equal(sscanf(at, "at least %llu MiB", &needed), 1);
        assert_int_equal(shm_budget_sizes(needed * MIB, workers, 64, 0, &s, &err), 0);
        assert_int_equal(shm_budget_sizes((needed - 1) * MIB, workers, 64, 0, &s, &err), -EINVAL);
        assert_true(needed * MIB >= SHM_BUDGET_MIN);
    }
}

static void test_segment_can_be_made(void **state)
{
    struct shm_sizes s;
    struct shm *shm;

    (void)state;
    assert_int_equal(shm_budget_sizes(0, 4, 128, 0, &s, NULL), 0);
    shm = fx_new(&s);
    assert_true(shm->size >= segment_bytes(&s));
    fx_check(shm);
    shm_close(shm);
}

#define ROOT_TEST(fn) cmocka_unit_test_setup_teardown(fn, root_setup, root_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ROOT_TEST(test_no_cgroup),
        ROOT_TEST(test_v2),
        ROOT_TEST(test_v2_in_namespace),
        ROOT_TEST(test_path_of_the_host),
        ROOT_TEST(test_path_above_the_root),
        ROOT_TEST(test_v1),
        ROOT_TEST(test_v1_without_limit),
        ROOT_TEST(test_v1_joined_controllers),
        ROOT_TEST(test_hybrid),
        ROOT_TEST(test_nonsense),
        cmocka_unit_test(test_this_machine),
        cmocka_unit_test(test_default_fits),
        cmocka_unit_test(test_all_limits_fit),
        cmocka_unit_test(test_more_gives_more),
        cmocka_unit_test(test_too_small),
        cmocka_unit_test(test_segment_can_be_made),
    };

    return cmocka_run_group_tests_name("shm_budget", tests, NULL, NULL);
}
