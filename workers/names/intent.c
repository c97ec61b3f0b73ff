/* Which system call a LOOKUP belongs to, seen here or asked of the observer. peek.c reads the
 * memory of other processes.
 *
 * If a name counts as about to be created, the reply is sent without asking S3, so this must be
 * certain:
 *   - Numbers are those of this program's architecture. A 32-bit program has others (its readlink
 *     is our creat), and so has `int $0x80` in a 64-bit one; the file does not show that. But a
 *     32-bit program has its stack below 4 GiB, and `int $0x80` is another instruction than the
 *     expected one. The x32 bit makes a number that is not in the table.
 *   - io_uring, and its worker threads, show no call of the table (test_uring).
 *   - The arguments show where the path is, and its last name must be that of the LOOKUP. The
 *     kernel has copied the path before: a program that changes it meanwhile harms only itself. */
#include "workers/names/intent.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>

#include "workers/names/peek.h"
#include "workers/op/observer.h"
#include "workers/op/proc.h"

/* The system call instruction; not `int $0x80`, which uses the numbers of i386. */
#ifdef __x86_64__
#define CALL_INSN "\x0f\x05" /* syscall */
#elif defined(__aarch64__)
#define CALL_INSN "\x01\x00\x00\xd4" /* svc #0 */
#endif

#define ARGS 6

/* The stack pointer and the program counter follow the arguments. */
enum { STACK = ARGS, NEXT, FIELDS };

enum form { PLAIN, OPENS, CREATS, OPENS_HOW, RENAMES };

/* Arguments by index; -1 = none. */
struct call {
    long number;
    enum intent_kind kind;
    enum form form;
    int path, other, flags;
};

#define CALL(name, kind)                                                                           \
    {                                                                                              \
        SYS_##name, kind, PLAIN, 0, -1, -1                                                         \
    }
#define CALL_AT(name, kind)                                                                        \
    {                                                                                              \
        SYS_##name, kind, PLAIN, 1, -1, -1                                                         \
    }
#define OPEN(name, path)                                                                           \
    {                                                                                              \
        SYS_##name, INTENT_READ, OPENS, path, -1, (path) + 1                                       \
    }
#define MAKE(name, path, other)                                                                    \
    {                                                                                              \
        SYS_##name, INTENT_MAKE, PLAIN, path, other, -1                                            \
    }
#define RENAME(name, path, other, flags)                                                           \
    {                                                                                              \
        SYS_##name, INTENT_RENAME, RENAMES, path, other, flags                                     \
    }

/* Other architectures have no table. */
static const struct call calls[] = {
#ifdef CALL_INSN
    OPEN(openat, 1),
    {SYS_openat2, INTENT_READ, OPENS_HOW, 1, -1, 2},
    CALL_AT(newfstatat, INTENT_STAT),
    CALL_AT(statx, INTENT_STAT),
    CALL_AT(faccessat, INTENT_STAT),
    CALL_AT(faccessat2, INTENT_STAT),
    CALL(statfs, INTENT_STAT),
    CALL(getxattr, INTENT_STAT),
    CALL(lgetxattr, INTENT_STAT),
    CALL(listxattr, INTENT_STAT),
    CALL(llistxattr, INTENT_STAT),
    CALL(setxattr, INTENT_STAT),
    CALL(lsetxattr, INTENT_STAT),
    CALL(removexattr, INTENT_STAT),
    CALL(lremovexattr, INTENT_STAT),
    CALL_AT(utimensat, INTENT_STAT),
    CALL_AT(fchmodat, INTENT_STAT),
    CALL_AT(fchownat, INTENT_STAT),
    CALL_AT(unlinkat, INTENT_STAT),
    CALL_AT(inotify_add_watch, INTENT_STAT),
    CALL_AT(name_to_handle_at, INTENT_STAT),
    CALL(chdir, INTENT_DIR),
    CALL(chroot, INTENT_DIR),
    CALL(execve, INTENT_EXEC),
    CALL_AT(execveat, INTENT_EXEC),
    CALL_AT(readlinkat, INTENT_READ),
    CALL(truncate, INTENT_READ),
    MAKE(mkdirat, 1, -1),
    MAKE(mknodat, 1, -1),
    MAKE(symlinkat, 2, -1),
    MAKE(linkat, 3, 1),
    RENAME(renameat2, 3, 1, 4),
#ifdef SYS_fchmodat2
    CALL_AT(fchmodat2, INTENT_STAT),
#endif
#ifdef SYS_renameat
    RENAME(renameat, 3, 1, -1),
#endif
#ifdef __x86_64__ /* the older ones, which new architectures do not have */
    OPEN(open, 0),
    {SYS_creat, INTENT_READ, CREATS, 0, -1, -1},
    CALL(stat, INTENT_STAT),
    CALL(lstat, INTENT_STAT),
    CALL(access, INTENT_STAT),
    CALL(chmod, INTENT_STAT),
    CALL(chown, INTENT_STAT),
    CALL(lchown, INTENT_STAT),
    CALL(utime, INTENT_STAT),
    CALL(utimes, INTENT_STAT),
    CALL_AT(futimesat, INTENT_STAT),
    CALL(unlink, INTENT_STAT),
    CALL(rmdir, INTENT_DIR),
    CALL(readlink, INTENT_READ),
    MAKE(mkdir, 0, -1),
    MAKE(mknod, 0, -1),
    MAKE(symlink, 1, -1),
    MAKE(link, 1, 0),
    RENAME(rename, 1, 0, -1),
#endif
#else
#define CALL_INSN ""
    {-1, INTENT_UNKNOWN, PLAIN, -1, -1, -1},
#endif
};

