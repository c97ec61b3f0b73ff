/* Questions about other processes, for a worker that may not look into /proc itself. One process,
 * the observer (process/observer_main.c), has the right to, and answers them; it parses nothing
 * that came from a network, and what it answers is no more than the functions of proc.h and
 * intent.h return.
 *
 * Each worker has a mailbox in memory that it shares with the observer alone. A question that the
 * observer leaves behind when it dies is answered by the one that replaces it. A worker that has
 * waited in vain goes on without an answer, and until the observer has caught up it gets none at
 * once. */
#ifndef WORKERS_OP_OBSERVER_H
#define WORKERS_OP_OBSERVER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/err.h"

#define OBSERVER_PATH_MAX 4096                     /* with NUL */
#define OBSERVER_WAIT_NS (2 * NS_PER_S)            /* was a writer killed? A file depends on it */
#define OBSERVER_WAIT_BRIEFLY_NS (500 * NS_PER_MS) /* what only saves a request to S3 */
#define OBSERVER_TRIES 8 /* a question at which so many observers died gets no answer */

enum observer_what {
    OBSERVER_LOOK = 1,    /* proc_look */
    OBSERVER_LOOK_PARENT, /* proc_look_parent */
    OBSERVER_DYING,       /* proc_is_dying */
    OBSERVER_HOLDS_WRITE, /* proc_holds_write */
    OBSERVER_HAS_DIR,     /* proc_has_dir */
    OBSERVER_INTENT,      /* intent_look */
    OBSERVER_MAKES,       /* intent_makes */
    OBSERVER_PASSES,      /* intent_passes */
    OBSERVER_BESIDE,      /* proc_writes_beside */
};

struct observer_question {
    uint32_t what;
    uint32_t tid;
    uint64_t ino;
    char path[OBSERVER_PATH_MAX]; /* of a LOOKUP */
};

/* No addresses of the caller's memory. */
struct observer_answer {
    bool yes, known;
    /* OBSERVER_LOOK, OBSERVER_LOOK_PARENT: struct proc_info */
    bool exiting, waits, reaps, gone, execs;
    int32_t tgid, parent, signal;
    uint64_t start;
    uint32_t n; /* OBSERVER_BESIDE */
    /* OBSERVER_INTENT, OBSERVER_MAKES: struct intent */
    uint32_t kind, flags;
};

/* The mailbox of a worker slot.
 * Writer:   the worker writes `question`, then raises `asked`; the observer writes `answer`, then
 *           sets `answered` to `asked`.
 * If owner dies: a worker's replacement asks only when both numbers are equal; an observer's
 *           replacement answers if they differ. */
struct observer_box {
    _Atomic uint32_t asked, answered; /* futexes */
    _Atomic uint32_t tries;           /* observers that have begun with this question */
    struct observer_question question;
    struct observer_answer answer;
};

/* Mailboxes for `n` workers, in memory that is shared with all processes forked from now on; never
 * freed. *ret_fd: the memory's descriptor, close-on-exec, the caller's. 0, or -errno of
 * memfd_create(2), ftruncate(2), mmap(2). */
must_use int observer_boxes_new(unsigned n, struct observer_box **ret_boxes, int *ret_fd);

/* The mailboxes that a former image of this process made, by their descriptor. 0; -EPROTO: it is
 * not of that size; -errno of mmap(2). */
must_use int observer_boxes_open(int fd, unsigned n, struct observer_box **ret_boxes);

/* In a worker: from now on proc.h and intent.h ask through this box. NULL: look themselves. */
void observer_use(struct observer_box *box);

/* True if they ask. */
bool observer_in_use(void);

/* Asks, and waits for at most `wait_ns`. True and *ret, or false: there is no answer. */
must_use bool observer_ask(uint32_t what, uint32_t tid, uint64_t ino, const char *path,
                           uint64_t wait_ns, struct observer_answer *ret);

/* ---- in the observer ---- */

/* Waits until there is a question in the box, and copies it. Call observer_reply next. */
void observer_next(struct observer_box *box, struct observer_question *ret);

/* True if the question is to be answered: it has not killed too many before. */
bool observer_is_harmless(const struct observer_box *box);

void observer_reply(struct observer_box *box, const struct observer_answer *answer);

#endif
