/* The mailbox: two numbers that are futexes, a question and an answer. What the questions mean is
 * in process/observer_main.c. */
#include "workers/op/observer.h"

#include <errno.h>
#include <linux/futex.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"

static struct observer_box *ours;
static bool gave_up; /* our own last question */

int observer_boxes_open(int fd, unsigned n, struct observer_box **ret_boxes)
{
    size_t size = n * sizeof(struct observer_box);
    struct stat st;
    void *p;

    if (fstat(fd, &st) < 0 || (size_t)st.st_size != size)
        return -EPROTO;
    p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (p == MAP_FAILED)
        return -errno;
    *ret_boxes = p;
    return 0;
}

int observer_boxes_new(unsigned n, struct observer_box **ret_boxes, int *ret_fd)
{
    int fd = memfd_create("stateproxy-boxes", MFD_CLOEXEC);
    int r;

    if (fd < 0)
        return -errno;
    r = ftruncate(fd, (off_t)(n * sizeof(struct observer_box))) < 0 ? -errno : 0;
    if (r == 0)
        r = observer_boxes_open(fd, n, ret_boxes);
    if (r < 0)
        close(fd);
    else
        *ret_fd = fd;
    return r;
}

void observer_use(struct observer_box *box)
{
    ours = box;
}

bool observer_in_use(void)
{
    return ours != NULL;
}

/* Returns when the value has changed, at a wake-up, a signal, or after `ns`. */
static void futex_wait(_Atomic uint32_t *at, uint32_t value, const struct timespec *ts)
{
    (void)syscall(SYS_futex, at, FUTEX_WAIT, value, ts, NULL, 0);
}

static void futex_wake(_Atomic uint32_t *at)
{
    (void)syscall(SYS_futex, at, FUTEX_WAKE, 1, NULL, NULL, 0);
}

/* ---- in the worker ---- */

static bool await_answer(uint32_t number, uint64_t wait_ns)
{
    uint64_t now = clock_mono_ns(), until = now + wait_ns;
    uint32_t answered;

    while ((answered = atomic_load(&ours->answered)) != number) {
        struct timespec ts = {.tv_sec = (time_t)((until - now) / NS_PER_S),
                              .tv_nsec = (long)((until - now) % NS_PER_S)};

        futex_wait(&ours->answered, answered, &ts);
        now = clock_mono_ns();
        if (now >= until)
            return atomic_load(&ours->answered) == number;
    }
    return true;
}

/* A question of the worker that we replace may still be there: that one is waited for. */
static bool is_free(uint32_t asked, uint64_t wait_ns)
{
    if (atomic_load(&ours->answered) == asked)
        return true;
    return !gave_up && await_answer(asked, wait_ns);
}

bool observer_ask(uint32_t what, uint32_t tid, uint64_t ino, const char *path, uint64_t wait_ns,
                  struct observer_answer *ret)
{
    size_t len = strlen(path);
    uint32_t number = atomic_load(&ours->asked) + 1;

    if (len >= OBSERVER_PATH_MAX || !is_free(number - 1, wait_ns)) {
        gave_up = true;
        return false;
    }
    ours->question.what = what;
    ours->question.tid = tid;
    ours->question.ino = ino;
    memcpy(ours->question.path, path, len + 1);
    atomic_store(&ours->tries, 0);
    atomic_store(&ours->asked, number);
    futex_wake(&ours->asked);
    gave_up = !await_answer(number, wait_ns);
    if (gave_up) {
        log_warn("no answer about a process, going on without one pid=%u what=%u waited_ms=%llu",
                 tid, what, (unsigned long long)(wait_ns / NS_PER_MS));
        return false;
    }
    *ret = ours->answer;
    return true;
}

/* ---- in the observer ---- */

void observer_next(struct observer_box *box, struct observer_question *ret)
{
    uint32_t asked;

    while ((asked = atomic_load(&box->asked)) == atomic_load(&box->answered))
        futex_wait(&box->asked, asked, NULL);
    atomic_fetch_add(&box->tries, 1);
    *ret = box->question;
    ret->path[sizeof(ret->path) - 1] = '\0';
}

bool observer_is_harmless(const struct observer_box *box)
{
    return atomic_load(&box->tries) <= OBSERVER_TRIES;
}

void observer_reply(struct observer_box *box, const struct observer_answer *answer)
{
    box->answer = *answer;
    atomic_store(&box->answered, atomic_load(&box->asked));
    futex_wake(&box->answered);
}
