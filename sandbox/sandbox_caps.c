/* capget(2) and capset(2), without libcap: the four calls that are needed. */
#include "sandbox/sandbox_caps.h"

#include <errno.h>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define WORDS _LINUX_CAPABILITY_U32S_3
#define CAP_MAX 63

static int caps_get(struct __user_cap_data_struct data[WORDS])
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};

    return syscall(SYS_capget, &head, data) < 0 ? -errno : 0;
}

bool sandbox_caps_have(unsigned cap)
{
    struct __user_cap_data_struct data[WORDS];

    return caps_get(data) == 0 && (data[cap / 32].permitted & (UINT32_C(1) << cap % 32));
}

int sandbox_caps_survive(void)
{
    return prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0 ? -errno : 0;
}

void sandbox_caps_bound(void)
{
    for (unsigned cap = 0; cap <= CAP_MAX; cap++) {
        if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0)
            break; /* not permitted, or the kernel has no more of them */
    }
}

int sandbox_caps_set(uint64_t mask)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[WORDS];
    int r = caps_get(data);

    if (r < 0)
        return r;
    (void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); /* before Linux 4.3: none */
    for (unsigned i = 0; i < WORDS; i++) {
        data[i].permitted &= (uint32_t)(mask >> (32 * i));
        data[i].effective = data[i].permitted;
        data[i].inheritable = 0;
    }
    return syscall(SYS_capset, &head, data) < 0 ? -errno : 0;
}
