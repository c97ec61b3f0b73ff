/* Landlock without the headers of its newer versions, which Debian 12's libc does not have. The
 * numbers are those of linux/landlock.h. */
#include "sandbox/sandbox_paths.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"

#ifndef SYS_landlock_create_ruleset
#define SYS_landlock_create_ruleset 444
#define SYS_landlock_add_rule 445
#define SYS_landlock_restrict_self 446
#endif

#define CREATE_VERSION 1u
#define ABI_NEWEST 6 /* what is used of newer ones: nothing more */

enum rule_type { RULE_PATH = 1, RULE_PORT = 2 };

/* Rights on files by bit. Version 1 has the first 13. */
#define FS_READ_FILE (UINT64_C(1) << 2)
#define FS_READ_DIR (UINT64_C(1) << 3)
#define FS_READ (FS_READ_FILE | FS_READ_DIR)

#define NET_BIND_TCP (UINT64_C(1) << 0)
#define NET_CONNECT_TCP (UINT64_C(1) << 1)
#define SCOPE_ABSTRACT_UNIX (UINT64_C(1) << 0)
#define SCOPE_SIGNAL (UINT64_C(1) << 1)

struct ruleset_attr {
    uint64_t fs, net, scoped;
};

struct path_attr {
    uint64_t allowed;
    int32_t fd;
} __attribute__((packed));

struct port_attr {
    uint64_t allowed, port;
};

/* Everything that a version can restrict. */
static struct ruleset_attr handled(unsigned abi)
{
    static const unsigned bits[ABI_NEWEST + 1] = {0, 13, 14, 15, 15, 16, 16};
    unsigned known = abi > ABI_NEWEST ? ABI_NEWEST : abi;

    return (struct ruleset_attr){
        .fs = (UINT64_C(1) << bits[known]) - 1,
        .net = abi >= SANDBOX_ABI_PORTS ? NET_BIND_TCP | NET_CONNECT_TCP : 0,
        .scoped = abi >= 6 ? SCOPE_ABSTRACT_UNIX | SCOPE_SIGNAL : 0,
    };
}

/* An older kernel refuses a longer struct. */
static size_t attr_size(unsigned abi)
{
    if (abi >= 6)
        return sizeof(struct ruleset_attr);
    return abi >= SANDBOX_ABI_PORTS ? 2 * sizeof(uint64_t) : sizeof(uint64_t);
}

unsigned sandbox_paths_abi(void)
{
    long r = syscall(SYS_landlock_create_ruleset, NULL, (size_t)0, CREATE_VERSION);

    return r > 0 ? (unsigned)r : 0;
}

static int allow_path(int ruleset, const char *path)
{
    cleanup_fd int fd = open(path, O_PATH | O_CLOEXEC);
    struct path_attr attr = {.allowed = FS_READ, .fd = fd};
    struct stat st;

    if (fd < 0)
        return errno == EMFILE || errno == ENFILE ? -errno : 0;
    if (fstat(fd, &st) < 0)
        return -errno;
    if (!S_ISDIR(st.st_mode)) /* a rule for a file has no right of directories */
        attr.allowed &= ~FS_READ_DIR;
    return syscall(SYS_landlock_add_rule, ruleset, RULE_PATH, &attr, 0) < 0 ? -errno : 0;
}

static int allow_port(int ruleset, uint16_t port)
{
    struct port_attr attr = {.allowed = NET_CONNECT_TCP, .port = port};

    return syscall(SYS_landlock_add_rule, ruleset, RULE_PORT, &attr, 0) < 0 ? -errno : 0;
}

static int add_rules(int ruleset, const struct sandbox_paths *paths,
                     const struct ruleset_attr *attr)
{
    int r = 0;

    for (const char *const *p = paths->read; r == 0 && p && *p; p++)
        r = allow_path(ruleset, *p);
    for (size_t i = 0; r == 0 && attr->net && i < paths->n_ports; i++)
        r = allow_port(ruleset, paths->ports[i]);
    return r;
}

int sandbox_paths_restrict(const struct sandbox_paths *paths, unsigned abi)
{
    struct ruleset_attr attr = handled(abi);
    cleanup_fd int fd = (int)syscall(SYS_landlock_create_ruleset, &attr, attr_size(abi), 0u);
    int r;

    if (fd < 0)
        return -errno;
    r = add_rules(fd, paths, &attr);
    if (r == 0 && syscall(SYS_landlock_restrict_self, fd, 0u) < 0)
        r = -errno;
    return r;
}
