/* Reading /proc, or asking the observer to. Field numbers are those of proc(5),
 * "/proc/pid/stat". */
#include "workers/op/proc.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fd.h"
#include "workers/op/observer.h"

#define SLEEP_LOOKS 8
#define PF_EXITING 0x4

enum {
    STAT_PARENT = 4,
    STAT_FLAGS = 9,
    STAT_START = 22,
    STAT_START_CODE = 26,
    STAT_EXIT_CODE = 52
};

/* Field `want` (3 or higher) of a stat line. The command name before it may contain anything, also
 * ")". */
static bool stat_field(const char *text, int want, uint64_t *ret)
{
    const char *p = strrchr(text, ')');
    char *end;

    for (int field = 2; p && field < want; field++)
        p = strchr(p + 1, ' ');
    if (!p)
        return false;
    *ret = strtoull(p + 1, &end, 10);
    return end != p + 1;
}

/* ---- reserved descriptors ---- */

/* Without a free descriptor, a killed writer would look like one about which nothing is known, and
 * its half-written file would be published. So two are reserved: one for a directory and one for a
 * file in it. */
static _Thread_local int spare[2] = {-1, -1};

void proc_keep_spares(void)
{
    for (size_t i = 0; i < sizeof(spare) / sizeof(spare[0]); i++) {
        if (spare[i] < 0)
            spare[i] = open("/dev/null", O_RDONLY | O_CLOEXEC);
    }
}

/* True if `r` reports a shortage of descriptors; then the reserved ones are free until
 * proc_keep_spares. */
static bool lend_spares(ssize_t r)
{
    if (r != -EMFILE && r != -ENFILE)
        return false;
    for (size_t i = 0; i < sizeof(spare) / sizeof(spare[0]); i++) {
        if (spare[i] >= 0)
            close(spare[i]);
        spare[i] = -1;
    }
    return true;
}

/* If false, errno tells why. */
static bool read_proc(int32_t pid, const char *file, char *text)
{
    char path[64];
    ssize_t r;

    snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, file);
    r = fd_read_file(path, text, PROC_TEXT_MAX);
    if (lend_spares(r)) {
        r = fd_read_file(path, text, PROC_TEXT_MAX);
        proc_keep_spares();
    }
    if (r <= 0)
        errno = (int)-r;
    return r > 0;
}

/* A number in a status file, 0 if it is missing. `name` such as "\nTgid:". */
static int32_t status_number(const char *text, const char *name)
{
    const char *p = strstr(text, name);

    return p ? (int32_t)strtol(p + strlen(name), NULL, 10) : 0;
}

/* With SIGCHLD ignored the kernel removes children at once. */
static bool reaps_children(const char *status)
{
    const char *p = strstr(status, "\nSigIgn:");

    return p && !(strtoull(p + 8, NULL, 16) & (UINT64_C(1) << (SIGCHLD - 1)));
}

/* Inside execve(2) a process holds a lock (exec_update_lock) that readers of its stat file wait
 * for, as seen on Linux 6.18. While the process closes files there, it would wait for our reply and
 * we for its lock. At that point its memory is new and contains no code yet; statm shows that
 * without any lock. (A process that exits has no memory at all.) */
static bool is_in_exec(uint32_t tid)
{
    char text[PROC_TEXT_MAX];
    unsigned long long size, text_pages;

    return read_proc((int32_t)tid, "statm", text) &&
           sscanf(text, "%llu %*u %*u %llu", &size, &text_pages) == 2 && size && !text_pages;
}

static bool look_dying(uint32_t tid)
{
    char text[PROC_TEXT_MAX];
    const char *p = NULL;

    if (tid != 0 && tid <= INT32_MAX && read_proc((int32_t)tid, "status", text))
        p = strstr(text, "\nSigPnd:");
    return !p || (strtoull(p + 8, NULL, 16) & (UINT64_C(1) << (SIGKILL - 1)));
}

/* What /proc hides (hidepid=2) looks as if it were gone. This call knows every process, asks for no
 * permission, and is allowed in the sandbox. */
static bool does_not_exist(int32_t tid)
{
    cpu_set_t set;

    return sched_getaffinity(tid, sizeof(set), &set) < 0 && errno == ESRCH;
}

