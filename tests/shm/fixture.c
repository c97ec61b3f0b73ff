/* Test helpers: see fixture.h. */
#include "tests/shm/fixture.h"

#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <sodium.h>

#if defined(__SANITIZE_ADDRESS__)
#define UNDER_ASAN true
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define UNDER_ASAN true
#endif
#endif
#ifndef UNDER_ASAN
#define UNDER_ASAN false
#endif

const struct shm_sizes fx_small = {
    .workers = 4,
    .nodes = 64,
    .long_names = 8,
    .longest_names = 8,
    .handles = 16,
    .sessions = 4,
    .records = 4,
    .blocks = 8,
    .payload = SHM_PAYLOAD_MIN,
};

static bool locked; /* between fx_lock and fx_unlock */

struct shm *fx_new(const struct shm_sizes *sizes)
{
    struct shm *shm = NULL;
    struct err err = {0};

    if (shm_create(sizes, &shm, &err) < 0)
        fail_msg("shm_create: %s", err.text);
    return shm;
}

int fx_setup(void **state)
{
    *state = fx_new(&fx_small);
    return 0;
}

int fx_teardown(void **state)
{
    if (locked) /* the test failed inside */
        fx_unlock(*state);
    fx_check(*state);
    shm_close(*state);
    return 0;
}

void fx_lock(struct shm *shm)
{
    shm_lock(shm, shm->meta);
    locked = true;
}

void fx_unlock(struct shm *shm)
{
    locked = false;
    shm_unlock(shm, shm->meta);
}

void fx_check(struct shm *shm)
{
    struct err err = {0};

    if (shm_check(shm, &err) < 0)
        fail_msg("shm_check: %s", err.text);
}

struct shm_version fx_file(const char *etag)
{
    return (struct shm_version){.size = 100,
                                .mtime_ns = 1000,
                                .etag = etag,
                                .mode = SHM_MODE_UNSET,
                                .uid = SHM_MODE_UNSET,
                                .gid = SHM_MODE_UNSET};
}

struct shm_version fx_dir(void)
{
    struct shm_version v = fx_file(NULL);

    v.dir = true;
    return v;
}

static uint32_t intern(struct shm *shm, uint32_t parent, const char *name,
                       const struct shm_version *v)
{
    int64_t r;

    fx_lock(shm);
    r = shm_node_intern(shm, parent, name, strlen(name), v, 1);
    fx_unlock(shm);
    if (r < 0)
        fail_msg("shm_node_intern(%.20s): %d", name, (int)r);
    return (uint32_t)r;
}

uint32_t fx_put(struct shm *shm, uint32_t parent, const char *name, const char *etag)
{
    struct shm_version v = fx_file(etag);

    return intern(shm, parent, name, &v);
}

uint32_t fx_mkdir(struct shm *shm, uint32_t parent, const char *name)
{
    struct shm_version v = fx_dir();

    return intern(shm, parent, name, &v);
}

uint32_t fx_find(struct shm *shm, uint32_t parent, const char *name)
{
    uint32_t idx;

    fx_lock(shm);
    idx = shm_node_find(shm, parent, name, strlen(name));
    fx_unlock(shm);
    return idx;
}

void fx_ref(struct shm *shm, uint32_t idx, uint64_t n)
{
    fx_lock(shm);
    shm_node_ref(shm, idx, n);
    fx_unlock(shm);
}

void fx_forget(struct shm *shm, uint32_t idx, uint64_t n)
{
    fx_lock(shm);
    shm_node_forget(shm, idx, n);
    fx_unlock(shm);
}

void fx_name(char *out, size_t len, char c, unsigned number)
{
    char digits[16];
    size_t n = (size_t)snprintf(digits, sizeof(digits), "%u", number);

    assert_true(n <= len);
    memset(out, c, len);
    memcpy(out + len - n, digits, n);
    out[len] = '\0';
}

uint64_t fx_seed(void)
{
    const char *given = getenv("STATEPROXY_TEST_SEED");
    uint64_t seed = 0;

    if (given)
        seed = strtoull(given, NULL, 0);
    else
        randombytes_buf(&seed, sizeof(seed));
    print_message("seed: STATEPROXY_TEST_SEED=0x%llx\n", (unsigned long long)seed);
    return seed;
}

/* splitmix64 */
uint64_t fx_rand(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

int fx_in_child(void (*fn)(struct shm *shm), struct shm *shm)
{
    const struct rlimit none = {0, 0};
    pid_t pid = fork();
    int status;

    assert_true(pid >= 0);
    if (pid == 0) {
        (void)!freopen("/dev/null", "w", stderr); /* the text of an assert */
        setrlimit(RLIMIT_CORE, &none);
        prctl(PR_SET_DUMPABLE, 0);
        fn(shm);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

bool fx_under_asan(void)
{
    return UNDER_ASAN;
}

bool fx_under_valgrind(void)
{
    const char *preload = getenv("LD_PRELOAD");

    return preload && strstr(preload, "vgpreload");
}