/* ---- what is the call? ---- */

static const struct call *find_call(long number)
{
    for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
        if (calls[i].number == number)
            return &calls[i];
    }
    return NULL;
}

/* As the kernel interprets them: O_PATH takes precedence over O_CREAT. */
static enum intent_kind kind_of_open(uint64_t flags)
{
    if (flags & O_PATH)
        return flags & O_DIRECTORY ? INTENT_DIR : INTENT_STAT;
    if (flags & O_CREAT)
        return INTENT_OPEN;
    if (flags & O_DIRECTORY) /* also for an unnamed file: O_TMPFILE */
        return INTENT_DIR;
    if ((flags & O_TRUNC) && (flags & O_ACCMODE) == O_WRONLY)
        return INTENT_TRUNC;
    return INTENT_READ;
}

static void tell_open(struct intent *in, uint64_t flags)
{
    in->flags = (uint32_t)flags;
    in->kind = kind_of_open(flags);
}

static void tell_form(const struct call *c, const uint64_t *field, struct intent *in)
{
    switch (c->form) {
    case PLAIN:
        break;
    case OPENS:
        tell_open(in, (uint32_t)field[c->flags]);
        break;
    case CREATS:
        tell_open(in, O_CREAT | O_WRONLY | O_TRUNC);
        break;
    case OPENS_HOW:
        in->how = field[c->flags];
        break;
    case RENAMES:
        in->flags = c->flags < 0 ? 0 : (uint32_t)field[c->flags];
        if (in->flags & RENAME_EXCHANGE)
            in->kind = INTENT_STAT;
    }
}

/* 0, or -1: the text is "running", or the number is -1, or it has another form. */
static int read_fields(const char *p, long *ret_number, uint64_t field[FIELDS])
{
    char *end;

    *ret_number = strtol(p, &end, 10);
    if (end == p || *ret_number < 0)
        return -1;
    for (int i = 0; i < FIELDS; i++) {
        if (strncmp(end, " 0x", 3) != 0)
            return -1;
        p = end + 1;
        field[i] = strtoull(p, &end, 16);
        if (end <= p + 2)
            return -1;
    }
    return *end == '\n' && end[1] == '\0' ? 0 : -1;
}

void intent_parse(const char *text, struct intent *ret)
{
    uint64_t field[FIELDS];
    const struct call *c;
    long number;

    *ret = (struct intent){.kind = INTENT_UNKNOWN};
    if (read_fields(text, &number, field) < 0 || field[STACK] <= UINT32_MAX)
        return;
    c = find_call(number);
    if (!c)
        return;
    ret->kind = c->kind;
    ret->path = c->path < 0 ? 0 : field[c->path];
    ret->other = c->other < 0 ? 0 : field[c->other];
    ret->next = field[NEXT];
    tell_form(c, field, ret);
}

static void look(uint32_t tid, struct intent *ret)
{
    char text[PROC_TEXT_MAX];

    *ret = (struct intent){.kind = INTENT_UNKNOWN};
    if (!proc_syscall(tid, text))
        return;
    intent_parse(text, ret);
    ret->tid = tid;
}

/* ---- is it for this name? ---- */

/* The components of a path, from the last to the first. */
struct walk {
    const char *start, *end; /* the part not yet visited */
    const char *name;
    size_t len;
};

static void walk_init(struct walk *w, const char *path)
{
    *w = (struct walk){.start = path, .end = path + strlen(path)};
}

/* False at the beginning of the path. Skips ".". */
static bool walk_back(struct walk *w)
{
    do {
        while (w->end > w->start && w->end[-1] == '/')
            w->end--;
        w->name = w->end;
        while (w->name > w->start && w->name[-1] != '/')
            w->name--;
        w->len = (size_t)(w->end - w->name);
        w->end = w->name;
    } while (w->len == 1 && *w->name == '.');
    return w->len > 0;
}

static bool same(const struct walk *a, const struct walk *b)
{
    return a->len == b->len && memcmp(a->name, b->name, a->len) == 0;
}

static bool is_up(const struct walk *w)
{
    return w->len == 2 && w->name[0] == '.' && w->name[1] == '.';
}

