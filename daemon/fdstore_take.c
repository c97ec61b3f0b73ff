/* The taking side of fdstore.h. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "conf/conf_env.h"
#include "daemon/fdstore.h"
#include "daemon/fdstore_name.h"
#include "fuse/fuse_mount.h"
#include "fuse/fuse_mountinfo.h"

#define LISTEN_FIRST 3 /* the number of the first descriptor that is handed in */
#define NUMBER_MAX 65535
#define DIGITS_MAX 9 /* of a number in a name */
#define IS_FOREIGN (-2)

static unsigned number_of(const char *text)
{
    char *end;
    unsigned long v = text && *text >= '0' && *text <= '9' ? strtoul(text, &end, 10) : 0;

    return v && *end == '\0' && v <= INT32_MAX ? (unsigned)v : 0;
}

/* What follows `prefix` in a name of `len` bytes; -1: it has not this form. */
static int number_behind(const char *prefix, const char *name, size_t len)
{
    size_t n = strlen(prefix);
    int v = 0;

    if (len <= n || len > n + DIGITS_MAX || memcmp(name, prefix, n) != 0)
        return -1;
    for (size_t i = n; i < len; i++) {
        if (name[i] < '0' || name[i] > '9')
            return -1;
        v = 10 * v + (name[i] - '0');
    }
    return v;
}

static int number_by_name(const char *name, size_t len, unsigned *ret_set)
{
    int set = number_behind(FDSTORE_RECORD, name, len), v;

    if (set >= 0) {
        *ret_set = (unsigned)set;
        return FDSTORE_IS_RECORD;
    }
    v = number_behind(FDSTORE_FD, name, len);
    return v >= LISTEN_FIRST && v <= NUMBER_MAX ? v : IS_FOREIGN;
}

/* Fills in->number and in->at. How many are ours. */
static unsigned read_names(const char *names, struct fdstore_handed_in *in)
{
    unsigned ours = 0;

    for (unsigned i = 0; i < in->n; i++) {
        size_t len = strcspn(names, ":");

        in->number[i] = number_by_name(names, len, &in->set[i]);
        in->at[i] = LISTEN_FIRST + (int)i;
        ours += in->number[i] != IS_FOREIGN;
        names += len + (names[len] == ':');
    }
    return ours;
}

/* Where none is in the way of another: above the old numbers, and above where they are. */
static int place_above(const struct fdstore_handed_in *in)
{
    int above = LISTEN_FIRST + (int)in->n;

    for (unsigned i = 0; i < in->n; i++) {
        if (in->number[i] > above)
            above = in->number[i];
    }
    return above;
}

/* All go above the highest old number first. */
static int lift(struct fdstore_handed_in *in, struct err *err)
{
    int above = place_above(in);
    struct rlimit lim;

    if (getrlimit(RLIMIT_NOFILE, &lim) == 0 && lim.rlim_cur < (rlim_t)above + in->n + 64) {
        lim.rlim_cur = (rlim_t)above + in->n + 64;
        if (lim.rlim_max < lim.rlim_cur)
            lim.rlim_max = lim.rlim_cur;
        (void)!setrlimit(RLIMIT_NOFILE, &lim); /* (the next line says what comes of it) */
    }
    for (unsigned i = 0; i < in->n; i++) {
        int fd = in->number[i] == IS_FOREIGN ? -1 : fcntl(in->at[i], F_DUPFD_CLOEXEC, above + 1);

        if (fd < 0 && in->number[i] != IS_FOREIGN)
            return err_set(err, errno, "descriptor %d that is handed in: %s", in->at[i],
                           strerror(errno));
        close(in->at[i]);
        in->at[i] = fd;
    }
    return 0;
}

static int lower_one(struct fdstore_handed_in *in, unsigned i, struct err *err)
{
    int to = in->number[i];

    if (fcntl(to, F_GETFD) >= 0)
        return err_set(err, EPROTO, "descriptor %d is handed in twice", to);
    if (dup3(in->at[i], to, O_CLOEXEC) < 0)
        return err_set(err, errno, "descriptor %d: %s", to, strerror(errno));
    close(in->at[i]);
    in->at[i] = to;
    return 0;
}

static int lower(struct fdstore_handed_in *in, struct err *err)
{
    int r = 0;

    for (unsigned i = 0; r == 0 && i < in->n; i++) {
        if (in->number[i] >= 0)
            r = lower_one(in, i, err);
    }
    return r;
}

/* Of those records that are there the newest one holds. -EPROTO: two are of one set, or there are
 * too many. */
static int list_record(const struct fdstore_handed_in *in, unsigned i, struct fdstore_left *ret)
{
    bool newest = ret->record < 0 || in->set[i] > ret->set[0];
    int drop = newest ? ret->record : in->at[i];

    if (newest)
        ret->record = in->at[i];
    if (drop >= 0)
        close(drop);
    for (unsigned k = 0; k < ret->n_sets; k++) {
        if (ret->set[k] == in->set[i])
            return -EPROTO;
    }
    if (ret->n_sets == FDSTORE_RECORDS_MAX)
        return -EPROTO;
    ret->set[ret->n_sets] = newest ? ret->set[0] : in->set[i];
    if (newest)
        ret->set[0] = in->set[i];
    ret->n_sets++;
    return 0;
}

/* Of what is ours: where it is now, however far that went. */
static int list_ours(const struct fdstore_handed_in *in, struct fdstore_left *ret)
{
    int r = 0;

    for (unsigned i = 0; i < in->n; i++) {
        if (in->number[i] == FDSTORE_IS_RECORD) {
            r = list_record(in, i, ret) < 0 ? -EPROTO : r;
        } else if (in->number[i] >= 0) {
            ret->number[ret->n] = in->number[i];
            ret->at[ret->n++] = in->at[i];
        }
    }
    return r;
}

