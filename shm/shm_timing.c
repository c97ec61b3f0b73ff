/* Histograms and outcomes. The stores are plain increments of one writer; a reader, or the death of
 * the writer between two of them, may see a bucket without its sum, which is harmless: the number
 * of requests is the sum of the buckets, and each number only grows. */
#include "shm/shm_timing.h"

#include <errno.h>

#include "base/clock.h"

#define US (NS_PER_MS / 1000)

const uint64_t shm_timing_bounds[SHM_TIMING_BOUNDS] = {
    25 * US,          50 * US,           100 * US,        250 * US,        500 * US,
    1 * NS_PER_MS,    NS_PER_MS * 5 / 2, 5 * NS_PER_MS,   10 * NS_PER_MS,  25 * NS_PER_MS,
    50 * NS_PER_MS,   100 * NS_PER_MS,   250 * NS_PER_MS, 500 * NS_PER_MS, 1 * NS_PER_S,
    NS_PER_S * 5 / 2, 5 * NS_PER_S,      10 * NS_PER_S,   30 * NS_PER_S,   60 * NS_PER_S,
};

const char *const shm_outcome_names[SHM_OUTCOMES] = {
    [SHM_OUTCOME_OK] = "ok",
    [SHM_OUTCOME_ABSENT] = "absent",
    [SHM_OUTCOME_CONFLICT] = "conflict",
    [SHM_OUTCOME_DENIED] = "denied",
    [SHM_OUTCOME_FULL] = "full",
    [SHM_OUTCOME_TIMEOUT] = "timeout",
    [SHM_OUTCOME_INTERRUPTED] = "interrupted",
    [SHM_OUTCOME_REFUSED] = "refused",
    [SHM_OUTCOME_FAILED] = "failed",
};

static const struct {
    int error;
    enum shm_outcome outcome;
} classes[] = {
    {ENOENT, SHM_OUTCOME_ABSENT},        {ENODATA, SHM_OUTCOME_ABSENT},
    {EEXIST, SHM_OUTCOME_CONFLICT},      {ESTALE, SHM_OUTCOME_CONFLICT},
    {EBUSY, SHM_OUTCOME_CONFLICT},       {ENOTEMPTY, SHM_OUTCOME_CONFLICT},
    {EAGAIN, SHM_OUTCOME_CONFLICT},      {EDEADLK, SHM_OUTCOME_CONFLICT},
    {EACCES, SHM_OUTCOME_DENIED},        {EPERM, SHM_OUTCOME_DENIED},
    {EROFS, SHM_OUTCOME_DENIED},         {ENOSPC, SHM_OUTCOME_FULL},
    {EDQUOT, SHM_OUTCOME_FULL},          {ENOMEM, SHM_OUTCOME_FULL},
    {EMFILE, SHM_OUTCOME_FULL},          {ENFILE, SHM_OUTCOME_FULL},
    {EFBIG, SHM_OUTCOME_FULL},           {E2BIG, SHM_OUTCOME_FULL},
    {ENAMETOOLONG, SHM_OUTCOME_REFUSED}, {ETIMEDOUT, SHM_OUTCOME_TIMEOUT},
    {EINTR, SHM_OUTCOME_INTERRUPTED},    {ECANCELED, SHM_OUTCOME_INTERRUPTED},
    {EINVAL, SHM_OUTCOME_REFUSED},       {ENOSYS, SHM_OUTCOME_REFUSED},
    {EOPNOTSUPP, SHM_OUTCOME_REFUSED},   {ENOTDIR, SHM_OUTCOME_REFUSED},
    {EISDIR, SHM_OUTCOME_REFUSED},       {EXDEV, SHM_OUTCOME_REFUSED},
    {EBADF, SHM_OUTCOME_REFUSED},        {ERANGE, SHM_OUTCOME_REFUSED},
    {ENOTTY, SHM_OUTCOME_REFUSED},       {ELOOP, SHM_OUTCOME_REFUSED},
    {ESPIPE, SHM_OUTCOME_REFUSED},       {EMLINK, SHM_OUTCOME_REFUSED},
    {ENXIO, SHM_OUTCOME_REFUSED},
};

enum shm_outcome shm_outcome_of(int error)
{
    if (error == 0)
        return SHM_OUTCOME_OK;
    for (size_t i = 0; i < sizeof(classes) / sizeof(classes[0]); i++) {
        if (classes[i].error == -error)
            return classes[i].outcome;
    }
    return SHM_OUTCOME_FAILED;
}

enum shm_outcome shm_outcome_of_status(int status)
{
    switch (status) {
    case 0:
        return SHM_OUTCOME_INTERRUPTED;
    case 401:
    case 403:
        return SHM_OUTCOME_DENIED;
    case 404:
        return SHM_OUTCOME_ABSENT;
    case 408:
    case 504:
        return SHM_OUTCOME_TIMEOUT;
    case 409:
    case 412:
        return SHM_OUTCOME_CONFLICT;
    case 413:
        return SHM_OUTCOME_FULL;
    case 501:
        return SHM_OUTCOME_REFUSED;
    default:
        return status < 400   ? SHM_OUTCOME_OK
               : status < 500 ? SHM_OUTCOME_REFUSED
                              : SHM_OUTCOME_FAILED;
    }
}

void shm_timing_add(struct shm_timing *t, uint64_t ns, enum shm_outcome outcome)
{
    unsigned i = 0;

    while (i < SHM_TIMING_BOUNDS && ns > shm_timing_bounds[i])
        i++;
    t->bucket[i]++;
    t->ns += ns;
    t->outcome[outcome]++;
}

void shm_timing_sum(struct shm_timing *sum, const struct shm_timing *from)
{
    for (unsigned i = 0; i <= SHM_TIMING_BOUNDS; i++)
        sum->bucket[i] += __atomic_load_n(&from->bucket[i], __ATOMIC_RELAXED);
    sum->ns += __atomic_load_n(&from->ns, __ATOMIC_RELAXED);
    for (unsigned i = 0; i < SHM_OUTCOMES; i++)
        sum->outcome[i] += __atomic_load_n(&from->outcome[i], __ATOMIC_RELAXED);
}

uint64_t shm_timing_count(const struct shm_timing *t)
{
    uint64_t n = 0;

    for (unsigned i = 0; i <= SHM_TIMING_BOUNDS; i++)
        n += t->bucket[i];
    return n;
}
