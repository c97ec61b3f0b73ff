/* The loop: order of timers, and callbacks that change what the loop is walking over. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/loop.h"

#define N_MANY 200

/* A watch on an eventfd, and what its callback shall do. */
struct probe {
    struct loop_watch watch; /* first: callbacks cast back */
    struct loop *loop;
    unsigned called;
    uint32_t events;
    struct probe *delete[2]; /* NULL = none */
    struct probe *add;
    bool clear, stop;
};

static void probe_init(struct probe *p, struct loop *loop);

static void on_probe(struct loop_watch *w, uint32_t events)
{
    struct probe *p = (struct probe *)w;

    p->called++;
    p->events = events;
    if (p->clear)
        fd_event_clear(w->fd);
    for (int i = 0; i < 2; i++) {
        if (p->delete[i])
            loop_del(p->loop, &p->delete[i]->watch);
    }
    if (p->add)
        assert_int_equal(loop_add(p->loop, &p->add->watch, EPOLLIN), 0);
    if (p->stop)
        loop_stop(p->loop);
}

static void probe_init(struct probe *p, struct loop *loop)
{
    *p = (struct probe){.loop = loop};
    p->watch.on_event = on_probe;
    p->watch.fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    assert_true(p->watch.fd >= 0);
}

static void probe_add(struct probe *p, struct loop *loop)
{
    probe_init(p, loop);
    assert_int_equal(loop_add(loop, &p->watch, EPOLLIN), 0);
}

static void probe_done(struct probe *p)
{
    loop_del(p->loop, &p->watch);
    close(p->watch.fd);
}

/* A timer that notes when it fired, and what it shall do then. */
struct mark {
    struct loop_timer timer; /* first */
    struct loop *loop;
    char name;
    struct mark *cancel;
    bool again; /* re-arm with 0 */
    bool stop;
};

static char order[32];
static struct loop_timer never;

static void on_mark(struct loop_timer *t)
{
    struct mark *m = (struct mark *)t;
    size_t n = strlen(order);

    assert_false(t->armed);
    assert_true(n < sizeof(order) - 1);
    order[n] = m->name;
    order[n + 1] = '\0';
    if (m->cancel)
        loop_timer_cancel(m->loop, &m->cancel->timer);
    if (m->again)
        loop_timer_set(m->loop, t, 0);
    if (m->stop)
        loop_stop(m->loop);
}

static void mark_set(struct mark *m, struct loop *loop, char name, uint64_t ms)
{
    *m = (struct mark){.loop = loop, .name = name};
    m->timer.on_time = on_mark;
    loop_timer_set(loop, &m->timer, ms * NS_PER_MS);
}

static int setup(void **state)
{
    struct loop *loop;

    order[0] = '\0';
    if (loop_new(&loop) < 0)
        return -1;
    *state = loop;
    return 0;
}

static int teardown(void **state)
{
    loop_free(*state);
    return 0;
}

static void turn(struct loop *loop)
{
    assert_int_equal(loop_turn(loop), 0);
}

/* Turns until the timers have told this order; a last one with `stop` ends it. */
static void run_and_expect(struct loop *loop, const char *expected)
{
    assert_int_equal(loop_run(loop), 0);
    assert_string_equal(order, expected);
}

static void test_timers_in_order(void **state)
{
    struct loop *loop = *state;
    struct mark m[5];

    mark_set(&m[0], loop, 'c', 3);
    mark_set(&m[1], loop, 'a', 1);
    mark_set(&m[2], loop, 'd', 4);
    mark_set(&m[3], loop, 'b', 2);
    mark_set(&m[4], loop, 'e', 5);
    m[4].stop = true;
    run_and_expect(loop, "abcde");
}

static void test_timer_moves_and_cancels(void **state)
{
    struct loop *loop = *state;
    struct mark m[4];

    mark_set(&m[0], loop, 'a', 1);
    mark_set(&m[1], loop, 'b', 2);
    mark_set(&m[2], loop, 'c', 3);
    mark_set(&m[3], loop, 'd', 6);
    m[3].stop = true;
    loop_timer_set(loop, &m[0].timer, 5 * NS_PER_MS); /* from first to after c */
    loop_timer_cancel(loop, &m[1].timer);
    loop_timer_cancel(loop, &m[1].timer);
    assert_false(m[1].timer.armed);
    run_and_expect(loop, "cad");
    loop_timer_cancel(loop, &m[0].timer); /* fired already */
}

static void test_cancel_at_each_place(void **state)
{
    struct loop *loop = *state;

    for (int out = 0; out < 3; out++) {
        static const char *const left[] = {"bcz", "acz", "abz"};
        struct mark m[3], last;

        order[0] = '\0';
        for (int i = 0; i < 3; i++)
            mark_set(&m[i], loop, (char)('a' + i), (uint64_t)i);
        loop_timer_cancel(loop, &m[out].timer);
        mark_set(&last, loop, 'z', 3);
        last.stop = true;
        run_and_expect(loop, left[out]);
    }
}

