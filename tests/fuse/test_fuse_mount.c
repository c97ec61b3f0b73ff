/* fuse/ against the kernel: mounts the toy file system and uses it. Skipped, and told so,
 * where the process may not mount.
 *
 * Everything happens in a mount namespace of its own, so that no mount outlives the process,
 * however it ends. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "fuse/fuse_init.h"
#include "fuse/fuse_mount.h"
#include "fuse/fuse_mountpoint.h"
#include "fuse/fuse_notify.h"
#include "fuse/fuse_reply.h"
#include "tests/fuse/toyfs.h"

/* After so long the process is killed, and its mounts go with it. */
#define TEST_SECONDS 120
#define NOBODY 65534

struct fixture {
    char dir[64];
    char point[80]; /* a directory in it */
    struct toy *toy;
    struct fuse_mount mount;
    struct fuse_negotiated negotiated;
    pid_t server;
};

static const struct fuse_init_wish wish = {
    .max_write = 1 << 20,
    .max_readahead = 1 << 20,
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    if (!f)
        return -1;
    strcpy(f->dir, "/tmp/test-fuse-XXXXXX");
    if (!mkdtemp(f->dir) || chmod(f->dir, 0755) < 0)
        return -1;
    snprintf(f->point, sizeof(f->point), "%s/mnt", f->dir);
    if (mkdir(f->point, 0755) < 0)
        return -1;
    f->mount.fd = -1;
    f->toy = toy_new();
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    toy_kill(f->server);
    if (f->mount.fd >= 0)
        close(f->mount.fd);
    while (umount2(f->point, MNT_FORCE | MNT_DETACH) == 0)
        continue;
    /* Probes that hung for a silent server are free now. */
    while (waitpid(-1, NULL, 0) > 0)
        continue;
    toy_free(f->toy);
    rmdir(f->point);
    rmdir(f->dir);
    free(f);
    return 0;
}

static void mount_with(struct fixture *f, struct fuse_mount_opts opts)
{
    struct err err = {0};
    int r;

    if (!opts.path)
        opts.path = f->point;
    r = fuse_mount(&opts, &f->mount, &err);
    if (r < 0)
        fail_msg("fuse_mount: %d %s", r, err.text);
    r = fuse_init_answer(f->mount.fd, &wish, 5000, &f->negotiated, &err);
    if (r < 0)
        fail_msg("fuse_init_answer: %d %s", r, err.text);
    f->server = toy_start(f->toy, f->mount.fd, &f->negotiated);
}

static void mount_toy(struct fixture *f)
{
    mount_with(f, (struct fuse_mount_opts){.source = "toy,with \\comma"});
}

static char *path_of(const struct fixture *f, const char *name)
{
    static char path[2048];

    snprintf(path, sizeof(path), "%s/%s", f->point, name);
    return path;
}

static size_t slurp(const struct fixture *f, const char *name, char *buf, size_t cap)
{
    int fd = open(path_of(f, name), O_RDONLY);
    ssize_t n;

    assert_true(fd >= 0);
    n = read(fd, buf, cap);
    assert_true(n >= 0);
    close(fd);
    return (size_t)n;
}

static void check_served_well(const struct fixture *f)
{
    assert_int_equal(f->toy->malformed, 0);
    assert_int_equal(f->toy->reply_error, 0);
}

/* A count that the child changes after the kernel has let us go on (RELEASE, FORGET). */
static bool reaches(const unsigned *count, unsigned want)
{
    for (int i = 0; i < 500; i++) {
        if (*(volatile const unsigned *)count >= want)
            return true;
        usleep(10000);
    }
    return false;
}

