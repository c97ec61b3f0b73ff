/* The taking side of fdstore.h. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "conf/conf_env.h"
#include "daemon/fdstore.h"
#include "daemon/fdstore_name.h"

#define LISTEN_FIRST 3 /* the number of the first descriptor that is handed in */
#define NUMBER_MAX 65535
#define IS_RECORD (-1)
#define IS_FOREIGN (-2)

/* Descriptors as they are handed in: where each is to be. */
struct handed_in {
    unsigned n;
    int number[FDSTORE_MAX]; /* the old one, IS_RECORD or IS_FOREIGN */
    int at[FDSTORE_MAX];     /* where it is now */
    int highest;
};

static unsigned number_of(const char *text)
{
    char *end;
    unsigned long v = text && *text >= '0' && *text <= '9' ? strtoul(text, &end, 10) : 0;

    return v && *end == '\0' && v <= INT32_MAX ? (unsigned)v : 0;
}

static int number_by_name(const char *name, size_t len)
{
    static const char prefix[] = FDSTORE_FD;
    size_t n = sizeof(prefix) - 1;
    int v = 0;

    if (len == strlen(FDSTORE_RECORD) && memcmp(name, FDSTORE_RECORD, len) == 0)
        return IS_RECORD;
    if (len <= n || len > n + 5 || memcmp(name, prefix, n) != 0)
        return IS_FOREIGN;
    for (size_t i = n; i < len; i++) {
        if (name[i] < '0' || name[i] > '9')
            return IS_FOREIGN;
        v = 10 * v + (name[i] - '0');
    }
    return v >= LISTEN_FIRST && v <= NUMBER_MAX ? v : IS_FOREIGN;
}

static void read_names(const char *names, struct handed_in *in)
{
    for (unsigned i = 0; i < in->n; i++) {
        size_t len = strcspn(names, ":");

        in->number[i] = number_by_name(names, len);
        in->at[i] = LISTEN_FIRST + (int)i;
        if (in->number[i] > in->highest)
            in->highest = in->number[i];
        names += len + (names[len] == ':');
    }
}

/* All go above the highest old number first, so that none is in the way of another. */
static int lift(struct handed_in *in, struct err *err)
{
    int above = in->highest > LISTEN_FIRST + (int)in->n ? in->highest : LISTEN_FIRST + (int)in->n;
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

static int lower(struct handed_in *in, struct fdstore_left *ret, struct err *err)
{
    for (unsigned i = 0; i < in->n; i++) {
        if (in->number[i] == IS_RECORD) {
            ret->record = in->at[i];
        } else if (in->number[i] >= 0) {
            if (fcntl(in->number[i], F_GETFD) >= 0)
                return err_set(err, EPROTO, "descriptor %d is handed in twice", in->number[i]);
            if (dup3(in->at[i], in->number[i], O_CLOEXEC) < 0)
                return err_set(err, errno, "descriptor %d: %s", in->number[i], strerror(errno));
            close(in->at[i]);
            ret->fd[ret->n++] = in->number[i];
        }
    }
    return 0;
}

int fdstore_take(char *const *env, struct fdstore_left *ret, struct err *err)
{
    static struct handed_in in;
    const char *names = conf_env_get(env, "LISTEN_FDNAMES");
    int r;

    ret->record = -1;
    ret->n = 0;
    in = (struct handed_in){.n = number_of(conf_env_get(env, "LISTEN_FDS"))};
    if (!names || number_of(conf_env_get(env, "LISTEN_PID")) != (unsigned)getpid() || !in.n)
        return 0;
    if (in.n > FDSTORE_MAX)
        return err_set(err, E2BIG, "too many descriptors are handed in");
    read_names(names, &in);
    r = lift(&in, err);
    return r < 0 ? r : lower(&in, ret, err);
}

void fdstore_discard(struct fdstore_left *left, char *const *env)
{
    struct sd_notify notify;

    sd_notify_init(&notify, env);
    (void)!sd_notify_send(&notify, "FDSTOREREMOVE=1\nFDNAME=" FDSTORE_RECORD);
    for (unsigned i = 0; i < left->n; i++) {
        (void)!sd_notify_send(&notify, "FDSTOREREMOVE=1\nFDNAME=" FDSTORE_FD "%d", left->fd[i]);
        close(left->fd[i]);
    }
    left->n = 0;
}

int fdstore_check(const struct handover *h, struct err *err)
{
    int r = handover_mark_fds(h, true, err);
    struct pollfd p = {.fd = h->rec->mount.fd};

    if (r < 0 || !h->rec->has_mount)
        return r;
    if (poll(&p, 1, 0) < 0 || (p.revents & (POLLERR | POLLNVAL)))
        return err_set(err, ENODEV, "its mount is gone");
    return 0;
}