/* Two are due in one turn; the first takes the second away. */
static void test_cancel_in_callback(void **state)
{
    struct loop *loop = *state;
    struct mark m[3];

    mark_set(&m[0], loop, 'a', 0);
    mark_set(&m[1], loop, 'b', 0);
    mark_set(&m[2], loop, 'c', 0);
    m[0].cancel = &m[1];
    usleep(1000);
    turn(loop);
    assert_string_equal(order, "ac");
}

/* A timer that always wants to run now lets the descriptors have their turn. */
static void test_rearm_with_zero(void **state)
{
    struct loop *loop = *state;
    struct probe p;
    struct mark m;

    probe_add(&p, loop);
    p.clear = true;
    fd_event_set(p.watch.fd);
    mark_set(&m, loop, 'a', 0);
    m.again = true;
    for (int i = 0; i < 5; i++)
        turn(loop);
    assert_string_equal(order, "aaaaa");
    assert_int_equal(p.called, 1);
    loop_timer_cancel(loop, &m.timer);
    probe_done(&p);
}

static void test_far_timer_does_not_fire(void **state)
{
    struct loop *loop = *state;
    struct mark m;

    never.on_time = NULL; /* would crash */
    loop_timer_set(loop, &never, UINT64_MAX);
    mark_set(&m, loop, 'a', 1);
    m.stop = true;
    run_and_expect(loop, "a");
    assert_true(never.armed);
    loop_timer_cancel(loop, &never);
}

static void test_timer_is_not_early(void **state)
{
    struct loop *loop = *state;
    uint64_t before = clock_mono_ns();
    struct mark m;

    mark_set(&m, loop, 'a', 7);
    m.stop = true;
    run_and_expect(loop, "a");
    assert_true(clock_mono_ns() - before >= 7 * NS_PER_MS);
}

static void test_events(void **state)
{
    struct loop *loop = *state;
    struct probe p;

    probe_add(&p, loop);
    p.clear = true;
    fd_event_set(p.watch.fd);
    turn(loop);
    assert_int_equal(p.called, 1);
    assert_int_equal(p.events, EPOLLIN);
    assert_int_equal(loop_mod(loop, &p.watch, EPOLLIN | EPOLLOUT), 0);
    turn(loop);
    assert_int_equal(p.called, 2);
    assert_int_equal(p.events, EPOLLOUT);
    probe_done(&p);
    assert_int_equal(loop_mod(loop, &p.watch, EPOLLIN), -EBADF);
    loop_del(loop, &p.watch); /* twice does no harm */
}

/* Events for a, b and c have been fetched; the first callback deletes all others. */
static void test_delete_others_in_callback(void **state)
{
    struct loop *loop = *state;
    struct probe p[3];

    for (int i = 0; i < 3; i++)
        probe_add(&p[i], loop);
    for (int i = 0; i < 3; i++) {
        p[i].delete[0] = &p[(i + 1) % 3];
        p[i].delete[1] = &p[(i + 2) % 3];
        fd_event_set(p[i].watch.fd);
    }
    turn(loop);
    assert_int_equal(p[0].called + p[1].called + p[2].called, 1);
    for (int i = 0; i < 3; i++)
        probe_done(&p[i]);
}

static void test_delete_itself_in_callback(void **state)
{
    struct loop *loop = *state;
    struct mark m;
    struct probe p;

    probe_add(&p, loop);
    p.delete[0] = &p;
    fd_event_set(p.watch.fd);
    turn(loop);
    mark_set(&m, loop, 'a', 2);
    m.stop = true;
    run_and_expect(loop, "a");
    assert_int_equal(p.called, 1);
    probe_done(&p);
}

/* The slot of a deleted watch is given to a new one while the old one's event is still waiting: it
 * must not reach the new one. */
static void test_slot_reused_in_callback(void **state)
{
    struct loop *loop = *state;

    for (int first = 0; first < 2; first++) {
        struct probe p[2], fresh;

        probe_add(&p[0], loop);
        probe_add(&p[1], loop);
        probe_init(&fresh, loop); /* its descriptor is never ready */
        for (int i = 0; i < 2; i++) {
            p[i].delete[0] = &p[1 - i];
            p[i].add = &fresh;
        }
        fd_event_set(p[first].watch.fd);
        fd_event_set(p[1 - first].watch.fd);
        turn(loop);
        assert_int_equal(p[0].called + p[1].called, 1);
        assert_int_equal(fresh.called, 0);
        for (int i = 0; i < 2; i++)
            probe_done(&p[i]);
        probe_done(&fresh);
    }
}