static void test_read_write_list(void **state)
{
    struct fixture *f = *state;
    char buf[64];
    struct stat st;
    struct err err = {0};
    int fd;

    toy_add(f->toy, "hello", "hello, world");
    mount_toy(f);
    assert_int_equal(f->mount.form, FUSE_MOUNT_SYSCALL);
    assert_false(f->mount.removed_stale);
    assert_true(fuse_mounted(&f->mount));

    assert_int_equal(slurp(f, "hello", buf, sizeof(buf)), 12);
    assert_memory_equal(buf, "hello, world", 12);
    assert_int_equal(open(path_of(f, "none"), O_RDONLY), -1);
    assert_int_equal(errno, ENOENT);

    fd = open(path_of(f, "new"), O_RDWR | O_CREAT | O_TRUNC, 0644);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "abc", 3), 3);
    assert_int_equal(pwrite(fd, "XY", 2, 1), 2);
    close(fd);
    assert_int_equal(slurp(f, "new", buf, sizeof(buf)), 3);
    assert_memory_equal(buf, "aXY", 3);
    assert_int_equal(f->toy->last_pid, getpid());

    fd = open(path_of(f, "new"), O_WRONLY | O_TRUNC);
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(stat(path_of(f, "new"), &st), 0);
    assert_int_equal(st.st_size, 0);
    assert_int_equal(st.st_blksize, 4096);
    assert_int_equal(f->toy->count[FUSE_SETATTR], 0); /* ATOMIC_O_TRUNC */
    assert_int_equal(f->toy->count[FUSE_CREATE], 1);
    assert_int_equal(f->toy->count[FUSE_OPEN], 3);
    assert_true(reaches(&f->toy->count[FUSE_RELEASE], 4));

    assert_int_equal(fuse_unmount(&f->mount, &err), 0);
    assert_false(fuse_mounted(&f->mount));
    assert_int_equal(fuse_unmount(&f->mount, &err), 0); /* twice is fine */
    assert_int_equal(waitpid(f->server, NULL, 0), f->server);
    f->server = 0;
    assert_int_equal(f->toy->end_error, ENODEV);
    check_served_well(f);
}

/* As `ls -l`: everything comes with the listing, no LOOKUP and no GETATTR of a file follows. */
static void test_list_with_attributes(void **state)
{
    struct fixture *f = *state;
    char name[32];
    unsigned lookups, listed = 0;
    struct dirent *e;
    DIR *dir;

    for (unsigned i = 0; i < TOY_FILES; i++) {
        snprintf(name, sizeof(name), "file-with-a-name-%u", i);
        toy_add(f->toy, name, "xyz");
    }
    f->toy->valid_ns = 60000000000;
    mount_toy(f);
    assert_true(f->negotiated.flags & FUSE_DO_READDIRPLUS);
    dir = opendir(f->point);
    assert_non_null(dir);
    while ((e = readdir(dir)))
        listed += e->d_type == DT_REG;
    assert_int_equal(listed, TOY_FILES);
    rewinddir(dir); /* all names have been read; only then are they stat'ed, as find does */
    lookups = f->toy->count[FUSE_LOOKUP];
    f->toy->count[FUSE_GETATTR] = 0;
    for (unsigned i = 0; i < TOY_FILES; i++) {
        struct stat st;

        snprintf(name, sizeof(name), "file-with-a-name-%u", i);
        assert_int_equal(stat(path_of(f, name), &st), 0);
        assert_int_equal(st.st_size, 3);
        assert_int_equal(st.st_ino, i + 2);
    }
    closedir(dir);
    assert_int_equal(f->toy->count[FUSE_LOOKUP], lookups);
    assert_int_equal(f->toy->count[FUSE_GETATTR], 0);
    assert_int_equal(f->toy->count[FUSE_READDIR], 0);
    assert_true(f->toy->count[FUSE_READDIRPLUS] >= 2);
    check_served_well(f);
}

static void test_big_requests(void **state)
{
    struct fixture *f = *state;
    size_t size = TOY_BYTES;
    char *out = malloc(size), *in = malloc(size);
    size_t done = 0;
    int fd;

    assert_non_null(out);
    assert_non_null(in);
    for (size_t i = 0; i < size; i++)
        out[i] = (char)(i * 2654435761u >> 13);
    mount_toy(f);
    assert_int_equal(f->negotiated.max_write, 1 << 20);
    fd = open(path_of(f, "big"), O_RDWR | O_CREAT, 0644);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, out, size), size);
    assert_int_equal(f->toy->max_write, 1 << 20);
    close(fd);
    fd = open(path_of(f, "big"), O_RDONLY); /* without FOPEN_KEEP_CACHE */
    assert_true(fd >= 0);
    while (done < size) {
        ssize_t n = read(fd, in + done, size - done);

        assert_true(n > 0);
        done += (size_t)n;
    }
    assert_memory_equal(in, out, size);
    close(fd);
    free(out);
    free(in);
    check_served_well(f);
}

