/* intent.c and peek.c against the kernel: children wait in real system calls for a LOOKUP's answer,
 * on the toy file system. Skipped, and told so, where the process may not mount.
 *
 * Everything happens in a mount namespace of its own, so that no mount outlives the process,
 * however it ends. */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/fs.h>
#include <linux/io_uring.h>
#include <linux/openat2.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/fd.h"
#include "fuse/fuse_init.h"
#include "fuse/fuse_mount.h"
#include "tests/fuse/toyfs.h"
#include "workers/names/intent.h"
#include "workers/names/peek.h"

/* After so long the process is killed, and its mounts go with it. */
#define TEST_SECONDS 120
#define NOBODY 65534

/* ---- the text of the file ---- */

#define HIGH "0x7ffc00001000"
#define REST " 0x0 0x0 " HIGH " 0x7f0000001234\n"

static struct intent parse(long number, const char *rest)
{
    struct intent in;
    char text[512];

    snprintf(text, sizeof(text), "%ld%s", number, rest);
    intent_parse(text, &in);
    return in;
}

static void test_parse(void **state)
{
    struct intent in = parse(SYS_openat, " 0xffffff9c 0x7f0000005000 0x80241 0x1a4" REST);

    (void)state;
    assert_int_equal(in.kind, INTENT_OPEN);
    assert_int_equal(in.flags, 0x80241);
    assert_true(in.path == 0x7f0000005000 && in.other == 0);
    assert_true(in.next == 0x7f0000001234);
    /* Only half of the register counts */
    in = parse(SYS_openat, " 0xffffff9c 0x7f0000005000 0x1234567800000241 0x1a4" REST);
    assert_int_equal(in.flags, 0x241);
    /* A stack below 4 GiB: a 32-bit program, whose numbers mean something else */
    in = parse(SYS_openat, " 0xffffff9c 0x5000 0x241 0x1a4 0x0 0x0 0xffffd000 0x1234\n");
    assert_int_equal(in.kind, INTENT_UNKNOWN);
    in = parse(0x40000000 | SYS_openat, " 0xffffff9c 0x5000 0x241 0x1a4" REST); /* x32 */
    assert_int_equal(in.kind, INTENT_UNKNOWN);
    in = parse(SYS_getpid, " 0x0 0x0 0x0 0x0" REST);
    assert_int_equal(in.kind, INTENT_UNKNOWN);
}

static void test_parse_odd(void **state)
{
    static const char *const texts[] = {
        "",
        "\n",
        "running\n",
        "-1 0x7ffc00001000 0x7f0000001234\n",
        "257",
        "257\n",
        "257 ",
        "257 0x1\n",
        "257 0x 0x 0x 0x 0x 0x 0x 0x\n",
        "257 1 2 3 4 5 6 7 8\n",
        "257 0xffffff9c 0x5000 0x241 0x1a4 0x0 0x0 0x7ffc00001000 0x7f0000001234",
        "257 0xffffff9c 0x5000 0x241 0x1a4 0x0 0x0 0x7ffc00001000 0x7f0000001234 0x1\n",
        "257 0xffffff9c 0x5000 0x241 0x1a4 0x0 0x0 0x7ffc00001000 0x7f0000001234\n0",
        "99999999999999999999 0x1 0x1 0x1 0x1" REST,
        "-257 0x1 0x1 0x1 0x1" REST};
    struct intent in;

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        intent_parse(texts[i], &in);
        assert_int_equal(in.kind, INTENT_UNKNOWN);
        assert_false(intent_makes(&in, "x"));
    }
    intent_look(0, &in);
    assert_int_equal(in.kind, INTENT_UNKNOWN);
    intent_look(UINT32_MAX, &in);
    assert_int_equal(in.kind, INTENT_UNKNOWN);
    intent_look((uint32_t)getpid(), &in); /* it runs */
    assert_int_equal(in.kind, INTENT_UNKNOWN);
}

