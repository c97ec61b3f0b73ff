/* /proc/self/statm, kept open. */
#include "workers/process/leak.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

#define THREAD_STACK (512u << 10) /* getaddrinfo needs 100 KiB */
#define TEXT_MAX 256

static int statm_fd = -1;

static void shrink_stacks(void)
{
#ifdef __GLIBC__ /* musl's are small anyway */
    pthread_attr_t attr;

    if (pthread_attr_init(&attr) != 0)
        return;
    if (pthread_attr_setstacksize(&attr, THREAD_STACK) == 0)
        (void)pthread_setattr_default_np(&attr); /* otherwise they count more */
    pthread_attr_destroy(&attr);
#endif
}

void leak_watch(void)
{
    statm_fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    shrink_stacks();
}

bool leak_look(struct leak *ret)
{
    unsigned long long resident, shared, data;
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    char text[TEXT_MAX];
    ssize_t n = statm_fd >= 0 ? pread(statm_fd, text, sizeof(text) - 1, 0) : 0;

    if (n <= 0)
        return false;
    text[n] = '\0';
    if (sscanf(text, "%*u %llu %llu %*u %*u %llu", &resident, &shared, &data) != 3)
        return false;
    *ret = (struct leak){.resident = resident * page,
                         .anon = resident > shared ? (resident - shared) * page : 0,
                         .reserved = data * page};
    return true;
}

bool leak_is_large(const struct leak *now, uint64_t limit)
{
    return limit && now->reserved > limit / 4 * 3;
}
