/* What the segment's locks cost: "name<tab>nanoseconds" lines. Each figure is the best of a few
 * rounds, so that other load on the machine counts little. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "shm/shm_block.h"
#include "shm/shm_node.h"
#include "shm/shm_segment.h"

#define ROUNDS 7
#define TIMES 300000u
#define NAMES 1000u
#define BLOCKS 256u

static struct shm *shm;
static char name[NAMES][16];

static void empty_section(uint32_t i)
{
    (void)i;
    shm_lock(shm, shm->meta);
    shm_unlock(shm, shm->meta);
}

static uint32_t find(uint32_t i)
{
    const char *n = name[i % NAMES];

    return shm_node_find(shm, SHM_ROOT, n, strlen(n));
}

static void lookup_hit(uint32_t i)
{
    uint32_t idx;

    shm_lock(shm, shm->meta);
    idx = find(i);
    shm_unlock(shm, shm->meta);
    if (idx == SHM_NIL)
        abort();
}

static void lookup_counted(uint32_t i)
{
    shm_lock(shm, shm->meta);
    shm_node_ref(shm, find(i), 1);
    shm_unlock(shm, shm->meta);
}

static void block_hit(uint32_t i)
{
    struct shm_block_key key = {1, 1, i % BLOCKS};
    uint32_t idx;

    if (shm_block_get(shm, key, 0, &idx) != SHM_BLOCK_HIT)
        abort();
    shm_block_unpin(shm, idx, 0);
}

static double once(void (*step)(uint32_t))
{
    uint64_t start = clock_mono_ns();

    for (uint32_t i = 0; i < TIMES; i++)
        step(i);
    return (double)(clock_mono_ns() - start) / TIMES;
}

/* Of n processes at the same time, until the last is through: per section of all together. */
static double at_once(void (*step)(uint32_t), int n)
{
    uint64_t start = clock_mono_ns();

    for (int i = 0; i < n; i++) {
        pid_t pid = fork();

        if (pid < 0)
            abort();
        if (pid == 0) {
            once(step);
            _exit(0);
        }
    }
    for (int i = 0; i < n; i++) {
        int status;

        if (wait(&status) < 0 || status != 0)
            abort();
    }
    return (double)(clock_mono_ns() - start) / TIMES / n;
}

static void show(const char *what, void (*step)(uint32_t), int n)
{
    double best = 1e9;

    for (int i = 0; i < ROUNDS; i++) {
        double ns = n == 1 ? once(step) : at_once(step, n);

        best = ns < best ? ns : best;
    }
    printf("%s\t%.1f\n", what, best);
}

static void fill(void)
{
    struct shm_version v = {.size = 1,
                            .etag = "\"e\"",
                            .mode = SHM_MODE_UNSET,
                            .uid = SHM_MODE_UNSET,
                            .gid = SHM_MODE_UNSET};

    for (uint32_t i = 0; i < NAMES; i++) {
        snprintf(name[i], sizeof(name[i]), "n%u", i);
        shm_lock(shm, shm->meta);
        if (shm_node_intern(shm, SHM_ROOT, name[i], strlen(name[i]), &v, 1) < 0)
            abort();
        shm_unlock(shm, shm->meta);
    }
    for (uint32_t i = 0; i < BLOCKS; i++) {
        uint32_t idx = shm_block_begin(shm, (struct shm_block_key){1, 1, i}, 0);

        if (idx == SHM_NIL)
            abort();
        (void)shm_block_ready(shm, idx, SHM_BLOCK_SIZE);
    }
}

int main(void)
{
    static const struct shm_sizes sizes = {.workers = 4,
                                           .nodes = 4096,
                                           .long_names = 8,
                                           .handles = 16,
                                           .sessions = 4,
                                           .records = 4,
                                           .blocks = BLOCKS,
                                           .payload = SHM_PAYLOAD_MIN};
    struct err err = {0};

    if (shm_create(&sizes, &shm, &err) < 0) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    fill();
    show("lock + unlock", empty_section, 1);
    show("lookup hit", lookup_hit, 1);
    show("lookup hit, counted", lookup_counted, 1);
    show("block: get + unpin", block_hit, 1);
    show("lock + unlock, 2 processes", empty_section, 2);
    show("lookup hit, 4 processes", lookup_hit, 4);
    shm_close(shm);
    return 0;
}