/* True if any remaining component is the name that `name` is at. */
static bool has_name(struct walk w, const struct walk *name)
{
    while (walk_back(&w)) {
        if (same(&w, name))
            return true;
    }
    return false;
}

/* The directories must match too, as far as both paths have them: a directory on the way through a
 * symbolic link can have the same name as the last component, in another place. */
static bool same_directories(struct walk made, struct walk path)
{
    while (walk_back(&made) && walk_back(&path)) {
        if (is_up(&made))
            return true;
        if (!same(&made, &path))
            return false;
    }
    return true;
}

bool intent_same_name(const char *made, const char *other, const char *path)
{
    struct walk m, p, o;

    walk_init(&m, made);
    walk_init(&p, path);
    walk_init(&o, other ? other : "");
    return walk_back(&m) && walk_back(&p) && !is_up(&m) && same(&m, &p) && !has_name(m, &p) &&
           !has_name(o, &p) && same_directories(m, p);
}

/* ---- the caller's memory ---- */

#define CALL_INSN_LEN (sizeof(CALL_INSN) - 1)

enum { INSN, PATH, EXTRA };

static bool may_make(const struct intent *in)
{
    return in->path && (in->kind >= INTENT_OPEN || in->how);
}

static bool makes(struct intent *in, const char *path)
{
    struct peek_part parts[] = {
        [INSN] = {.at = in->next - CALL_INSN_LEN, .len = CALL_INSN_LEN},
        [PATH] = {.at = in->path, .len = PATH_MAX, .text = true},
        [EXTRA] = {.at = in->other, .len = PATH_MAX, .text = true},
    };
    const char *got[PEEK_PARTS];
    bool two = in->how || in->other;

    if (in->how)
        parts[EXTRA] = (struct peek_part){.at = in->how, .len = sizeof(struct open_how)};
    if (!may_make(in) || !peek(in->tid, parts, two ? 3 : 2, got) ||
        memcmp(got[INSN], CALL_INSN, CALL_INSN_LEN) != 0)
        return false;
    if (in->how) {
        struct open_how how;

        memcpy(&how, got[EXTRA], sizeof(how));
        in->how = 0;
        tell_open(in, how.flags);
    }
    return in->kind >= INTENT_OPEN &&
           intent_same_name(got[PATH], in->other ? got[EXTRA] : NULL, path);
}

/* True if `made` (or `other`, NULL = none) leads through a directory with the name of the LOOKUP,
 * and neither ends with it. */
static bool leads_through(const char *made, const char *other, const char *path)
{
    struct walk m, o, name;
    bool found;

    walk_init(&m, made);
    walk_init(&name, path);
    if (!walk_back(&m) || !walk_back(&name) || is_up(&m) || same(&m, &name))
        return false;
    found = has_name(m, &name);
    if (!other)
        return found;
    walk_init(&o, other);
    return walk_back(&o) && !is_up(&o) && !same(&o, &name) && (found || has_name(o, &name));
}

static bool passes(const struct intent *in, const char *path)
{
    struct peek_part parts[] = {
        {.at = in->path, .len = PATH_MAX, .text = true},
        {.at = in->other, .len = PATH_MAX, .text = true},
    };
    const char *got[PEEK_PARTS];

    return in->kind != INTENT_UNKNOWN && in->path && peek(in->tid, parts, in->other ? 2 : 1, got) &&
           leads_through(got[0], in->other ? got[1] : NULL, path);
}

/* ---- here, or by the observer, which looks again: it gets no address from a worker ---- */

static bool ask(enum observer_what what, struct intent *in, const char *path)
{
    struct observer_answer a;

    if (!observer_ask(what, in->tid, 0, path, OBSERVER_WAIT_BRIEFLY_NS, &a) ||
        a.kind > INTENT_RENAME)
        return false;
    in->kind = a.kind;
    in->flags = a.flags;
    return a.yes;
}

void intent_look(uint32_t tid, struct intent *ret)
{
    *ret = (struct intent){.kind = INTENT_UNKNOWN};
    if (tid == 0 || tid > INT32_MAX)
        return;
    if (!observer_in_use()) {
        look(tid, ret);
    } else {
        ret->tid = tid;
        (void)ask(OBSERVER_INTENT, ret, "");
    }
}

/* openat2 looks like a read until its flags are known. */
bool intent_makes(struct intent *in, const char *path)
{
    if (!observer_in_use())
        return makes(in, path);
    return (in->kind >= INTENT_OPEN || in->kind == INTENT_READ) && ask(OBSERVER_MAKES, in, path);
}

bool intent_passes(const struct intent *in, const char *path)
{
    struct intent again = *in;

    if (!observer_in_use())
        return passes(in, path);
    return in->kind != INTENT_UNKNOWN && ask(OBSERVER_PASSES, &again, path);
}