static void test_same_name(void **state)
{
    static const struct {
        const char *made, *other, *path;
        bool same;
    } t[] = {
        {"x", NULL, "x", true},
        {"x", NULL, "a/b/x", true},
        {"/mnt/a/x", NULL, "a/x", true},
        {"b/x/", NULL, "a/b/x", true},
        {".//b/./x//", NULL, "a/b/x", true},
        {"../x", NULL, "a/x", true},
        {"c/../x", NULL, "a/x", true},
        {"x", "y", "x", true},
        {"t/x", "t/x.tmp", "t/x", true},
        {"x", "", "x", true},
        {"x", NULL, "y", false},
        {"x", NULL, "xx", false},
        {"xx", NULL, "x", false},
        {"", NULL, "x", false},
        {"/", NULL, "x", false},
        {".", NULL, "x", false},
        {"..", NULL, "..", false},
        {"d/x", NULL, "d", false},   /* on the way */
        {"x/x", NULL, "x", false},   /* it could be */
        {"x/x", NULL, "x/x", false}, /* cannot be told from the one before */
        {"x/../x", NULL, "x", false},
        {"l/x", NULL, "d/x", false}, /* l is a link: "x" may be on its way */
        {"/mnt/d/x", NULL, "e/x", false},
        {"x", "x", "x", false}, /* the source of a rename */
        {"b/x", "a/x", "b/x", false},
        {"x", "x/y", "x", false},
        {"x", "/x/y/z", "x", false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
        if (intent_same_name(t[i].made, t[i].other, t[i].path) != t[i].same)
            fail_msg("%s (%s) as %s", t[i].made, t[i].other ? t[i].other : "", t[i].path);
    }
}

/* ---- a mount ---- */

struct fixture {
    char dir[64];
    char point[80]; /* a directory in it */
    struct toy *toy;
    struct fuse_mount mount;
    pid_t server;
    unsigned n_files;
};

static const struct fuse_init_wish wish = {.max_write = 1 << 20, .max_readahead = 1 << 20};

static void add(struct fixture *f, const char *name, const char *text, mode_t type)
{
    f->toy->file[toy_add(f->toy, name, text)].type = type;
    f->n_files = f->toy->n_files;
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct fuse_negotiated negotiated;
    struct fuse_mount_opts opts = {.source = "toy", .allow_other = true};

    if (!f)
        return -1;
    strcpy(f->dir, "/tmp/test-intent-XXXXXX");
    if (!mkdtemp(f->dir) || chmod(f->dir, 0755) < 0)
        return -1;
    snprintf(f->point, sizeof(f->point), "%s/mnt", f->dir);
    if (mkdir(f->point, 0755) < 0)
        return -1;
    f->toy = toy_new();
    f->toy->valid_ns = 0; /* the kernel asks for each name each time */
    add(f, "f", "text", S_IFREG);
    add(f, "d", "", S_IFDIR);
    add(f, "e", "", S_IFDIR);
    add(f, "l", "d/x", S_IFLNK);
    opts.path = f->point;
    if (fuse_mount(&opts, &f->mount, NULL) < 0 ||
        fuse_init_answer(f->mount.fd, &wish, 5000, &negotiated, NULL) < 0)
        return -1;
    f->server = toy_start(f->toy, f->mount.fd, &negotiated);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    toy_let_go(f->toy);
    toy_kill(f->server);
    close(f->mount.fd);
    while (umount2(f->point, MNT_FORCE | MNT_DETACH) == 0)
        continue;
    while (waitpid(-1, NULL, 0) > 0)
        continue;
    toy_free(f->toy);
    rmdir(f->point);
    rmdir(f->dir);
    free(f);
    return 0;
}

/* ---- calls ---- */

struct trial {
    const char *label;
    long number;
    uintptr_t arg[5];
    enum intent_kind kind;
    uint32_t flags;
    const char *seen; /* the LOOKUPs; with "+" what is made, with ">" what is passed */
};

static void call(const struct trial *t)
{
    const uintptr_t *a = t->arg;

    syscall(t->number, a[0], a[1], a[2], a[3], a[4]);
}

/* A child in the mount's root that will run it. */
static pid_t prepare(struct fixture *f, void (*run)(const struct trial *t), const struct trial *t)
{
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        close(f->mount.fd); /* else it keeps alive what it waits for */
        if (chdir(f->point) < 0)
            _exit(1);
        raise(SIGSTOP);
        run(t);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, NULL, WUNTRACED), pid);
    return pid;
}

static pid_t start(struct fixture *f, void (*run)(const struct trial *t), const struct trial *t)
{
    pid_t pid;

    f->toy->hold = 0;
    f->toy->n_files = f->n_files;
    pid = prepare(f, run, t);
    f->toy->hold = 1;
    kill(pid, SIGCONT);
    return pid;
}

