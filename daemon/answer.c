/* Replies on the control socket. A task does what needs access to the tables. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "daemon/supervisor_private.h"

#define TELL_MAX 1024
#define CHECK_LIMIT_NS (30 * NS_PER_S)

static void add(char *out, size_t cap, size_t *at, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

static void add(char *out, size_t cap, size_t *at, const char *fmt, ...)
{
    va_list ap;
    int n;

    va_start(ap, fmt);
    n = vsnprintf(out + *at, cap - *at, fmt, ap);
    va_end(ap);
    if (n > 0 && (size_t)n < cap - *at)
        *at += (size_t)n;
}

static void answer_status(struct supervisor *sup, uint64_t client)
{
    char text[CONTROL_ANSWER_MAX] = "";
    size_t at = 0;

    add(text, sizeof(text), &at,
        "ok\nversion " PACKAGE_VERSION "\npid %d\nphase %s\nuptime_ms %llu\n", (int)getpid(),
        stop_phase_name(sup->phase),
        (unsigned long long)((clock_mono_ns() - sup->started_ns) / NS_PER_MS));
    if (sup->restarted)
        add(text, sizeof(text), &at, "restarted_in_place %u\n", sup->restarted);
    if (sup->run)
        add(text, sizeof(text), &at, "%s", sup->run->info);
    if (sup->run && sup->duties->tell) {
        char more[TELL_MAX] = "";

        sup->duties->tell(sup->ctx, more, sizeof(more));
        add(text, sizeof(text), &at, "%s", more);
    }
    for (unsigned i = 0; i < sup->children.n; i++) {
        const struct child *c = &sup->children.child[i];

        add(text, sizeof(text), &at, "child %s %u pid %d restarts %u state %s\n", c->role->name,
            c->slot, c->state == CHILD_RUNNING ? (int)c->pid : 0, c->restarts,
            child_state_name(c->state));
    }
    control_answer(sup->control, client, text, sup->run ? sup->run->segment_fd : -1, true);
}

struct check {
    struct supervisor *sup;
    uint64_t client;
};

static int answer_check_tables(void *arg, struct err *err)
{
    struct check *c = arg;

    return c->sup->duties->check(c->sup->ctx, err);
}

static void on_checked(void *ctx, int code, const char *text)
{
    struct check *c = ctx;
    char answer[ERR_TEXT_MAX + 32];

    if (code == 0)
        snprintf(answer, sizeof(answer), "ok\n");
    else
        snprintf(answer, sizeof(answer), "error %s\n", *text ? text : "the check did not finish");
    control_answer(c->sup->control, c->client, answer, -1, true);
    free(c);
}

/* While children are being ended no task may start: the supervisor would wait for it. */
static void answer_check(struct supervisor *sup, uint64_t client)
{
    bool ends = sup->phase >= PHASE_STOPPING || sup->restart == RESTART_ENDING;
    struct check *c = ends ? NULL : malloc(sizeof(*c));

    if (c) {
        *c = (struct check){sup, client};
        if (task_start(&sup->tasks, answer_check_tables, c, CHECK_LIMIT_NS, on_checked, c) == 0)
            return;
    }
    free(c);
    control_answer(sup->control, client, "error too busy, try again\n", -1, true);
}

/* The client stays connected, and gets another reply at the end: answer_ended. */
static void answer_drain(struct supervisor *sup, uint64_t client)
{
    control_answer(sup->control, client, "ok\n", -1, false);
    stop_begin(sup, false);
}

void answer_request(void *ctx, uint64_t client, enum control_request request)
{
    struct supervisor *sup = ctx;

    switch (request) {
    case CONTROL_STATUS:
        answer_status(sup, client);
        break;
    case CONTROL_CHECK:
        answer_check(sup, client);
        break;
    case CONTROL_DRAIN:
        answer_drain(sup, client);
        break;
    case CONTROL_RESTART:
        restart_request(sup, client);
        break;
    case CONTROL_LEAVE:
        leave_request(sup, client);
        break;
    }
}

void answer_ended(struct supervisor *sup)
{
    char text[32];

    snprintf(text, sizeof(text), "ended %d\n", sup->exit_code);
    control_answer_all(sup->control, text);
}