/* A file system with xattrs is not asked for security.capability before each write(2). */
static void test_no_getxattr_for_writes(void **state)
{
    struct fixture *f = *state;
    int fd;

    f->toy->getxattr_yes = 1;
    mount_toy(f);
    fd = open(path_of(f, "f"), O_WRONLY | O_CREAT, 0644);
    assert_true(fd >= 0);
    for (int i = 0; i < 10; i++)
        assert_int_equal(write(fd, "0123456789", 10), 10);
    close(fd);
    if (f->negotiated.flags & FUSE_HANDLE_KILLPRIV_V2)
        assert_true(f->toy->count[FUSE_GETXATTR] <= 1);
    assert_int_equal(f->toy->count[FUSE_WRITE], 10);
    check_served_well(f);
}

static void test_long_name(void **state)
{
    struct fixture *f = *state;
    char name[FUSE_NAME_BYTES + 100];
    struct stat st;

    mount_toy(f);
    memset(name, 'n', sizeof(name));
    name[FUSE_NAME_BYTES] = '\0';
    assert_int_equal(stat(path_of(f, name), &st), -1);
    assert_int_equal(errno, ENOENT);
    name[FUSE_NAME_BYTES] = 'n';
    name[FUSE_NAME_BYTES + 1] = '\0';
    assert_int_equal(stat(path_of(f, name), &st), -1);
    assert_int_equal(errno, ENAMETOOLONG);
    check_served_well(f);
}

static void test_forgets_balance(void **state)
{
    struct fixture *f = *state;
    char name[32];
    struct stat st;
    int fd;

    for (unsigned i = 0; i < TOY_FILES; i++) {
        snprintf(name, sizeof(name), "f%u", i);
        toy_add(f->toy, name, "");
    }
    mount_toy(f);
    for (unsigned i = 0; i < TOY_FILES; i++)
        assert_int_equal(stat(path_of(f, f->toy->file[i].name), &st), 0);
    fd = open("/proc/sys/vm/drop_caches", O_WRONLY);
    if (fd < 0) {
        print_message("SKIPPED: caches cannot be dropped here\n");
        skip();
    }
    assert_int_equal(write(fd, "2", 1), 1);
    close(fd);
    for (unsigned i = 0; i < TOY_FILES; i++) {
        volatile int64_t *balance = &f->toy->balance[i];

        for (int k = 0; k < 500 && *balance; k++)
            usleep(10000);
        assert_int_equal(*balance, 0);
    }
    assert_true(f->toy->count[FUSE_BATCH_FORGET] + f->toy->count[FUSE_FORGET] > 0);
    check_served_well(f);
}

static void test_notifications(void **state)
{
    struct fixture *f = *state;
    char buf[16];
    unsigned i = toy_add(f->toy, "a", "old");
    unsigned lookups;
    struct stat st;

    toy_add(f->toy, "b", "");
    f->toy->valid_ns = 60000000000;
    f->toy->open_flags = FOPEN_KEEP_CACHE;
    mount_toy(f);
    assert_int_equal(slurp(f, "a", buf, sizeof(buf)), 3);

    /* A new version of the same size: the kernel goes on with what it has, until told. */
    memcpy((char *)(f->toy + 1) + (size_t)i * TOY_BYTES, "NEW", 3);
    assert_int_equal(slurp(f, "a", buf, sizeof(buf)), 3);
    assert_memory_equal(buf, "old", 3);
    assert_int_equal(fuse_notify_inval_inode(f->mount.fd, i + 2, 0, 0), 0);
    assert_int_equal(slurp(f, "a", buf, sizeof(buf)), 3);
    assert_memory_equal(buf, "NEW", 3);

    lookups = f->toy->count[FUSE_LOOKUP];
    assert_int_equal(stat(path_of(f, "a"), &st), 0);
    assert_int_equal(f->toy->count[FUSE_LOOKUP], lookups);
    assert_int_equal(fuse_notify_expire_entry(f->mount.fd, 1, "a", 1), 0);
    assert_int_equal(stat(path_of(f, "a"), &st), 0);
    assert_int_equal(f->toy->count[FUSE_LOOKUP], lookups + 1);
    assert_int_equal(fuse_notify_inval_entry(f->mount.fd, 1, "a", 1), 0);
    assert_int_equal(stat(path_of(f, "a"), &st), 0);
    assert_int_equal(f->toy->count[FUSE_LOOKUP], lookups + 2);

    /* What the kernel has not cached */
    assert_int_equal(fuse_notify_inval_inode(f->mount.fd, 999, 0, 0), -ENOENT);
    assert_int_equal(fuse_notify_inval_entry(f->mount.fd, 1, "b", 1), -ENOENT);
    assert_int_equal(fuse_notify_inval_entry(f->mount.fd, 999, "b", 1), -ENOENT);
    check_served_well(f);
}

