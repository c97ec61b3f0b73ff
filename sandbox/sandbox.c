/* The order of the steps: each needs what the next one takes away. */
#include "sandbox/sandbox.h"

#include <errno.h>
#include <linux/capability.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "sandbox/sandbox_calls.h"
#include "sandbox/sandbox_caps.h"
#include "sandbox/sandbox_filter.h"
#include "sandbox/sandbox_paths.h"

#define LISTS_MAX 8
#define OBSERVER_CAPS ((UINT64_C(1) << CAP_SYS_PTRACE) | (UINT64_C(1) << CAP_DAC_READ_SEARCH))

#ifdef SP_SANITIZE
#define HAS_SANITIZERS true
#else
#define HAS_SANITIZERS false
#endif

/* What the C library reads to find addresses of host names. As directories, because the files in
 * them are replaced, and a rule for a file is one for its inode. The workers' user may read no more
 * in them than any other user. */
static const char *const name_resolution[] = {
    "/etc",
    "/etc/resolv.conf", /* it may be a link to anywhere */
    "/run/systemd/resolve",
    "/run/resolvconf",
    "/run/NetworkManager",
    "/run/connman",
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/usr/share/zoneinfo",
    "/dev/urandom",
    "/dev/null",
    NULL,
};

/* The same for root, who may read everything in /etc. */
static const char *const name_resolution_root[] = {
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/host.conf",
    "/etc/nsswitch.conf",
    "/etc/gai.conf",
    "/etc/services",
    "/etc/ld.so.cache",
    "/etc/ssl",
    "/etc/pki/tls",
    "/etc/pki/ca-trust",
    "/run/systemd/resolve",
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/dev/urandom",
    "/dev/null",
    NULL,
};

/* ---- what there is ---- */

void sandbox_look(struct sandbox *sb)
{
    sb->filters = !HAS_SANITIZERS && sandbox_filter_known();
    sb->landlock = HAS_SANITIZERS ? 0 : sandbox_paths_abi();
}

bool sandbox_is_whole(const struct sandbox *sb)
{
    return sb->on && sb->filters && sb->landlock >= SANDBOX_ABI_PORTS;
}

void sandbox_lacks(const struct sandbox *sb, char *out, size_t cap)
{
    const char *files = "";

    if (!sb->landlock)
        files = "files and ports (Landlock)";
    else if (sb->landlock < SANDBOX_ABI_PORTS)
        files = "ports (Landlock 4)";
    snprintf(out, cap, "%s%s%s%s", sb->filters ? "" : "system calls (seccomp)",
             !sb->filters && *files ? ", " : "", files,
             HAS_SANITIZERS ? ": built with sanitizers" : "");
}

/* ---- the steps ---- */

static int limit(int what, uint64_t bytes)
{
    struct rlimit lim = {bytes, bytes};

    return setrlimit(what, &lim) < 0 ? -errno : 0;
}

static int set_limits(const struct sandbox *sb, enum sandbox_role role)
{
    int r = limit(RLIMIT_CORE, 0);

    if (r == 0 && role == SANDBOX_WORKER && sb->worker_memory && !HAS_SANITIZERS)
        r = limit(RLIMIT_DATA, sb->worker_memory);
    return r;
}

static const struct sandbox_ports *ports_of(const struct sandbox *sb, enum sandbox_role role)
{
    static const struct sandbox_ports none;

    if (role == SANDBOX_KEEPER)
        return &sb->keeper_ports;
    return role == SANDBOX_WORKER ? &sb->worker_ports : &none;
}

static bool uses_network(enum sandbox_role role)
{
    return role == SANDBOX_WORKER || role == SANDBOX_KEEPER;
}

static int restrict_paths(const struct sandbox *sb, enum sandbox_role role)
{
    const struct sandbox_ports *ports = ports_of(sb, role);
    bool root = sb->user.set ? sb->user.uid == 0 : geteuid() == 0;
    struct sandbox_paths paths = {.ports = ports->port, .n_ports = ports->n};
    unsigned abi = sb->landlock;

    if (!abi || role == SANDBOX_OBSERVER)
        return 0;
    if (uses_network(role))
        paths.read = root ? name_resolution_root : name_resolution;
    if (ports->any && abi >= SANDBOX_ABI_PORTS)
        abi = SANDBOX_ABI_PORTS - 1;
    return sandbox_paths_restrict(&paths, abi);
}

/* The observer sees callers of any user with CAP_SYS_PTRACE. Where the daemon has not got that (a
 * container), being the same user with no fewer capabilities is what lets it see some: then it
 * stays what it is. */
static int change_user(const struct sandbox *sb, enum sandbox_role role)
{
    uint64_t caps = role == SANDBOX_OBSERVER ? OBSERVER_CAPS : 0;
    int r = 0;

    if (role == SANDBOX_OBSERVER && !sandbox_caps_have(CAP_SYS_PTRACE))
        return 0;
    sandbox_caps_bound();
    if (caps)
        r = sandbox_caps_survive();
    if (r == 0)
        r = sandbox_user_become(&sb->user);
    return r < 0 ? r : sandbox_caps_set(caps);
}

static int filter_calls(enum sandbox_role role)
{
    const struct sandbox_rule *lists[LISTS_MAX];
    size_t n = 0;

    if (uses_network(role) || role == SANDBOX_OBSERVER) {
        lists[n++] = sandbox_calls_threads;
        lists[n++] = sandbox_calls_read;
    }
    if (uses_network(role))
        lists[n++] = sandbox_calls_network;
    if (role == SANDBOX_WORKER)
        lists[n++] = sandbox_calls_serve;
    if (role == SANDBOX_OBSERVER)
        lists[n++] = sandbox_calls_observe;
    lists[n++] = sandbox_calls_base; /* last: it refuses the rest of some calls quietly */
    return sandbox_filter_install(lists, n);
}

int sandbox_enter(const struct sandbox *sb, enum sandbox_role role, struct err *err)
{
    int r;

    if (!sb->on) {
        r = sandbox_user_become(&sb->user);
        return r < 0 ? err_set(err, -r, "cannot change the user: %s", strerror(-r)) : 0;
    }
    r = set_limits(sb, role);
    if (r == 0 && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        r = -errno;
    if (r < 0)
        return err_set(err, -r, "limits: %s", strerror(-r));
    r = restrict_paths(sb, role);
    if (r < 0)
        return err_set(err, -r, "Landlock: %s", strerror(-r));
    r = change_user(sb, role);
    if (r < 0)
        return err_set(err, -r, "cannot change the user: %s", strerror(-r));
    if (prctl(PR_SET_DUMPABLE, 0) < 0)
        return err_set(err, errno, "PR_SET_DUMPABLE: %s", strerror(errno));
    tzset(); /* or the first log line would read the time zone's file */
    r = sb->filters ? filter_calls(role) : 0;
    return r < 0 ? err_set(err, -r, "seccomp: %s", strerror(-r)) : 0;
}