/* Lets it run to its end. */
static void finish(struct fixture *f, pid_t pid)
{
    f->toy->hold = 0;
    toy_let_go(f->toy);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void check_kind(const struct trial *t, const struct intent *in)
{
    if (in->kind != t->kind || in->flags != t->flags)
        fail_msg("%s: kind %d, flags %x", t->label, in->kind, in->flags);
}

#define SEEN_MAX (2 * FUSE_NAME_BYTES + 256)

/* Once what is asked twice: the kernel does so where it knows the name from before. */
static void note(char seen[SEEN_MAX], const char *path, bool makes, bool passes)
{
    static char last[SEEN_MAX];
    char now[SEEN_MAX];

    snprintf(now, sizeof(now), "%s%s%s", path, makes ? "+" : "", passes ? ">" : "");
    if (*seen && strcmp(last, now) == 0)
        return;
    strcpy(last, now);
    assert_true(strlen(seen) + strlen(now) + 2 < SEEN_MAX);
    if (*seen)
        strcat(seen, " ");
    strcat(seen, now);
}

static void try_it(struct fixture *f, void (*run)(const struct trial *t), const struct trial *t)
{
    pid_t pid = start(f, run, t);
    char seen[SEEN_MAX] = "";

    while (toy_held(f->toy, pid)) {
        struct intent in;
        bool makes;

        intent_look(f->toy->held.pid, &in);
        if (t->number != SYS_openat2)
            check_kind(t, &in);
        makes = intent_makes(&in, f->toy->held.path);
        check_kind(t, &in);
        note(seen, f->toy->held.path, makes, intent_passes(&in, f->toy->held.path));
        toy_let_go(f->toy);
    }
    waitpid(pid, NULL, 0);
    if (strcmp(seen, t->seen) != 0)
        fail_msg("%s: %s, expected %s", t->label, seen, t->seen);
}

#define S(text) (uintptr_t)(text)
#define AT (uintptr_t) AT_FDCWD
#define HOW(f)                                                                                     \
    (uintptr_t) & (const struct open_how)                                                          \
    {                                                                                              \
        .flags = (f), .mode = (f)&O_CREAT ? 0600 : 0                                               \
    }
#define CREAT_FLAGS (O_CREAT | O_WRONLY | O_TRUNC)

static struct stat st_room;
static char bytes_room[1024];
#define BUF (uintptr_t) bytes_room

#ifdef __x86_64__
static const struct trial old_calls[] = {
    {"open", SYS_open, {S("x"), O_RDONLY}, INTENT_READ, O_RDONLY, "x"},
    {"open > f", SYS_open, {S("x"), CREAT_FLAGS, 0600}, INTENT_OPEN, CREAT_FLAGS, "x+"},
    {"creat", SYS_creat, {S("x"), 0600}, INTENT_OPEN, CREAT_FLAGS, "x+"},
    {"stat", SYS_stat, {S("d/x"), S(&st_room)}, INTENT_STAT, 0, "d> d/x"},
    {"lstat", SYS_lstat, {S("x"), S(&st_room)}, INTENT_STAT, 0, "x"},
    {"access", SYS_access, {S("x"), 0}, INTENT_STAT, 0, "x"},
    {"chmod", SYS_chmod, {S("x"), 0600}, INTENT_STAT, 0, "x"},
    {"chown", SYS_chown, {S("x"), 0, 0}, INTENT_STAT, 0, "x"},
    {"lchown", SYS_lchown, {S("x"), 0, 0}, INTENT_STAT, 0, "x"},
    {"utime", SYS_utime, {S("x"), 0}, INTENT_STAT, 0, "x"},
    {"utimes", SYS_utimes, {S("x"), 0}, INTENT_STAT, 0, "x"},
    {"futimesat", SYS_futimesat, {AT, S("x"), 0}, INTENT_STAT, 0, "x"},
    {"unlink", SYS_unlink, {S("x")}, INTENT_STAT, 0, "x"},
    {"rmdir", SYS_rmdir, {S("x")}, INTENT_DIR, 0, "x"},
    {"readlink", SYS_readlink, {S("x"), BUF, 9}, INTENT_READ, 0, "x"},
    {"mkdir", SYS_mkdir, {S("d/x"), 0700}, INTENT_MAKE, 0, "d> d/x+"},
    {"mknod", SYS_mknod, {S("x"), S_IFREG | 0600, 0}, INTENT_MAKE, 0, "x+"},
    {"symlink", SYS_symlink, {S("d/f"), S("x")}, INTENT_MAKE, 0, "x+"},
    {"link", SYS_link, {S("f"), S("x")}, INTENT_MAKE, 0, "f x+"},
    {"rename", SYS_rename, {S("f"), S("d/x")}, INTENT_RENAME, 0, "d> f d/x+"},
};
#endif

static const struct trial new_calls[] = {
    {"openat", SYS_openat, {AT, S("x"), O_RDONLY}, INTENT_READ, O_RDONLY, "x"},
    {"write", SYS_openat, {AT, S("x"), O_WRONLY}, INTENT_READ, O_WRONLY, "x"},
    {"read and write, empty",
     SYS_openat,
     {AT, S("x"), O_RDWR | O_TRUNC},
     INTENT_READ,
     O_RDWR | O_TRUNC,
     "x"},
    {"write, empty",
     SYS_openat,
     {AT, S("x"), O_WRONLY | O_TRUNC},
     INTENT_TRUNC,
     O_WRONLY | O_TRUNC,
     "x"},
    {"create", SYS_openat, {AT, S("x"), CREAT_FLAGS, 0600}, INTENT_OPEN, CREAT_FLAGS, "x+"},
    {"create, exclusive",
     SYS_openat,
     {AT, S("x"), CREAT_FLAGS | O_EXCL, 0600},
     INTENT_OPEN,
     CREAT_FLAGS | O_EXCL,
     "x+"},
    {"create to read", SYS_openat, {AT, S("x"), O_CREAT, 0600}, INTENT_OPEN, O_CREAT, "x+"},
    {"create what is there", SYS_openat, {AT, S("f"), O_CREAT, 0600}, INTENT_OPEN, O_CREAT, "f+"},
    {"create below", SYS_openat, {AT, S("d/x"), O_CREAT, 0600}, INTENT_OPEN, O_CREAT, "d> d/x+"},
    {"create below, twice its name",
     SYS_openat,
     {AT, S("d/d"), O_CREAT, 0600},
     INTENT_OPEN,
     O_CREAT,
     "d d/d"},
    {"create, no directory",
     SYS_openat,
     {AT, S("no/x"), O_CREAT, 0600},
     INTENT_OPEN,
     O_CREAT,
     "no>"},
    {"create through a link",
     SYS_openat,
     {AT, S("l"), O_CREAT, 0600},
     INTENT_OPEN,
     O_CREAT,
     "l+ d d/x"},
    {"O_PATH creates nothing",
     SYS_openat,
     {AT, S("x"), O_PATH | O_CREAT, 0600},
     INTENT_STAT,
     O_PATH | O_CREAT,
     "x"},
    {"opendir", SYS_openat, {AT, S("x"), O_DIRECTORY}, INTENT_DIR, O_DIRECTORY, "x"},
    {"unnamed",
     SYS_openat,
     {AT, S("d"), O_TMPFILE | O_RDWR, 0600},
     INTENT_DIR,
     O_TMPFILE | O_RDWR,
     "d"},
    {"openat2", SYS_openat2, {AT, S("x"), HOW(O_RDONLY), 24}, INTENT_READ, 0, "x"},
    {"openat2, create",
     SYS_openat2,
     {AT, S("d/x"), HOW(CREAT_FLAGS), 24},
     INTENT_OPEN,
     CREAT_FLAGS,
     "d> d/x+"},
    {"newfstatat", SYS_newfstatat, {AT, S("x"), S(&st_room), 0}, INTENT_STAT, 0, "x"},
    {"statx", SYS_statx, {AT, S("x"), 0, STATX_BASIC_STATS, BUF}, INTENT_STAT, 0, "x"},
    {"faccessat", SYS_faccessat, {AT, S("x"), 0}, INTENT_STAT, 0, "x"},
    {"faccessat2", SYS_faccessat2, {AT, S("x"), 0, 0}, INTENT_STAT, 0, "x"},
    {"statfs", SYS_statfs, {S("x"), BUF}, INTENT_STAT, 0, "x"},
    {"getxattr", SYS_getxattr, {S("x"), S("user.a"), BUF, 9}, INTENT_STAT, 0, "x"},
    {"lgetxattr", SYS_lgetxattr, {S("x"), S("user.a"), BUF, 9}, INTENT_STAT, 0, "x"},
    {"listxattr", SYS_listxattr, {S("x"), BUF, 9}, INTENT_STAT, 0, "x"},
    {"setxattr", SYS_setxattr, {S("x"), S("user.a"), BUF, 9, 0}, INTENT_STAT, 0, "x"},
    {"removexattr", SYS_removexattr, {S("x"), S("user.a")}, INTENT_STAT, 0, "x"},
    {"utimensat", SYS_utimensat, {AT, S("x"), 0, 0}, INTENT_STAT, 0, "x"},
    {"fchmodat", SYS_fchmodat, {AT, S("x"), 0600}, INTENT_STAT, 0, "x"},
    {"fchownat", SYS_fchownat, {AT, S("x"), 0, 0, 0}, INTENT_STAT, 0, "x"},
    {"unlinkat", SYS_unlinkat, {AT, S("x"), 0}, INTENT_STAT, 0, "x"},
    {"chdir", SYS_chdir, {S("x")}, INTENT_DIR, 0, "x"},
    {"execve", SYS_execve, {S("f"), 0, 0}, INTENT_EXEC, 0, "f"},
    {"readlinkat", SYS_readlinkat, {AT, S("x"), BUF, 9}, INTENT_READ, 0, "x"},
    {"truncate", SYS_truncate, {S("x"), 1}, INTENT_READ, 0, "x"},
    {"mkdirat", SYS_mkdirat, {AT, S("d/x/"), 0700}, INTENT_MAKE, 0, "d> d/x+"},
    {"mkdirat, up", SYS_mkdirat, {AT, S("d/../x"), 0700}, INTENT_MAKE, 0, "d> x+"},
    {"mknodat", SYS_mknodat, {AT, S("x"), S_IFREG | 0600, 0}, INTENT_MAKE, 0, "x+"},
    {"symlinkat", SYS_symlinkat, {S("x"), AT, S("x")}, INTENT_MAKE, 0, "x+"},
    {"linkat", SYS_linkat, {AT, S("f"), AT, S("x"), 0}, INTENT_MAKE, 0, "f x+"},
    {"linkat, same name", SYS_linkat, {AT, S("f"), AT, S("d/f"), 0}, INTENT_MAKE, 0, "f d> d/f"},
    {"renameat", SYS_renameat, {AT, S("f"), AT, S("x")}, INTENT_RENAME, 0, "f x+"},
    {"renameat2", SYS_renameat2, {AT, S("f"), AT, S("x"), 0}, INTENT_RENAME, 0, "f x+"},
    {"mv -n",
     SYS_renameat2,
     {AT, S("f"), AT, S("x"), RENAME_NOREPLACE},
     INTENT_RENAME,
     RENAME_NOREPLACE,
     "f x+"},
    {"mv f d", SYS_renameat2, {AT, S("f"), AT, S("d/f"), 0}, INTENT_RENAME, 0, "d> f d/f"},
    {"exchange",
     SYS_renameat2,
     {AT, S("f"), AT, S("x"), RENAME_EXCHANGE},
     INTENT_STAT,
     RENAME_EXCHANGE,
     "f x"},
};

static void test_calls(void **state)
{
#ifdef __x86_64__
    for (size_t i = 0; i < sizeof(old_calls) / sizeof(old_calls[0]); i++)
        try_it(*state, call, &old_calls[i]);
#endif
    for (size_t i = 0; i < sizeof(new_calls) / sizeof(new_calls[0]); i++)
        try_it(*state, call, &new_calls[i]);
}

/* The text ends with the last byte of what is mapped, or goes on in the next page. */
static void call_at_the_edge(const struct trial *t)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), len = strlen((char *)t->arg[1]) + 1;
    char *p = mmap(NULL, 4 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct trial at = *t;

    munmap(p + 3 * page, page);
    at.arg[1] =
        S(memcpy(p + (t->arg[4] ? t->arg[4] * page - 1 : 3 * page - len), (char *)t->arg[1], len));
    call(&at);
}