static void test_reply_errors(void **state)
{
    struct fixture *f = *state;

    mount_toy(f);
    /* A request that is not there */
    assert_int_equal(fuse_reply_err(f->mount.fd, 0x7ffffffe, 0), -ENOENT);
    assert_int_equal(fuse_reply_err(f->mount.fd, 0x7ffffffe, 5), -EINVAL);
    assert_int_equal(fuse_reply_err(f->mount.fd, 0x7ffffffe, -600), -EINVAL);
}

static void test_mountinfo_shows_it(void **state)
{
    struct fixture *f = *state;
    struct fuse_mountpoint p;
    struct err err = {0};

    mount_with(f, (struct fuse_mount_opts){.source = "s3://b/a b,c",
                                           .allow_other = true,
                                           .default_permissions = true,
                                           .max_read = 65536,
                                           .read_only = true});
    assert_int_equal(fuse_mountpoint_look(f->point, &p, &err), 0);
    assert_true(p.is_mount);
    assert_string_equal(p.path, f->point);
    assert_string_equal(p.info.type, FUSE_MOUNT_TYPE);
    assert_string_equal(p.info.source, "s3://b/a b,c");
    assert_int_equal(open(path_of(f, "x"), O_WRONLY | O_CREAT, 0644), -1);
    assert_int_equal(errno, EROFS);
    assert_true(fcntl(f->mount.fd, F_GETFD) & FD_CLOEXEC);
    assert_true(fcntl(f->mount.fd, F_GETFL) & O_NONBLOCK);
}

static unsigned long read_knob(const struct fuse_mount *m)
{
    char path[96], text[32] = "";
    FILE *in;

    snprintf(path, sizeof(path), "/sys/class/bdi/%u:%u/read_ahead_kb", m->dev_major, m->dev_minor);
    in = fopen(path, "re");
    assert_non_null(in);
    assert_non_null(fgets(text, sizeof(text), in));
    fclose(in);
    return strtoul(text, NULL, 10);
}

static void test_readahead(void **state)
{
    struct fixture *f = *state;
    struct fuse_mount nowhere = {.form = FUSE_MOUNT_HANDED_IN};

    mount_toy(f);
    /* INIT is taken in by the kernel when the answer is written, before this. */
    assert_int_equal(read_knob(&f->mount), 128);
    assert_int_equal(fuse_set_readahead(&f->mount, 1 << 20), 0);
    assert_int_equal(read_knob(&f->mount), 1024);
    assert_int_equal(fuse_set_readahead(&nowhere, 1 << 20), -ENOTSUP);
    assert_int_equal(fuse_abort(&nowhere), -ENOTSUP);
}

static void test_wrong_mount_points(void **state)
{
    struct fixture *f = *state;
    char path[128];
    struct fuse_mount_opts opts = {.path = path};
    struct fuse_mount m;
    struct err err = {0};
    int fd;

    snprintf(path, sizeof(path), "%s/missing", f->dir);
    assert_int_equal(fuse_mount(&opts, &m, &err), -ENOENT);
    assert_non_null(strstr(err.text, "does not exist"));
    assert_non_null(strstr(err.text, path));

    snprintf(path, sizeof(path), "%s/file", f->dir);
    fd = open(path, O_CREAT | O_WRONLY, 0644);
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(fuse_mount(&opts, &m, &err), -ENOTDIR);
    assert_non_null(strstr(err.text, "not a directory"));
    strcat(path, "/below");
    assert_int_equal(fuse_mount(&opts, &m, &err), -ENOTDIR);
    snprintf(path, sizeof(path), "%s/file", f->dir);
    unlink(path);
}

static void test_through_a_link(void **state)
{
    struct fixture *f = *state;
    char link[128];

    snprintf(link, sizeof(link), "%s/link", f->dir);
    assert_int_equal(symlink("mnt/.", link), 0);
    mount_with(f, (struct fuse_mount_opts){.path = link});
    unlink(link);
    assert_string_equal(f->mount.path, f->point);
    assert_int_equal(fuse_unmount(&f->mount, NULL), 0);
}

