/* Keeps what the daemon consists of beyond its own death: a copy of every descriptor of the record
 * of handover.h, and of the record, with the service manager (FDSTORE=1 of sd_notify). Who starts
 * the daemon anew hands them in (LISTEN_FDS), and it goes on where the journal stands, as the
 * replacement of a worker does. Any program that speaks that protocol can be the keeper.
 *
 * A descriptor is named after its number ("stateproxy-fd-17"): the next daemon moves each to its
 * old number, so that the record holds. The record comes last; without it nothing is taken over. */
#ifndef DAEMON_FDSTORE_H
#define DAEMON_FDSTORE_H

#include "base/loop.h"
#include "daemon/handover.h"
#include "daemon/sd_notify.h"

#define FDSTORE_MAX 4096 /* descriptors, with the record */

/* ---- giving ---- */

struct fdstore {
    struct loop *loop;
    const struct sd_notify *notify;
    struct loop_timer timer; /* the next ones, when the keeper has read some */
    struct handover record;  /* .rec NULL: nothing is kept */
    int fd[FDSTORE_MAX];
    unsigned n, sent;
    bool dropped; /* the record before this one */
    bool told;    /* a failure was logged */
};

/* Zero-initialised before. Begins to send; goes on in the loop. Takes `record`. */
void fdstore_keep(struct fdstore *s, struct loop *loop, const struct sd_notify *notify, int record);

/* True if the keeper has been sent all of it. */
bool fdstore_is_whole(const struct fdstore *s);

/* True if it is being sent. */
bool fdstore_is_coming(const struct fdstore *s);

/* The daemon ends in order: spoils the record, and asks for all to be dropped. May wait some
 * seconds for the keeper. */
void fdstore_drop(struct fdstore *s);

/* Asks the keeper to drop the record, and those that were kept under these numbers. May wait some
 * seconds for the keeper. */
void fdstore_remove(const struct sd_notify *notify, const int *number, unsigned n);

/* ---- taking ---- */

/* What is ours of what was handed in. */
struct fdstore_left {
    int record;              /* -1 = none */
    unsigned n;              /* the others */
    int number[FDSTORE_MAX]; /* the old ones */
    int at[FDSTORE_MAX];     /* where each is: at its old number, unless fdstore_take failed */
};

/* Moves what LISTEN_FDS, LISTEN_FDNAMES of `env` hand in to the old numbers, and closes what is
 * not ours. To be called before anything else is opened. If nothing is ours, all stays as it is (it
 * is meant for mount.path), ret->record is -1 and ret->n 0. 0; or -errno with *err: then they are
 * of no use (fdstore_discard). */
must_use int fdstore_take(char *const *env, struct fdstore_left *ret, struct err *err);

/* Ends and closes them, and asks the keeper in `env` to drop them. The keeper may have its copies
 * of sockets for some time: nobody can connect to them any more. */
void fdstore_discard(struct fdstore_left *left, char *const *env);

/* Whether the descriptors of the record can be served: all were handed in, and the mount is there
 * and has its connection. 0, or -errno with *err: -EBADF, -ENODEV. */
must_use int fdstore_check(const struct fdstore_left *left, const struct handover *h,
                           struct err *err);

/* The record is given up: programs that wait for a reply of its mount get ECONNABORTED. The mount
 * stays, so that they do not fall through to what is below it before there is a new one. */
void fdstore_abort(const struct fdstore_left *left, const struct handover *h);

#endif
