/* See log_shared.h. The memfd is sealed against further writers, and the writable mapping is not
 * inherited: a worker that somebody has taken over cannot silence the others. */
#include "base/log_shared.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif

static uint32_t *shared_ours;
static const uint32_t *shared_seen;
static pid_t shared_owner;

static void *shared_map(int fd, size_t size, int prot)
{
    void *p = mmap(NULL, size, prot, MAP_SHARED, fd, 0);

    return p == MAP_FAILED ? NULL : p;
}

int log_shared_new(uint32_t value)
{
    cleanup_fd int fd = memfd_create("stateproxy-log", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    size_t size = (size_t)sysconf(_SC_PAGESIZE);
    uint32_t *ours;
    const uint32_t *seen;

    if (fd < 0 || ftruncate(fd, (off_t)size) < 0)
        return -errno;
    ours = shared_map(fd, size, PROT_READ | PROT_WRITE);
    /* (a kernel before 5.1 has no such seal: then it is only read-only) */
    (void)fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE);
    seen = shared_map(fd, size, PROT_READ);
    if (!ours || !seen || madvise(ours, size, MADV_DONTFORK) < 0)
        return -ENOMEM;
    *ours = value;
    shared_ours = ours;
    shared_seen = seen;
    shared_owner = getpid();
    return 0;
}

int log_shared_set(uint32_t value)
{
    if (!shared_ours)
        return -ENOENT;
    if (getpid() != shared_owner)
        return -EPERM;
    __atomic_store_n(shared_ours, value, __ATOMIC_RELAXED);
    return 0;
}

const uint32_t *log_shared_value(void)
{
    return shared_seen;
}