static void look(uint32_t tid, struct proc_info *ret)
{
    char text[PROC_TEXT_MAX];
    uint64_t flags, start, start_code, code, parent;

    *ret = (struct proc_info){0};
    if (tid == 0 || tid > INT32_MAX)
        return;
    if (!read_proc((int32_t)tid, "status", text)) {
        ret->gone = (errno == ENOENT || errno == ESRCH) && does_not_exist((int32_t)tid);
        return;
    }
    ret->tgid = status_number(text, "\nTgid:");
    ret->reaps = reaps_children(text);
    if (is_in_exec(tid)) {
        ret->parent = status_number(text, "\nPPid:");
        ret->execs = ret->known = true;
        return;
    }
    /* Of the thread itself: the group's leader may have exited before it. */
    if (!ret->tgid || !read_proc((int32_t)tid, "stat", text) ||
        !stat_field(text, STAT_FLAGS, &flags) || !stat_field(text, STAT_START_CODE, &start_code) ||
        !stat_field(text, STAT_EXIT_CODE, &code))
        return;
    if (tid != (uint32_t)ret->tgid && !read_proc(ret->tgid, "stat", text))
        return;
    if (!stat_field(text, STAT_START, &start) || !stat_field(text, STAT_PARENT, &parent))
        return;
    ret->start = start;
    ret->parent = (int32_t)parent;
    ret->exiting = flags & PF_EXITING;
    ret->signal = ret->exiting ? (int32_t)(code & 0x7f) : 0;
    /* Without permission to trace the process, the kernel shows start code 1 and exit code 0, as if
     * it had exited normally. (A process whose memory is already gone has start code 0.) */
    ret->known = start_code != 1;
}

bool proc_syscall(uint32_t tid, char text[PROC_TEXT_MAX])
{
    text[0] = '\0';
    for (int i = 0; i < SLEEP_LOOKS && (i == 0 || strncmp(text, "running", 7) == 0); i++) {
        if (i)
            sched_yield();
        if (!read_proc((int32_t)tid, "syscall", text))
            return false;
    }
    return true;
}

static void look_parent(int32_t tgid, struct proc_info *ret)
{
    char text[PROC_TEXT_MAX];

    look((uint32_t)tgid, ret);
    if (ret->execs || !proc_syscall((uint32_t)tgid, text))
        return;
    ret->waits = strtol(text, NULL, 10) == SYS_wait4 || strtol(text, NULL, 10) == SYS_waitid;
}

/* A value in an fdinfo file: "name:\t123". */
static bool info_value(const char *text, const char *name, int base, uint64_t *ret)
{
    const char *p = strstr(text, name);

    if (!p)
        return false;
    *ret = strtoull(p + strlen(name), NULL, base);
    return true;
}

/* The descriptors to look for. */
struct fd_wanted {
    uint64_t ino; /* 0: any */
    bool writes;
    int looks;  /* descriptors to check, at most */
    int enough; /* matches after which it stops */
    /* the mount that they must be on, its number + 1; 0: any; in the end, that of the last match */
    uint64_t mnt;
};

/* 1 (match), 0, or -errno if no descriptor is left to look with. */
static int fd_matches(int dirfd, const char *fd_name, struct fd_wanted *want)
{
    char text[PROC_TEXT_MAX];
    uint64_t flags, found, mnt = 0;
    int fd = openat(dirfd, fd_name, O_RDONLY | O_CLOEXEC);
    ssize_t n;

    if (fd < 0)
        return errno == EMFILE || errno == ENFILE ? -errno : 0;
    n = read(fd, text, sizeof(text) - 1);
    close(fd);
    if (n <= 0)
        return 0;
    text[n] = '\0';
    if (!info_value(text, "flags:", 8, &flags) ||
        (want->writes && (flags & O_ACCMODE) == O_RDONLY) ||
        !info_value(text, "\nino:", 10, &found) || (want->ino && found != want->ino) ||
        !info_value(text, "\nmnt_id:", 10, &mnt) || (want->mnt && mnt + 1 != want->mnt))
        return 0;
    want->mnt = mnt + 1;
    return 1;
}