static void test_busy(void **state)
{
    struct fixture *f = *state;
    struct fuse_mount_opts opts = {.path = f->point};
    struct fuse_mount m;
    struct err err = {0};

    mount_toy(f);
    assert_int_equal(fuse_mount(&opts, &m, &err), -EBUSY);
    assert_non_null(strstr(err.text, "running stateproxy"));
    /* One that reads its requests and never answers */
    f->toy->silent = 1;
    assert_int_equal(fuse_mount(&opts, &m, &err), -EBUSY);
    assert_non_null(strstr(err.text, "does not answer"));
    f->toy->silent = 0;
    assert_true(fuse_mounted(&f->mount));
}

/* Whoever knows that nobody serves it takes it off, and lets those go who wait in it. */
static void test_end_silent(void **state)
{
    struct fixture *f = *state;
    struct fuse_mount_opts opts = {.path = f->point, .end_silent = true};
    struct fuse_mount m;
    struct err err = {0};

    mount_toy(f);
    assert_int_equal(fuse_mount(&opts, &m, &err), -EBUSY); /* it answers */
    f->toy->silent = 1;
    assert_int_equal(fuse_mount(&opts, &m, &err), 0);
    assert_true(m.removed_stale);
    assert_true(fuse_mounted(&m));
    assert_int_equal(waitpid(f->server, NULL, 0), f->server);
    f->server = 0;
    close(m.fd);
    assert_int_equal(fuse_unmount(&m, NULL), 0);
}

/* Other file systems are mounted over, our own unmount never takes theirs. */
static void test_other_mounts(void **state)
{
    struct fixture *f = *state;
    struct err err = {0};

    assert_int_equal(mount("below", f->point, "tmpfs", 0, NULL), 0);
    mount_toy(f);
    assert_int_equal(mount("above", f->point, "tmpfs", 0, NULL), 0);
    assert_true(fuse_mounted(&f->mount));
    assert_int_equal(fuse_unmount(&f->mount, &err), -EBUSY);
    assert_non_null(strstr(err.text, "over"));
    assert_int_equal(umount(f->point), 0);
    assert_int_equal(fuse_unmount(&f->mount, &err), 0);
    assert_int_equal(umount(f->point), 0);
    assert_int_equal(umount(f->point), -1);
}

static void kill_server(struct fixture *f)
{
    toy_kill(f->server);
    f->server = 0;
    close(f->mount.fd);
    f->mount.fd = -1;
}

static void test_stale_mount(void **state)
{
    struct fixture *f = *state;
    char buf[16];
    struct stat st;

    toy_add(f->toy, "a", "text");
    mount_toy(f);
    kill_server(f);
    assert_int_equal(stat(path_of(f, "a"), &st), -1);
    assert_int_equal(errno, ENOTCONN);

    mount_toy(f);
    assert_true(f->mount.removed_stale);
    assert_int_equal(slurp(f, "a", buf, sizeof(buf)), 4);
    assert_int_equal(fuse_unmount(&f->mount, NULL), 0);
    assert_int_equal(umount(f->point), -1); /* nothing is left below */
    check_served_well(f);
}

/* The old one is still ending while the new one starts: its workers hold the descriptor a
 * moment longer. */
static void test_mount_that_is_dying(void **state)
{
    struct fixture *f = *state;
    pid_t old, killer;

    mount_toy(f);
    f->toy->silent = 1;
    close(f->mount.fd);
    f->mount.fd = -1;
    old = f->server;
    killer = fork();
    assert_true(killer >= 0);
    if (killer == 0) {
        usleep(300000);
        kill(old, SIGKILL);
        _exit(0);
    }
    mount_with(f, (struct fuse_mount_opts){.source = "second"});
    assert_true(f->mount.removed_stale);
    waitpid(killer, NULL, 0);
    waitpid(old, NULL, 0);
}

/* A dead mount of another user, into which not even root may look. */
static void test_stale_mount_of_a_user(void **state)
{
    struct fixture *f = *state;
    char options[128];
    struct stat st;
    int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);

    assert_true(fd >= 0);
    snprintf(options, sizeof(options), "fd=%d,rootmode=40000,user_id=%d,group_id=%d", fd, NOBODY,
             NOBODY);
    assert_int_equal(mount("x", f->point, FUSE_MOUNT_TYPE, 0, options), 0);
    close(fd);
    assert_int_equal(stat(f->point, &st), -1);
    assert_int_equal(errno, EACCES);
    mount_toy(f);
    assert_true(f->mount.removed_stale);
}