static void test_edges(void **state)
{
    struct trial t = {"edge",      SYS_openat, {AT, S("d/x"), O_CREAT, 0600, 0},
                      INTENT_OPEN, O_CREAT,    "d> d/x+"};

    try_it(*state, call_at_the_edge, &t);
    t.arg[4] = 1;
    try_it(*state, call_at_the_edge, &t);
}

static void *call_in_thread(void *arg)
{
    call(arg);
    return NULL;
}

static void call_by_a_thread(const struct trial *t)
{
    struct trial copy = *t;
    pthread_t thread;

    pthread_create(&thread, NULL, call_in_thread, &copy);
    pthread_join(thread, NULL);
}

/* As pid 1 of another namespace; the request has the number in ours. */
static void call_in_namespace(const struct trial *t)
{
    if (unshare(CLONE_NEWPID) == 0 && fork() == 0) {
        call(t);
        _exit(0);
    }
    wait(NULL);
}

static const struct trial create_x = {"create",    SYS_openat, {AT, S("x"), O_CREAT, 0600},
                                      INTENT_OPEN, O_CREAT,    "x+"};

static void test_other_callers(void **state)
{
    try_it(*state, call_by_a_thread, &create_x);
    try_it(*state, call_in_namespace, &create_x);
}

/* ---- io_uring: what it opens cannot be seen ---- */

