/* Reads the memory of other processes with process_vm_readv(2), in a separate thread.
 *
 * That call takes the process's mmap_lock, and may fault pages in. Both can wait for this very
 * mount: one thread of a process unmaps pages that it has written through a mapping, which waits
 * for our reply to its WRITE; a second waits in malloc for the lock; a third is the one that we
 * inspect. Seen on Linux 6.18 (tests/workers/test_intent.c). Only a SIGKILL can interrupt that. So
 * the worker waits for the thread for at most PEEK_WAIT_NS; until the thread returns, further calls
 * fail. The thread uses nothing but the struct below. */
#include "workers/names/peek.h"

#include <assert.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"

#define STACK_BYTES (64u << 10)

/* IDLE -> ASKED -> DONE -> IDLE; if the worker gives up: ASKED -> LEFT -> IDLE. */
enum state { IDLE, ASKED, DONE, LEFT };

/* Of each thread that peeks, one. */
struct peeker {
    /* the process in which its helper runs: this one, or the one that forked us; 0 = none */
    pid_t runs_in;
    pthread_mutex_t lock;
    pthread_cond_t asked, done;
    enum state state;

    /* Used by the thread while ASKED or LEFT, else by the caller */
    uint32_t tid;
    unsigned n;
    struct peek_part part[PEEK_PARTS];
    char bytes[PEEK_PARTS][PEEK_MAX];
    bool ok;
};

static _Thread_local struct peeker peeker;

static uint64_t wait_ns = PEEK_WAIT_NS;

/* ---- in the thread ---- */

static bool read_some(const struct peeker *pk, uint64_t at, char *buf, size_t len)
{
    struct iovec to = {buf, len};
    struct iovec from = {(void *)(uintptr_t)at, len}; /* NOLINT: an address of another process */

    return process_vm_readv((pid_t)pk->tid, &to, 1, &from, 1, 0) == (ssize_t)len;
}

/* Page by page: memory after the text may be unmapped or not present. */
static bool read_text(const struct peeker *pk, const struct peek_part *p, char *buf)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), have = 0;

    while (have < p->len) {
        size_t n = page - (p->at + have) % page;

        if (n > p->len - have)
            n = p->len - have;
        if (!read_some(pk, p->at + have, buf + have, n))
            return false;
        if (memchr(buf + have, '\0', n))
            return true;
        have += n;
    }
    return false;
}

static bool read_parts(struct peeker *pk)
{
    for (unsigned i = 0; i < pk->n; i++) {
        const struct peek_part *p = &pk->part[i];
        char *buf = pk->bytes[i];

        if (!(p->text ? read_text(pk, p, buf) : read_some(pk, p->at, buf, p->len)))
            return false;
    }
    return true;
}

static void *run(void *arg)
{
    struct peeker *pk = arg;

    pthread_mutex_lock(&pk->lock);
    for (;;) {
        bool ok;

        while (pk->state != ASKED) {
            if (pk->state == LEFT) /* given up before the thread saw it */
                pk->state = IDLE;
            else
                pthread_cond_wait(&pk->asked, &pk->lock);
        }
        pthread_mutex_unlock(&pk->lock);
        ok = read_parts(pk);
        pthread_mutex_lock(&pk->lock);
        pk->ok = ok;
        pk->state = pk->state == LEFT ? IDLE : DONE;
        pthread_cond_signal(&pk->done);
    }
    return NULL;
}

/* ---- in the worker ---- */

static void init(void)
{
    pthread_condattr_t mono;

    pthread_condattr_init(&mono);
    pthread_condattr_setclock(&mono, CLOCK_MONOTONIC);
    pthread_mutex_init(&peeker.lock, NULL);
    pthread_cond_init(&peeker.asked, NULL);
    pthread_cond_init(&peeker.done, &mono);
    pthread_condattr_destroy(&mono);
    peeker.state = IDLE;
}

/* Called again after a fork, which threads do not survive. */
static bool start_thread(void)
{
    pthread_attr_t attr;
    pthread_t thread;
    sigset_t all, before;
    int r;

    init();
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, STACK_BYTES);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* the worker handles signals */
    r = pthread_create(&thread, &attr, run, &peeker);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attr);
    peeker.runs_in = r == 0 ? getpid() : 0;
    return r == 0;
}

/* Requires peeker.lock. False on timeout. */
static bool wait_done(void)
{
    uint64_t until = clock_mono_ns() + wait_ns;
    struct timespec ts = {.tv_sec = (time_t)(until / NS_PER_S),
                          .tv_nsec = (long)(until % NS_PER_S)};

    while (peeker.state == ASKED) {
        if (pthread_cond_timedwait(&peeker.done, &peeker.lock, &ts) != 0)
            break;
    }
    if (peeker.state == DONE) {
        peeker.state = IDLE;
        return true;
    }
    peeker.state = LEFT;
    return false;
}

/* With the lock. */
static bool peek_ask(uint32_t tid, const struct peek_part *parts, unsigned n)
{
    if (peeker.state != IDLE)
        return false; /* still busy with an earlier call */
    peeker.tid = tid;
    peeker.n = n;
    memcpy(peeker.part, parts, n * sizeof(*parts));
    peeker.state = ASKED;
    pthread_cond_signal(&peeker.asked);
    return wait_done() && peeker.ok;
}

bool peek(uint32_t tid, const struct peek_part *parts, unsigned n, const char *ret[PEEK_PARTS])
{
    bool ok;

    assert(n <= PEEK_PARTS);
    for (unsigned i = 0; i < n; i++) {
        assert(parts[i].len <= PEEK_MAX);
        ret[i] = peeker.bytes[i];
    }
    if (peeker.runs_in != getpid() && !start_thread())
        return false;
    pthread_mutex_lock(&peeker.lock);
    ok = peek_ask(tid, parts, n);
    pthread_mutex_unlock(&peeker.lock);
    return ok;
}

bool peek_is_stuck(void)
{
    bool r;

    pthread_mutex_lock(&peeker.lock);
    r = peeker.state == LEFT;
    pthread_mutex_unlock(&peeker.lock);
    return r;
}

void peek_set_wait(uint64_t ns)
{
    wait_ns = ns;
}