/* The table of slots grows, also while a turn walks over it. */
static void test_many(void **state)
{
    struct loop *loop = *state;
    static struct probe p[N_MANY];

    for (int i = 0; i < N_MANY / 2; i++) {
        probe_add(&p[i], loop);
        probe_init(&p[i + N_MANY / 2], loop);
        p[i].clear = true;
        p[i].add = &p[i + N_MANY / 2];
        fd_event_set(p[i].watch.fd);
    }
    for (int i = 0; i < 3; i++) {
        struct mark m;

        mark_set(&m, loop, 'a', 0); /* so that no turn waits */
        turn(loop);
        loop_timer_cancel(loop, &m.timer);
    }
    for (int i = 0; i < N_MANY; i++) {
        assert_int_equal(p[i].called, i < N_MANY / 2);
        probe_done(&p[i]);
    }
}

static void test_exclusive(void **state)
{
    struct loop *loop = *state, *other;
    struct probe p, q;

    assert_int_equal(loop_new(&other), 0);
    probe_init(&p, loop);
    assert_int_equal(loop_add(loop, &p.watch, EPOLLIN | EPOLLEXCLUSIVE), 0);
    q = p;
    q.loop = other;
    assert_int_equal(loop_add(other, &q.watch, EPOLLIN | EPOLLEXCLUSIVE), 0);
    p.clear = q.clear = true;
    fd_event_set(p.watch.fd);
    turn(loop);
    assert_int_equal(p.called, 1);
    fd_event_set(p.watch.fd);
    turn(other);
    assert_int_equal(q.called, 1);
    /* The kernel does not let such a watch be changed. */
    assert_int_equal(loop_mod(loop, &p.watch, EPOLLIN), -EINVAL);
    loop_del(other, &q.watch);
    probe_done(&p);
    loop_free(other);
}

/* A failed loop_add changes nothing: a watch that is in the loop can still be taken out. */
static void test_failed_add(void **state)
{
    struct loop *loop = *state;
    struct probe p, bad = {.watch = {.fd = -1, .on_event = on_probe}};
    struct mark m;

    assert_int_equal(loop_add(loop, &bad.watch, EPOLLIN), -EBADF);
    loop_del(loop, &bad.watch);
    probe_add(&p, loop);
    assert_int_equal(loop_add(loop, &p.watch, EPOLLIN), -EEXIST);
    fd_event_set(p.watch.fd);
    loop_del(loop, &p.watch);
    mark_set(&m, loop, 'a', 2);
    m.stop = true;
    run_and_expect(loop, "a");
    assert_int_equal(p.called, 0);
    probe_done(&p);
}

static void on_alarm(int sig)
{
    (void)sig;
}

static void test_interrupted_wait(void **state)
{
    struct sigaction act = {.sa_handler = on_alarm}, old;
    struct itimerval soon = {{0, 0}, {0, 2000}};
    struct loop *loop = *state;
    struct mark m;

    mark_set(&m, loop, 'a', 60 * 1000);
    assert_int_equal(sigaction(SIGALRM, &act, &old), 0);
    assert_int_equal(setitimer(ITIMER_REAL, &soon, NULL), 0);
    turn(loop);
    assert_int_equal(sigaction(SIGALRM, &old, NULL), 0);
    assert_string_equal(order, "");
    loop_timer_cancel(loop, &m.timer);
}

static void test_stop_from_event(void **state)
{
    struct loop *loop = *state;
    struct probe p;

    probe_add(&p, loop);
    p.stop = true;
    fd_event_set(p.watch.fd);
    assert_int_equal(loop_run(loop), 0);
    assert_int_equal(loop_run(loop), 0); /* runs again, and stops again */
    assert_int_equal(p.called, 2);
    probe_done(&p);
    loop_free(NULL);
}

#define LOOP_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        LOOP_TEST(test_timers_in_order),
        LOOP_TEST(test_timer_moves_and_cancels),
        LOOP_TEST(test_cancel_at_each_place),
        LOOP_TEST(test_cancel_in_callback),
        LOOP_TEST(test_rearm_with_zero),
        LOOP_TEST(test_far_timer_does_not_fire),
        LOOP_TEST(test_timer_is_not_early),
        LOOP_TEST(test_events),
        LOOP_TEST(test_delete_others_in_callback),
        LOOP_TEST(test_delete_itself_in_callback),
        LOOP_TEST(test_slot_reused_in_callback),
        LOOP_TEST(test_many),
        LOOP_TEST(test_exclusive),
        LOOP_TEST(test_failed_add),
        LOOP_TEST(test_interrupted_wait),
        LOOP_TEST(test_stop_from_event),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
