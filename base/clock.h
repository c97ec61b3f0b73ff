/* Time in nanoseconds: the monotonic clock (the same for all processes of a machine) and the wall
 * clock. */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#define NS_PER_MS UINT64_C(1000000)
#define NS_PER_S UINT64_C(1000000000)

static inline uint64_t clock_ns(clockid_t id)
{
    struct timespec ts;

    clock_gettime(id, &ts);
    return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

static inline uint64_t clock_mono_ns(void)
{
    return clock_ns(CLOCK_MONOTONIC);
}

/* For what is done now and then: true, and *last_ns is now (monotonic), if that was never (0), or
 * at least `every_ns` ago. */
static inline bool clock_due(uint64_t *last_ns, uint64_t every_ns)
{
    uint64_t now = clock_mono_ns();

    if (*last_ns && now - *last_ns < every_ns)
        return false;
    *last_ns = now;
    return true;
}

/* Time since boot: the clock of process start times. */
static inline uint64_t clock_boot_ns(void)
{
    return clock_ns(CLOCK_BOOTTIME);
}

static inline uint64_t clock_wall_ns(void)
{
    return clock_ns(CLOCK_REALTIME);
}

#endif
