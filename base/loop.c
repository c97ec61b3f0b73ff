/* The epoll loop. Watches are in a slot table with generation numbers, so that an event for a watch
 * that a callback deleted in the same turn is recognised and dropped. Timers are a sorted list: a
 * process has only some tens of them, most with the same few delays, so insertion from the back is
 * short. */
#include "base/loop.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/clock.h"

#define LOOP_EVENTS 64
#define LOOP_FIRST_SLOTS 64

struct loop_slot {
    struct loop_watch *watch; /* NULL = free */
    uint32_t generation;
};

struct loop {
    int epfd;
    bool stop;
    struct loop_slot *slots;
    unsigned n_slots;
    struct loop_timer *first, *last;
    uint64_t waited_ns;
};

int loop_new(struct loop **ret_loop)
{
    struct loop *loop = calloc(1, sizeof(*loop));

    if (!loop)
        return -ENOMEM;
    loop->epfd = epoll_create1(EPOLL_CLOEXEC);
    if (loop->epfd < 0) {
        int e = errno;

        free(loop);
        return -e;
    }
    *ret_loop = loop;
    return 0;
}

void loop_forget(struct loop *loop)
{
    close(loop->epfd);
    loop->epfd = -1;
}

void loop_free(struct loop *loop)
{
    if (!loop)
        return;
    close(loop->epfd);
    free(loop->slots);
    free(loop);
}

static int find_slot(struct loop *loop, unsigned *ret_slot)
{
    unsigned n = loop->n_slots ? loop->n_slots * 2 : LOOP_FIRST_SLOTS;
    struct loop_slot *slots;

    for (unsigned i = 0; i < loop->n_slots; i++) {
        if (!loop->slots[i].watch) {
            *ret_slot = i;
            return 0;
        }
    }
    slots = realloc(loop->slots, n * sizeof(*slots));
    if (!slots)
        return -ENOMEM;
    for (unsigned i = loop->n_slots; i < n; i++)
        slots[i] = (struct loop_slot){0};
    *ret_slot = loop->n_slots;
    loop->slots = slots;
    loop->n_slots = n;
    return 0;
}

static int control(struct loop *loop, int op, struct loop_watch *w, uint32_t events)
{
    struct epoll_event ev = {.events = events,
                             .data.u64 = (uint64_t)loop->slots[w->slot].generation << 32 | w->slot};

    return epoll_ctl(loop->epfd, op, w->fd, &ev) < 0 ? -errno : 0;
}

int loop_add(struct loop *loop, struct loop_watch *w, uint32_t events)
{
    unsigned old_slot = w->slot; /* keeps its slot if w is in the loop already */
    int r = find_slot(loop, &w->slot);

    if (r < 0)
        return r;
    loop->slots[w->slot].generation++;
    r = control(loop, EPOLL_CTL_ADD, w, events);
    if (r == 0)
        loop->slots[w->slot].watch = w;
    else
        w->slot = old_slot;
    return r;
}

int loop_mod(struct loop *loop, struct loop_watch *w, uint32_t events)
{
    return control(loop, EPOLL_CTL_MOD, w, events);
}

void loop_del(struct loop *loop, struct loop_watch *w)
{
    if (w->slot >= loop->n_slots || loop->slots[w->slot].watch != w)
        return;
    (void)epoll_ctl(loop->epfd, EPOLL_CTL_DEL, w->fd, NULL); /* the kernel removes a closed one
                                                              * itself */
    loop->slots[w->slot].watch = NULL;
}

void loop_timer_set(struct loop *loop, struct loop_timer *t, uint64_t delay_ns)
{
    struct loop_timer *after = NULL;

    loop_timer_cancel(loop, t);
    if (__builtin_add_overflow(clock_mono_ns(), delay_ns, &t->due_ns))
        t->due_ns = UINT64_MAX;
    t->armed = true;
    for (after = loop->last; after && after->due_ns > t->due_ns;)
        after = after->prev;
    t->prev = after;
    t->next = after ? after->next : loop->first;
    *(t->next ? &t->next->prev : &loop->last) = t;
    *(after ? &after->next : &loop->first) = t;
}

void loop_timer_cancel(struct loop *loop, struct loop_timer *t)
{
    if (!t->armed)
        return;
    *(t->prev ? &t->prev->next : &loop->first) = t->next;
    *(t->next ? &t->next->prev : &loop->last) = t->prev;
    t->prev = t->next = NULL;
    t->armed = false;
}

/* Milliseconds until the first timer, rounded up; -1 without one. */
static int wait_ms(const struct loop *loop)
{
    uint64_t now, ms;

    if (!loop->first)
        return -1;
    now = clock_mono_ns();
    if (loop->first->due_ns <= now)
        return 0;
    ms = (loop->first->due_ns - now + NS_PER_MS - 1) / NS_PER_MS;
    return ms > INT32_MAX ? INT32_MAX : (int)ms;
}

/* Fires the timers that were due when the turn began; one that re-arms itself with 0 fires in the
 * next turn. */
static void run_timers(struct loop *loop)
{
    uint64_t now = clock_mono_ns();

    while (loop->first && loop->first->due_ns <= now) {
        struct loop_timer *t = loop->first;

        loop_timer_cancel(loop, t);
        t->on_time(t);
    }
}

uint64_t loop_waited_ns(const struct loop *loop)
{
    return loop->waited_ns;
}

int loop_turn(struct loop *loop)
{
    struct epoll_event ev[LOOP_EVENTS];
    uint64_t since_ns = clock_mono_ns();
    int n = epoll_wait(loop->epfd, ev, LOOP_EVENTS, wait_ms(loop));

    loop->waited_ns += clock_mono_ns() - since_ns;
    if (n < 0 && errno != EINTR)
        return -errno;
    for (int i = 0; i < n; i++) {
        uint32_t slot = (uint32_t)ev[i].data.u64;
        uint32_t generation = (uint32_t)(ev[i].data.u64 >> 32);
        struct loop_slot *s = &loop->slots[slot];

        if (s->watch && s->generation == generation)
            s->watch->on_event(s->watch, ev[i].events);
    }
    run_timers(loop);
    return 0;
}

int loop_run(struct loop *loop)
{
    int r = 0;

    loop->stop = false;
    while (!loop->stop && r == 0)
        r = loop_turn(loop);
    return r;
}

void loop_stop(struct loop *loop)
{
    loop->stop = true;
}