static void open_by_uring(const struct trial *t)
{
    struct io_uring_params p = {0};
    int fd = (int)syscall(SYS_io_uring_setup, 4, &p);
    struct io_uring_sqe *sqe;
    char *sq;

    if (fd < 0)
        _exit(77);
    sq = mmap(NULL, p.sq_off.array + p.sq_entries * sizeof(unsigned), PROT_READ | PROT_WRITE,
              MAP_SHARED, fd, IORING_OFF_SQ_RING);
    sqe = mmap(NULL, p.sq_entries * sizeof(*sqe), PROT_READ | PROT_WRITE, MAP_SHARED, fd,
               IORING_OFF_SQES);
    *sqe = (struct io_uring_sqe){.opcode = IORING_OP_OPENAT,
                                 .flags = (uint8_t)t->arg[4],
                                 .fd = AT_FDCWD,
                                 .addr = t->arg[1],
                                 .open_flags = (uint32_t)t->arg[2],
                                 .len = 0600};
    *(unsigned *)(sq + p.sq_off.array) = 0;
    __atomic_store_n((unsigned *)(sq + p.sq_off.tail), 1, __ATOMIC_RELEASE);
    syscall(SYS_io_uring_enter, fd, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0);
}

static bool has_uring(void)
{
    struct io_uring_params p = {0};
    int fd = (int)syscall(SYS_io_uring_setup, 1, &p);

    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

static void test_uring(void **state)
{
    struct trial t = {
        "io_uring", SYS_io_uring_enter, {AT, S("x"), O_CREAT | O_RDWR}, INTENT_UNKNOWN, 0, "x"};

    if (!has_uring()) {
        print_message("SKIPPED: no io_uring here\n");
        skip();
    }
    try_it(*state, open_by_uring, &t);
    t.arg[4] = IOSQE_ASYNC;
    try_it(*state, open_by_uring, &t);
}

/* ---- calls by the numbers of i386, where readlink is our creat and symlink our mkdir ---- */

#ifdef __x86_64__
static long int80(long number, uintptr_t b, uintptr_t c, uintptr_t d)
{
    long r;

    __asm__ volatile("int $0x80"
                     : "=a"(r)
                     : "a"(number), "b"(b), "c"(c), "d"(d)
                     : "memory", "r8", "r9", "r10", "r11");
    return r;
}

static void readlink_i386(const struct trial *t)
{
    char *low =
        mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);

    strcpy(low, "x");
    int80(t->number, (uintptr_t)low, (uintptr_t)low + 100, 9);
}

