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
    const struct sandbox *sandbox;
    struct shm *shm; /* to carry it over to */
};

struct answer {
    int result;
    struct err err;
    struct shm_other other;
};

/* False: *a says why. */
static bool confined(const struct question *q, struct answer *a)
{
    int r = q->sandbox ? sandbox_enter(q->sandbox, SANDBOX_TASK, &a->err) : 0;

    a->result = r < 0 ? -EAGAIN : 0;
    return r == 0;
}

static void answer_look(const void *arg, void *ret)
{
    const struct question *q = arg;
    struct answer *a = ret;

    if (confined(q, a))
        a->result = shm_carry_look(q->fd, &a->other, &a->err);
}

static void answer_carry(const void *arg, void *ret)
{
    const struct question *q = arg;
    struct answer *a = ret;

    if (confined(q, a))
        a->result = shm_carry(q->fd, q->shm, &a->err);
}

static int ask(child_answer_fn *fn, const struct question *q, int limit_ms, struct answer *ret,
               struct err *err)
{
    int r = child_ask(fn, q, limit_ms, ret, sizeof(*ret));

    if (r == -ETIMEDOUT || r == -EIO) /* (or it was killed, for memory) */
        r = -EAGAIN;
    if (r < 0)
        return err_set(err, -r, "the tables of the version before could not be read: %s",
                       strerror(-r));
    if (ret->result < 0)
        return err_set(err, -ret->result, "%.*s", ERR_TEXT_MAX - 1, ret->err.text);
    return 0;
}

static int carry_is_own(int fd, struct err *err)
{
    int r = shm_carry_is_own(fd);

    if (r < 0)
        return err_set(err, -r, "the tables of the daemon before cannot be looked at: %s",
                       strerror(-r));
    return r;
}

int carry_look(int fd, const struct sandbox *sandbox, struct err *err)
{
    struct question q = {.fd = fd, .sandbox = sandbox};
    struct answer a;
    int r;

    r = carry_is_own(fd, err);
    if (r != 0)
        return r < 0 ? r : 0;
    r = ask(answer_look, &q, LOOK_LIMIT_MS, &a, err);
    return r < 0 ? r : 1;
}

static int carry_to_new(const struct question *other, struct shm **ret, struct err *err)
{
    uint64_t began = clock_mono_ns();
    struct question q = *other;
    struct answer look, a;
    int r = ask(answer_look, &q, LOOK_LIMIT_MS, &look, err);

    if (r == 0)
        r = shm_create(&look.other.sizes, &q.shm, err);
    if (r < 0)
        return r;
    r = ask(answer_carry, &q, SHM_CARRY_MAX_S * 1000, &a, err);
    if (r < 0) {
        shm_close(q.shm);
        return r;
    }
    look.other.version[SHM_VERSION_MAX - 1] = '\0';
    log_notice("the tables of version %s were carried over to version %s ms=%llu",
               look.other.version, PACKAGE_VERSION,
               (unsigned long long)((clock_mono_ns() - began) / NS_PER_MS));
    *ret = q.shm;
    return 0;
}

int carry_attach(int fd, const struct sandbox *sandbox, struct shm **ret, struct err *err)
{
    struct question q = {.fd = fd, .sandbox = sandbox};
    int r = carry_is_own(fd, err);

    if (r < 0)
        return r;
    return r ? shm_attach(fd, ret, err) : carry_to_new(&q, ret, err);
}