int fdstore_place(struct fdstore_handed_in *in, struct fdstore_left *ret, struct err *err)
{
    int r = lift(in, err), listed;

    ret->record = -1;
    ret->n = ret->n_sets = 0;
    if (r == 0)
        r = lower(in, err);
    listed = list_ours(in, ret);
    if (r == 0 && listed < 0)
        r = err_set(err, EPROTO, "a record is handed in twice, or there are too many");
    return r;
}

int fdstore_take(char *const *env, struct fdstore_left *ret, struct err *err)
{
    static struct fdstore_handed_in in;
    const char *names = conf_env_get(env, "LISTEN_FDNAMES");
    unsigned n = number_of(conf_env_get(env, "LISTEN_FDS"));
    int r;

    ret->record = -1;
    ret->n = ret->n_sets = 0;
    in = (struct fdstore_handed_in){.n = n < FDSTORE_MAX ? n : FDSTORE_MAX};
    if (!names || number_of(conf_env_get(env, "LISTEN_PID")) != (unsigned)getpid() ||
        read_names(names, &in) == 0)
        return 0;
    r = fdstore_place(&in, ret, err);
    return n > FDSTORE_MAX ? err_set(err, E2BIG, "too many descriptors are handed in") : r;
}

void fdstore_discard(struct fdstore_left *left, char *const *env)
{
    struct sd_notify notify;

    sd_notify_init(&notify, env);
    for (unsigned i = 0; i < left->n; i++) {
        (void)!shutdown(left->at[i], SHUT_RDWR); /* (ENOTSOCK: most are none) */
        close(left->at[i]);
    }
    if (left->record >= 0)
        close(left->record);
    fdstore_remove(&notify, left->set, left->n_sets, left->number, left->n);
    left->record = -1;
    left->n = left->n_sets = 0;
}

static bool was_handed_in(const struct fdstore_left *left, int fd)
{
    for (unsigned i = 0; i < left->n; i++) {
        if (left->number[i] == fd)
            return true;
    }
    return false;
}

struct missing {
    const struct fdstore_left *left;
    unsigned n;
};

static void count_missing(void *ctx, int fd)
{
    struct missing *m = ctx;

    m->n += !was_handed_in(m->left, fd);
}

struct tidying {
    struct fdstore_left *left;
    bool used[FDSTORE_MAX];
};

static void note_used(void *ctx, int fd)
{
    struct tidying *t = ctx;

    for (unsigned i = 0; i < t->left->n; i++)
        t->used[i] |= t->left->number[i] == fd;
}

void fdstore_tidy(struct fdstore_left *left, const struct handover *h, char *const *env)
{
    static struct tidying t;
    static int number[FDSTORE_MAX];
    struct sd_notify notify;
    unsigned n = 0;

    t = (struct tidying){.left = left};
    handover_each_fd(h, note_used, &t);
    for (unsigned i = 0; i < left->n; i++) {
        if (t.used[i])
            continue;
        close(left->at[i]);
        number[n++] = left->number[i];
    }
    sd_notify_init(&notify, env);
    if (n || left->n_sets > 1)
        fdstore_remove(&notify, left->set + 1, left->n_sets - 1, number, n);
}

/* The same file system at the same place, as another mount: this is another mount namespace. Its
 * connection is alive, so no other has its device number. */
static int find_copy(struct fuse_mount *m)
{
    struct fuse_mountinfo info;
    int r =
        fuse_mountinfo_find_dev("/proc/self/mountinfo", m->dev_major, m->dev_minor, m->path, &info);

    if (r == 0)
        m->mnt_id = info.mnt_id;
    return r;
}

/* 0; -ENODEV: it is not where it was made; or -errno: that cannot be found out now. */
static int find_mount(struct fuse_mount *m, bool elsewhere)
{
    struct fuse_mountinfo info;
    int r = m->form == FUSE_MOUNT_HANDED_IN
                ? 0
                : fuse_mountinfo_find("/proc/self/mountinfo", m->mnt_id, &info);

    if (r == 0 && fuse_mounted(m))
        return 0;
    if (r == 0 || r == -ENOENT)
        r = find_copy(m);
    return r != -ENOENT ? r : elsewhere ? 0 : -ENODEV;
}

int fdstore_check(const struct fdstore_left *left, const struct handover *h, bool elsewhere,
                  struct err *err)
{
    struct missing m = {.left = left};
    struct pollfd p = {.fd = h->rec->mount.fd};
    int r;

    handover_each_fd(h, count_missing, &m);
    if (m.n)
        return err_set(err, EBADF, "%u descriptors are missing", m.n);
    if (!h->rec->has_mount)
        return 0;
    if (poll(&p, 1, 0) < 0)
        return err_set(err, errno, "poll: %s", strerror(errno));
    r = p.revents & (POLLERR | POLLNVAL) ? -ENODEV : find_mount(&h->rec->mount, elsewhere);
    if (r == -ENODEV)
        return err_set(err, ENODEV, "its mount is gone");
    return r < 0 ? err_set(err, -r, "cannot look for its mount: %s", strerror(-r)) : 0;
}

void fdstore_abort(const struct fdstore_left *left, const struct handover *h)
{
    if (h->rec->has_mount && was_handed_in(left, h->rec->mount.abort_fd))
        (void)!fuse_abort(&h->rec->mount); /* (it may be unknown how) */
}
