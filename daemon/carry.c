/* See carry.h. */
#include "daemon/carry.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "daemon/child_ask.h"

#define LOOK_LIMIT_MS 20000

struct question {
    int fd;
    struct shm *shm; /* to carry it over to */
};

struct answer {
    int result;
    struct err err;
    struct shm_other other;
};

static void answer_look(const void *arg, void *ret)
{
    const struct question *q = arg;
    struct answer *a = ret;

    a->result = shm_carry_is_own(q->fd) ? 0 : shm_carry_look(q->fd, &a->other, &a->err);
    if (a->result == 0 && a->other.sizes.workers)
        a->result = 1;
}

static void answer_carry(const void *arg, void *ret)
{
    const struct question *q = arg;
    struct answer *a = ret;

    a->result = shm_carry(q->fd, q->shm, &a->err);
}

static int ask(child_answer_fn *fn, const struct question *q, int limit_ms, struct answer *ret,
               struct err *err)
{
    int r = child_ask(fn, q, limit_ms, ret, sizeof(*ret));

    if (r < 0)
        return err_set(err, -r == EIO ? EAGAIN : -r,
                       "the segment could not be looked at in time: %s", strerror(-r));
    if (ret->result < 0)
        return err_set(err, -ret->result, "%.*s", ERR_TEXT_MAX - 1, ret->err.text);
    return ret->result;
}

int carry_look(int fd, struct err *err)
{
    struct answer a;

    return ask(answer_look, &(struct question){.fd = fd}, LOOK_LIMIT_MS, &a, err);
}

static int carry_to_new(int fd, struct answer *look, struct shm **ret, struct err *err)
{
    uint64_t began = clock_mono_ns();
    struct question q = {.fd = fd};
    struct answer a;
    int r = shm_create(&look->other.sizes, &q.shm, err);

    if (r < 0)
        return r;
    r = ask(answer_carry, &q, SHM_CARRY_MAX_S * 1000, &a, err);
    if (r < 0) {
        shm_close(q.shm);
        return r;
    }
    look->other.version[SHM_VERSION_MAX - 1] = '\0';
    log_notice("the tables of version %s were carried over to version %s ms=%llu",
               look->other.version, PACKAGE_VERSION,
               (unsigned long long)((clock_mono_ns() - began) / NS_PER_MS));
    *ret = q.shm;
    return 0;
}

int carry_attach(int fd, struct shm **ret, struct err *err)
{
    struct answer a;
    int r = ask(answer_look, &(struct question){.fd = fd}, LOOK_LIMIT_MS, &a, err);

    if (r == 0)
        return shm_attach(fd, ret, err);
    return r < 0 ? r : carry_to_new(fd, &a, ret, err);
}