static void test_busy_unmount_is_lazy(void **state)
{
    struct fixture *f = *state;
    char buf[8];
    int fd;

    toy_add(f->toy, "a", "text");
    f->toy->open_flags = FOPEN_DIRECT_IO;
    mount_toy(f);
    fd = open(path_of(f, "a"), O_RDONLY);
    assert_true(fd >= 0);
    assert_int_equal(fuse_unmount(&f->mount, NULL), 0);
    assert_false(fuse_mounted(&f->mount));
    assert_int_equal(read(fd, buf, sizeof(buf)), 4); /* still served */
    close(fd);
    check_served_well(f);
}

static void test_unmount_force(void **state)
{
    struct fixture *f = *state;
    struct pollfd p;
    char buf[8];
    int fd;

    toy_add(f->toy, "a", "text");
    f->toy->open_flags = FOPEN_DIRECT_IO;
    mount_toy(f);
    fd = open(path_of(f, "a"), O_RDONLY);
    assert_true(fd >= 0);
    f->toy->silent = 1;
    assert_int_equal(fuse_unmount_force(&f->mount, NULL), 0);
    assert_false(fuse_mounted(&f->mount));
    assert_int_equal(read(fd, buf, sizeof(buf)), -1);
    assert_int_equal(errno, ENOTCONN);
    close(fd);
    /* How whoever serves it notices */
    p = (struct pollfd){.fd = f->mount.fd, .events = POLLIN};
    assert_int_equal(poll(&p, 1, 5000), 1);
    assert_int_equal(p.revents, POLLERR);
    assert_int_equal(waitpid(f->server, NULL, 0), f->server);
    f->server = 0;
    assert_int_equal(f->toy->end_error, ENODEV);
}

static void test_abort(void **state)
{
    struct fixture *f = *state;
    struct stat st;

    mount_toy(f);
    assert_int_equal(fuse_waiting(&f->mount), 0);
    if (fuse_abort(&f->mount) == -ENOTSUP) {
        print_message("SKIPPED: no fusectl here\n");
        skip();
    }
    assert_int_equal(stat(path_of(f, "x"), &st), -1);
    assert_int_equal(errno, ENOTCONN);
    assert_true(fuse_mounted(&f->mount));
    assert_int_equal(waitpid(f->server, NULL, 0), f->server);
    f->server = 0;
    assert_int_equal(f->toy->end_error, ECONNABORTED); /* ABORT_ERROR */
    assert_int_equal(fuse_unmount(&f->mount, NULL), 0);
    /* there is none any more, and nothing else is hit */
    assert_int_equal(fuse_abort(&f->mount), 0);
}

/* Off already, and a program has a file open: whoever waits in it is let go all the same. */
static void test_unmount_force_of_a_detached_one(void **state)
{
    struct fixture *f = *state;
    char buf[8];
    int fd;

    toy_add(f->toy, "a", "text");
    f->toy->open_flags = FOPEN_DIRECT_IO;
    mount_toy(f);
    fd = open(path_of(f, "a"), O_RDONLY);
    assert_true(fd >= 0);
    assert_int_equal(fuse_unmount(&f->mount, NULL), 0);
    assert_false(fuse_mounted(&f->mount));
    assert_int_equal(read(fd, buf, sizeof(buf)), 4);
    f->toy->silent = 1;
    assert_int_equal(fuse_unmount_force(&f->mount, NULL), 0);
    assert_int_equal(read(fd, buf, sizeof(buf)), -1);
    assert_int_equal(errno, ENOTCONN);
    close(fd);
}

/* A descriptor that somebody else mounted. */
static void test_handed_in(void **state)
{
    struct fixture *f = *state;
    char options[128], path[32], buf[16];
    int fd = open("/dev/fuse", O_RDWR);

    assert_true(fd >= 0);
    snprintf(options, sizeof(options), "fd=%d,rootmode=40000,user_id=0,group_id=0", fd);
    assert_int_equal(mount("csi", f->point, "fuse", 0, options), 0);
    snprintf(path, sizeof(path), "/dev/fd/%d", fd);
    toy_add(f->toy, "a", "text");
    mount_with(f, (struct fuse_mount_opts){.path = path});
    assert_int_equal(f->mount.form, FUSE_MOUNT_HANDED_IN);
    assert_int_equal(f->mount.fd, fd);
    assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
    assert_int_equal(slurp(f, "a", buf, sizeof(buf)), 4);
    assert_int_equal(fuse_unmount(&f->mount, NULL), 0);
    assert_int_equal(slurp(f, "a", buf, sizeof(buf)), 4); /* not unmounted */
}

