/* Reading /proc. Field numbers are those of proc(5), "/proc/pid/stat". */
#include "workers/proc.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"

#define PROC_TEXT_MAX 4096
#define PF_EXITING 0x4

enum { STAT_PARENT = 4, STAT_FLAGS = 9, STAT_START = 22, STAT_START_CODE = 26, STAT_EXIT_CODE = 52 };

/* Field `want` (from 3 on) of a stat line: the command name before it may hold anything, ")" too.
 * */
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

static bool read_proc(int32_t pid, const char *file, char *text)
{
    char path[64];

    snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, file);
    return fd_read_file(path, text, PROC_TEXT_MAX) > 0;
}

static int32_t tgid_of(uint32_t tid)
{
    char text[PROC_TEXT_MAX];
    const char *p;

    if (!read_proc((int32_t)tid, "status", text))
        return 0;
    p = strstr(text, "\nTgid:");
    return p ? (int32_t)strtol(p + 6, NULL, 10) : 0;
}

bool proc_is_dying(uint32_t tid)
{
    char text[PROC_TEXT_MAX];
    const char *p = NULL;

    if (tid != 0 && tid <= INT32_MAX && read_proc((int32_t)tid, "status", text))
        p = strstr(text, "\nSigPnd:");
    return !p || (strtoull(p + 8, NULL, 16) & (UINT64_C(1) << (SIGKILL - 1)));
}

void proc_look(uint32_t tid, struct proc_info *ret)
{
    char text[PROC_TEXT_MAX];
    uint64_t flags, start, start_code, code, parent;

    *ret = (struct proc_info){0};
    if (tid == 0 || tid > INT32_MAX)
        return;
    ret->tgid = tgid_of(tid);
    /* The thread itself: the group's leader may have exited before it. */
    if (!ret->tgid || !read_proc((int32_t)tid, "stat", text) ||
        !stat_field(text, STAT_FLAGS, &flags) ||
        !stat_field(text, STAT_START_CODE, &start_code) ||
        !stat_field(text, STAT_EXIT_CODE, &code))
        return;
    if (tid != (uint32_t)ret->tgid && !read_proc(ret->tgid, "stat", text))
        return;
    if (!stat_field(text, STAT_START, &start) ||
        !stat_field(text, STAT_PARENT, &parent))
        return;
    ret->start = start;
    ret->parent = (int32_t)parent;
    ret->exiting = flags & PF_EXITING;
    ret->signal = ret->exiting ? (int32_t)(code & 0x7f) : 0;
    /* Without permission to trace it the kernel shows start code 1 and exit code 0, as if it had
     * exited normally. (A process whose memory is gone already shows 0 there.) */
    ret->known = start_code != 1;
}

/* A value of an fdinfo file: "name:\t123". */
static bool info_value(const char *text, const char *name, int base,
                       uint64_t *ret)
{
    const char *p = strstr(text, name);

    if (!p)
        return false;
    *ret = strtoull(p + strlen(name), NULL, base);
    return true;
}

static bool fd_matches(int dirfd, const char *fd_name, uint64_t ino)
{
    char text[PROC_TEXT_MAX];
    uint64_t flags, found;
    int fd = openat(dirfd, fd_name, O_RDONLY | O_CLOEXEC);
    ssize_t n;

    if (fd < 0)
        return false;
    n = read(fd, text, sizeof(text) - 1);
    close(fd);
    if (n <= 0)
        return false;
    text[n] = '\0';
    return info_value(text, "flags:", 8, &flags) &&
           (flags & O_ACCMODE) != O_RDONLY &&
           info_value(text, "\nino:", 10, &found) && found == ino;
}

bool proc_holds_write(int32_t tgid, uint64_t ino, bool *ret_known)
{
    char path[64];
    const struct dirent *e;
    bool found = false;
    DIR *dir;

    snprintf(path, sizeof(path), "/proc/%d/fdinfo", (int)tgid);
    dir = opendir(path);
    *ret_known = dir != NULL;
    if (!dir)
        return false;
    for (int i = 0; !found && i < PROC_FDS_MAX && (e = readdir(dir)); i++)
        found = e->d_name[0] != '.' && fd_matches(dirfd(dir), e->d_name, ino);
    closedir(dir);
    return found;
}
