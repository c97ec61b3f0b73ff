/* One epoll loop: descriptors with callbacks, and timers. Single-threaded.
 *
 * A callback may add, change and delete any watch or timer, itself included. Events already fetched
 * for a watch that was deleted meanwhile are dropped.
 */
#ifndef BASE_LOOP_H
#define BASE_LOOP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

struct loop;

/* A watched descriptor, embedded in the struct of its owner, who must not move it from loop_add to
 * loop_del. */
struct loop_watch {
    void (*on_event)(struct loop_watch *w, uint32_t events); /* EPOLLIN etc. */
    int fd;
    unsigned slot; /* set by the loop */
};

/* A timer, embedded by its owner; zero it before first use. */
struct loop_timer {
    void (*on_time)(struct loop_timer *t);
    uint64_t due_ns; /* clock_mono_ns */
    struct loop_timer *prev, *next;
    bool armed;
};

/* 0 and *ret_loop (loop_free), or -ENOMEM, -EMFILE. */
must_use int loop_new(struct loop **ret_loop);
void loop_free(struct loop *loop);
/* In a forked child: closes the epoll descriptor, which it shares with the parent, and nothing
 * else. */
void loop_forget(struct loop *loop);

/* Watches w->fd for `events` (EPOLLEXCLUSIVE allowed). 0, -ENOMEM, or -errno of epoll_ctl(2). */
must_use int loop_add(struct loop *loop, struct loop_watch *w, uint32_t events);
must_use int loop_mod(struct loop *loop, struct loop_watch *w, uint32_t events);
/* Must be called before the descriptor is closed. Ignores a watch that is not in the loop. */
void loop_del(struct loop *loop, struct loop_watch *w);

/* Arms (or moves) a timer to fire once, `delay_ns` from now. */
void loop_timer_set(struct loop *loop, struct loop_timer *t, uint64_t delay_ns);
void loop_timer_cancel(struct loop *loop, struct loop_timer *t);

/* Waits for one round of events and timers and calls their callbacks. 0 or -errno of
 * epoll_wait(2). */
must_use int loop_turn(struct loop *loop);

/* How long the loop has waited for events so far, in nanoseconds: the rest of the time it was
 * busy. */
uint64_t loop_waited_ns(const struct loop *loop);

/* Runs turns until loop_stop. 0 or the error of a turn. */
must_use int loop_run(struct loop *loop);
void loop_stop(struct loop *loop);

#endif