static void test_wrong_descriptors(void **state)
{
    static const char *const paths[] = {"/dev/fd/", "/dev/fd/x", "/dev/fd/-1", "/dev/fd/3x",
                                        "/dev/fd/99999999999999999999"};
    struct fuse_mount_opts opts;
    struct fuse_mount m;
    struct err err = {0};
    struct fuse_negotiated n;
    int fd;

    (void)state;
    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        opts = (struct fuse_mount_opts){.path = paths[i]};
        assert_int_equal(fuse_mount(&opts, &m, &err), -EINVAL);
    }
    opts.path = "/dev/fd/987";
    assert_int_equal(fuse_mount(&opts, &m, &err), -EBADF);
    assert_non_null(strstr(err.text, "not open"));
    opts.path = "/dev/fd/0";
    assert_int_equal(fuse_mount(&opts, &m, &err), -EBADF);
    fd = open("/dev/fuse", O_RDONLY | O_CLOEXEC);
    assert_int_equal(fuse_mount_take(fd, "x", &m, &err), -EBADF);
    assert_non_null(strstr(err.text, "not open for reading and writing"));
    close(fd);
    /* One of the right kind, which nobody has mounted */
    fd = open("/dev/fuse", O_RDWR | O_CLOEXEC | O_NONBLOCK);
    assert_true(fd >= 0);
    assert_int_equal(fuse_init_answer(fd, &wish, 1000, &n, &err), -EPERM);
    close(fd);
}

/* In a process of its own, which becomes nobody; exits with the line where something was
 * wrong, or 0. */