/* The number of matches, or -errno. */
static int count_matches(int32_t tgid, struct fd_wanted *want)
{
    char path[64];
    const struct dirent *e;
    int r = 0, n = 0;
    DIR *dir;

    snprintf(path, sizeof(path), "/proc/%d/fdinfo", (int)tgid);
    dir = opendir(path);
    if (!dir)
        return -errno;
    for (int i = 0; r >= 0 && n < want->enough && i < want->looks && (e = readdir(dir)); i++) {
        r = e->d_name[0] == '.' ? 0 : fd_matches(dirfd(dir), e->d_name, want);
        n += r > 0;
    }
    closedir(dir);
    return r < 0 ? r : n;
}

static int proc_holds(int32_t tgid, struct fd_wanted *want)
{
    int r = count_matches(tgid, want);

    if (lend_spares(r)) {
        r = count_matches(tgid, want);
        proc_keep_spares();
    }
    return r;
}

/* As proc_writes_beside; -errno. */
static int count_beside(int32_t tgid, uint64_t ino)
{
    struct fd_wanted want = {.ino = ino, .writes = true, .looks = PROC_FDS_MAX, .enough = 1};
    int r = proc_holds(tgid, &want);

    if (r <= 0)
        return r;
    want.ino = 0;
    want.enough = PROC_FDS_MAX;
    return proc_holds(tgid, &want);
}

/* ---- here, or by the observer ---- */

static void ask_info(enum observer_what what, uint32_t tid, struct proc_info *ret)
{
    struct observer_answer a;

    *ret = (struct proc_info){0};
    if (!tid || !observer_ask(what, tid, 0, "", OBSERVER_WAIT_NS, &a))
        return;
    *ret = (struct proc_info){.known = a.known,
                              .tgid = a.tgid,
                              .parent = a.parent,
                              .start = a.start,
                              .exiting = a.exiting,
                              .signal = a.signal,
                              .waits = a.waits,
                              .reaps = a.reaps,
                              .gone = a.gone,
                              .execs = a.execs};
}

void proc_look(uint32_t tid, struct proc_info *ret)
{
    if (observer_in_use())
        ask_info(OBSERVER_LOOK, tid, ret);
    else
        look(tid, ret);
}

void proc_look_parent(int32_t tgid, struct proc_info *ret)
{
    if (observer_in_use())
        ask_info(OBSERVER_LOOK_PARENT, (uint32_t)tgid, ret);
    else
        look_parent(tgid, ret);
}

/* Without an answer the thread counts as alive: it is asked again soon. */
bool proc_is_dying(uint32_t tid)
{
    struct observer_answer a;

    if (!observer_in_use())
        return look_dying(tid);
    return tid == 0 ||
           (observer_ask(OBSERVER_DYING, tid, 0, "", OBSERVER_WAIT_BRIEFLY_NS, &a) && a.yes);
}

bool proc_holds_write(int32_t tgid, uint64_t ino, bool *ret_known)
{
    struct fd_wanted want = {.ino = ino, .writes = true, .looks = PROC_FDS_MAX, .enough = 1};
    struct observer_answer a = {0};
    int r;

    if (observer_in_use()) {
        *ret_known =
            observer_ask(OBSERVER_HOLDS_WRITE, (uint32_t)tgid, ino, "", OBSERVER_WAIT_NS, &a) &&
            a.known;
        return *ret_known && a.yes;
    }
    r = proc_holds(tgid, &want);
    *ret_known = r >= 0;
    return r > 0;
}

uint32_t proc_writes_beside(int32_t tgid, uint64_t ino, bool *ret_known)
{
    struct observer_answer a = {0};
    int r;

    if (observer_in_use()) {
        *ret_known =
            observer_ask(OBSERVER_BESIDE, (uint32_t)tgid, ino, "", OBSERVER_WAIT_NS, &a) && a.known;
        return *ret_known ? a.n : 0;
    }
    r = count_beside(tgid, ino);
    *ret_known = r >= 0;
    return r > 0 ? (uint32_t)r : 0;
}

bool proc_has_dir(uint32_t tid, uint64_t ino)
{
    struct fd_wanted want = {.ino = ino, .looks = PROC_DIR_FDS_MAX, .enough = 1};
    struct observer_answer a;

    if (tid == 0 || tid > INT32_MAX)
        return false;
    if (observer_in_use())
        return observer_ask(OBSERVER_HAS_DIR, tid, ino, "", OBSERVER_WAIT_BRIEFLY_NS, &a) && a.yes;
    return proc_holds((int32_t)tid, &want) > 0;
}