static bool has_int80(void)
{
    int status;
    pid_t pid = fork();

    if (pid == 0)
        _exit(int80(20, 0, 0, 0) == getpid() ? 0 : 1);
    return waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static void test_int80(void **state)
{
    static const struct trial t = {"readlink of i386", 85, {0}, INTENT_OPEN, CREAT_FLAGS, "x"};

    if (!has_int80()) {
        print_message("SKIPPED: no calls of i386 here\n");
        skip();
    }
    try_it(*state, readlink_i386, &t);
}
#endif

/* ---- permission ---- */

static void become_nobody(void)
{
    if (setgroups(0, NULL) < 0 || setresgid(NOBODY, NOBODY, NOBODY) < 0 ||
        setresuid(NOBODY, NOBODY, NOBODY) < 0)
        _exit(2);
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* which this clears */
}

static void call_as_nobody(const struct trial *t)
{
    become_nobody();
    prctl(PR_SET_DUMPABLE, t->arg[4]);
    call(t);
}

/* What a worker of user nobody sees: 0 nothing, 1 the call, 2 the name as well. */
static int seen_by_nobody(const struct fixture *f)
{
    struct intent in;
    int status;
    pid_t pid = fork();

    if (pid == 0) {
        become_nobody();
        intent_look(f->toy->held.pid, &in);
        _exit(intent_makes(&in, f->toy->held.path) ? 2 : in.kind != INTENT_UNKNOWN);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static int nobody_looks_at(struct fixture *f, void (*run)(const struct trial *t), bool dumpable)
{
    struct trial t = create_x;
    struct intent in;
    pid_t pid;
    int r;

    t.arg[4] = dumpable;
    pid = start(f, run, &t);
    assert_true(toy_held(f->toy, pid));
    intent_look(f->toy->held.pid, &in); /* root sees all */
    assert_int_equal(in.kind, INTENT_OPEN);
    assert_true(intent_makes(&in, f->toy->held.path));
    r = seen_by_nobody(f);
    finish(f, pid);
    return r;
}

static void test_permission(void **state)
{
    char yama[16] = "0";

    (void)!fd_read_file("/proc/sys/kernel/yama/ptrace_scope", yama, sizeof(yama));
    assert_int_equal(nobody_looks_at(*state, call, true), 0); /* root's */
    assert_int_equal(nobody_looks_at(*state, call_as_nobody, false), 0);
    if (yama[0] == '0')
        assert_int_equal(nobody_looks_at(*state, call_as_nobody, true), 2);
}

/* ---- one LOOKUP in the kernel, two who wait for it ---- */

/* Waits until the thread waits in the kernel for something that is no signal. */
static void wait_asleep(pid_t tid)
{
    char path[64], text[1024] = ""; /* its pages are there: see touch */
    const char *p;

    snprintf(path, sizeof(path), "/proc/%d/stat", (int)tid);
    do {
        usleep(1000);
        assert_true(fd_read_file(path, text, sizeof(text)) > 0);
        p = strrchr(text, ')');
    } while (!p || p[2] != 'D');
}

/* Who opens to create is told that there is nothing; who reads the same name at the same time, and
 * waits for the same answer, must not be told so: the kernel asks for him again. */
static void joins(struct fixture *f, const struct trial *reader)
{
    static const struct trial mkdir_x = {.number = SYS_mkdirat, .arg = {AT, S("x"), 0700}};
    struct intent in;
    pid_t maker, pid;

    f->toy->hold = 0;
    pid = prepare(f, call, reader);
    maker = start(f, call, &mkdir_x);
    assert_true(toy_held(f->toy, maker));
    kill(pid, SIGCONT);
    wait_asleep(pid);
    toy_let_go(f->toy);
    while (toy_held(f->toy, pid) && f->toy->held.pid != (uint32_t)pid)
        toy_let_go(f->toy);
    assert_int_equal(f->toy->held.on, 1);
    intent_look((uint32_t)pid, &in);
    check_kind(reader, &in);
    finish(f, pid);
    finish(f, maker);
}

static void test_joined(void **state)
{
    static const struct trial readers[] = {
        {"open", SYS_openat, {AT, S("x"), O_RDONLY}, INTENT_READ, O_RDONLY, NULL},
        {"stat", SYS_newfstatat, {AT, S("x"), S(&st_room), 0}, INTENT_STAT, 0, NULL},
    };

    for (size_t i = 0; i < sizeof(readers) / sizeof(readers[0]); i++)
        joins(*state, &readers[i]);
}

/* ---- the caller's memory is locked by one who waits for us ---- */

struct locked {
    struct toy *toy;
    char *map;
    unsigned ready, go; /* the thread that is to map runs; it is to map */
    pid_t tid;          /* of this thread, when it begins */
};

static void reach(const unsigned *count, unsigned want)
{
    while (__atomic_load_n(count, __ATOMIC_ACQUIRE) < want)
        usleep(100);
}

static void *unmap_it(void *arg)
{
    const struct locked *l = arg;

    munmap(l->map, 4096); /* writes, and waits for the answer, with the lock */
    return NULL;
}

static void *map_more(void *arg)
{
    struct locked *l = arg;

    __atomic_store_n(&l->ready, 1, __ATOMIC_RELEASE);
    reach(&l->go, 1);
    __atomic_store_n(&l->tid, (pid_t)syscall(SYS_gettid), __ATOMIC_RELEASE);
    mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); /* waits for it */
    return NULL;
}

/* A page that the kernel meets first while the memory is locked is waited for, too. */
static void touch(const char *text)
{
    (void)*(const volatile char *)text;
}

static void lock_memory(const struct trial *t)
{
    struct locked l = {.toy = (struct toy *)t->arg[4]};
    unsigned writes = l.toy->count[FUSE_WRITE];
    pthread_t a, b;
    int fd = open("f", O_RDWR);

    l.map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (fd < 0 || l.map == MAP_FAILED)
        _exit(1);
    l.map[0] = 'T';
    touch((const char *)t->arg[1]);
    l.toy->silent = 1;
    pthread_create(&b, NULL, map_more, &l);
    reach(&l.ready, 1); /* a thread that begins maps */
    pthread_create(&a, NULL, unmap_it, &l);
    reach(&l.toy->count[FUSE_WRITE], writes + 1);
    __atomic_store_n(&l.go, 1, __ATOMIC_RELEASE); /* now, since a stack is mapped, too */
    while (__atomic_load_n(&l.tid, __ATOMIC_ACQUIRE) == 0)
        usleep(100);
    wait_asleep(l.tid);
    call(t);
}

static uint64_t time_of_peek(struct intent *in)
{
    uint64_t begin = clock_mono_ns();

    assert_false(intent_makes(in, "x"));
    return clock_mono_ns() - begin;
}

static void test_locked_memory(void **state)
{
    struct trial t = create_x;
    struct fixture *f = *state;
    unsigned lookups;
    struct intent in;
    pid_t pid;

    peek_set_wait(PEEK_WAIT_NS);
    t.arg[4] = S(f->toy);
    pid = prepare(f, lock_memory, &t);
    lookups = f->toy->count[FUSE_LOOKUP];
    kill(pid, SIGCONT);
    reach(&f->toy->count[FUSE_LOOKUP], lookups + 2); /* of "f", then of "x" */
    intent_look((uint32_t)pid, &in);
    assert_int_equal(in.kind, INTENT_OPEN);
    assert_in_range(time_of_peek(&in), PEEK_WAIT_NS, 1000 * PEEK_WAIT_NS);
    assert_true(peek_is_stuck()); /* else this test shows nothing */
    peek_set_wait(10 * NS_PER_S);
    assert_in_range(time_of_peek(&in), 0, NS_PER_S); /* not again */
    toy_kill(f->server);
    f->server = 0;
    kill(pid, SIGKILL);
    close(f->mount.fd);
    f->mount.fd = -1;
    waitpid(pid, NULL, 0);
    while (peek_is_stuck())
        usleep(100);
}

/* ---- what it costs ---- */

#define ROUNDS 2000

static void test_cost(void **state)
{
    struct fixture *f = *state;
    pid_t pid = start(f, call, &create_x);
    uint64_t begin, looked, made;
    struct intent in;

    assert_true(toy_held(f->toy, pid));
    begin = clock_mono_ns();
    for (int i = 0; i < ROUNDS; i++)
        intent_look((uint32_t)pid, &in);
    looked = clock_mono_ns();
    for (int i = 0; i < ROUNDS; i++)
        (void)intent_makes(&in, "x");
    made = clock_mono_ns();
    print_message("intent_look %.1f us, intent_makes %.1f us\n",
                  (double)(looked - begin) / ROUNDS / 1000,
                  (double)(made - looked) / ROUNDS / 1000);
    finish(f, pid);
}

#define MOUNTING(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest pure[] = {
        cmocka_unit_test(test_parse),
        cmocka_unit_test(test_parse_odd),
        cmocka_unit_test(test_same_name),
    };
    const struct CMUnitTest mounting[] = {
        MOUNTING(test_calls),         MOUNTING(test_edges),
        MOUNTING(test_other_callers), MOUNTING(test_uring),
#ifdef __x86_64__
        MOUNTING(test_int80),
#endif
        MOUNTING(test_permission),    MOUNTING(test_joined),
        MOUNTING(test_cost),          MOUNTING(test_locked_memory),
    };
    int failed = cmocka_run_group_tests(pure, NULL, NULL);

    if (geteuid() != 0 || access("/dev/fuse", R_OK | W_OK) < 0 || unshare(CLONE_NEWNS) < 0 ||
        mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) {
        fprintf(stderr, "SKIPPED: mounting needs root, CAP_SYS_ADMIN and /dev/fuse\n");
        return failed ? 1 : 77;
    }
    alarm(TEST_SECONDS);
    peek_set_wait(10 * NS_PER_S);
    return failed + cmocka_run_group_tests(mounting, NULL, NULL);
}