#define CHECK(x)                                                                                   \
    do {                                                                                           \
        if (!(x)) {                                                                                \
            fprintf(stderr, "line %d: %s: errno %d, %s\n", __LINE__, #x, errno, err.text);         \
            _exit(1);                                                                              \
        }                                                                                          \
    } while (0)

static void become_nobody(void)
{
    struct err err = {0};

    CHECK(setgroups(0, NULL) == 0);
    CHECK(setresgid(NOBODY, NOBODY, NOBODY) == 0);
    CHECK(setresuid(NOBODY, NOBODY, NOBODY) == 0);
}

static __attribute__((noreturn)) void run_as_nobody(struct fixture *f)
{
    struct fuse_mount_opts opts = {
        .path = f->point, .source = "s3://b/x,y\\z w", .default_permissions = true};
    struct fuse_mountpoint p;
    struct err err = {0};
    char buf[16];
    int fd;

    become_nobody();
    opts.allow_other = true; /* not allowed to users in fuse.conf as shipped */
    if (fuse_mount(&opts, &f->mount, &err) == 0) {
        CHECK(fuse_unmount(&f->mount, &err) == 0);
        close(f->mount.fd);
    } else {
        CHECK(err.code == EPERM && strstr(err.text, "allow_other"));
    }

    opts.allow_other = false;
    CHECK(fuse_mount(&opts, &f->mount, &err) == 0);
    CHECK(f->mount.form == FUSE_MOUNT_HELPER);
    CHECK(fcntl(f->mount.fd, F_GETFD) & FD_CLOEXEC);
    CHECK(fuse_init_answer(f->mount.fd, &wish, 5000, &f->negotiated, &err) == 0);
    f->server = toy_start(f->toy, f->mount.fd, &f->negotiated);
    CHECK(fuse_mountpoint_look(f->point, &p, &err) == 0);
    CHECK(strcmp(p.info.type, FUSE_MOUNT_TYPE) == 0);
    CHECK(strcmp(p.info.source, "s3://b/x,y\\z w") == 0);
    CHECK(p.info.user_id == NOBODY);
    fd = open(path_of(f, "a"), O_RDONLY);
    CHECK(fd >= 0);
    CHECK(read(fd, buf, sizeof(buf)) == 4);
    close(fd);
    CHECK(fuse_unmount(&f->mount, &err) == 0);
    CHECK(!fuse_mounted(&f->mount));
    toy_kill(f->server);
    close(f->mount.fd);

    /* A dead one is taken off by the helper, too. */
    CHECK(fuse_mount(&opts, &f->mount, &err) == 0);
    close(f->mount.fd);
    CHECK(fuse_mount(&opts, &f->mount, &err) == 0);
    CHECK(f->mount.removed_stale);
    fd = open(f->point, O_PATH); /* keeps it busy */
    CHECK(fuse_unmount(&f->mount, &err) == 0);
    CHECK(!fuse_mounted(&f->mount));
    _exit(0);
}

static void run_child(struct fixture *f, void (*run)(struct fixture *f))
{
    pid_t pid = fork();
    int status;

    assert_true(pid >= 0);
    if (pid == 0)
        run(f);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

/* Distributions let users open /dev/fuse (udev: 0666); a bare container may not. Then a node
 * that does is put over it, in this mount namespace. */
static bool device_for_users(const struct fixture *f)
{
    char dir[96], node[128];
    struct stat st;

    if (stat("/dev/fuse", &st) == 0 && (st.st_mode & 0006) == 0006)
        return true;
    snprintf(dir, sizeof(dir), "%s/dev", f->dir);
    snprintf(node, sizeof(node), "%s/fuse", dir);
    return mkdir(dir, 0755) == 0 && mount("dev", dir, "tmpfs", 0, NULL) == 0 &&
           mknod(node, S_IFCHR, st.st_rdev) == 0 && chmod(node, 0666) == 0 &&
           mount(node, "/dev/fuse", NULL, MS_BIND, NULL) == 0 && umount2(dir, MNT_DETACH) == 0 &&
           rmdir(dir) == 0;
}

static void test_fusermount(void **state)
{
    struct fixture *f = *state;

    if (!device_for_users(f)) {
        print_message("SKIPPED: users cannot open /dev/fuse here\n");
        skip();
    }
    if (access("/usr/bin/fusermount3", X_OK) < 0 && access("/bin/fusermount3", X_OK) < 0) {
        print_message("SKIPPED: no fusermount3 here\n");
        skip();
    }
    toy_add(f->toy, "a", "text");
    assert_int_equal(chown(f->point, NOBODY, NOBODY), 0);
    run_child(f, run_as_nobody);
}

static __attribute__((noreturn)) void run_refused(struct fixture *f)
{
    struct fuse_mount_opts opts = {.path = f->point};
    struct err err = {0};

    become_nobody(); /* whose directory it is not */
    CHECK(fuse_mount(&opts, &f->mount, &err) == -EPERM);
    CHECK(strncmp(err.text, "fusermount3: ", 13) == 0);
    CHECK(!strchr(err.text, '\n'));
    CHECK(setenv("PATH", "/nowhere", 1) == 0);
    CHECK(fuse_mount(&opts, &f->mount, &err) == -ENOPKG);
    CHECK(strstr(err.text, "not installed"));
    _exit(0);
}

static void test_fusermount_refuses(void **state)
{
    run_child(*state, run_refused);
}

#define MOUNTING(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        MOUNTING(test_read_write_list),
        MOUNTING(test_list_with_attributes),
        MOUNTING(test_big_requests),
        MOUNTING(test_no_getxattr_for_writes),
        MOUNTING(test_long_name),
        MOUNTING(test_forgets_balance),
        MOUNTING(test_notifications),
        MOUNTING(test_reply_errors),
        MOUNTING(test_mountinfo_shows_it),
        MOUNTING(test_readahead),
        MOUNTING(test_wrong_mount_points),
        MOUNTING(test_through_a_link),
        MOUNTING(test_busy),
        MOUNTING(test_end_silent),
        MOUNTING(test_other_mounts),
        MOUNTING(test_stale_mount),
        MOUNTING(test_mount_that_is_dying),
        MOUNTING(test_stale_mount_of_a_user),
        MOUNTING(test_busy_unmount_is_lazy),
        MOUNTING(test_unmount_force),
        MOUNTING(test_unmount_force_of_a_detached_one),
        MOUNTING(test_abort),
        MOUNTING(test_handed_in),
        MOUNTING(test_wrong_descriptors),
        MOUNTING(test_fusermount),
        MOUNTING(test_fusermount_refuses),
    };

    if (geteuid() != 0 || access("/dev/fuse", R_OK | W_OK) < 0 || unshare(CLONE_NEWNS) < 0 ||
        mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) {
        fprintf(stderr, "SKIPPED: mounting needs root, CAP_SYS_ADMIN and /dev/fuse\n");
        return 77;
    }
    alarm(TEST_SECONDS);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
