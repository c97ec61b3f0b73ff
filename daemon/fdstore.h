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

#define FDSTORE_MAX 4096 /* descriptors */

/* ---- giving ---- */

struct fdstore {
    struct loop *loop;
    const struct sd_notify *notify;
    struct loop_timer timer; /* the next ones, when the keeper has read some */
    struct handover record;  /* .rec NULL: nothing is kept */
    int fd[FDSTORE_MAX];
    unsigned n, sent;
    bool told; /* a failure was logged */
};

/* Zero-initialised before. Begins to send; goes on in the loop. Takes `record`. */
void fdstore_keep(struct fdstore *s, struct loop *loop, const struct sd_notify *notify, int record);

/* The daemon ends in order: spoils the record, and asks for all to be dropped. */
void fdstore_drop(struct fdstore *s);

/* ---- taking ---- */

struct fdstore_left {
    int record; /* -1 = none */
    unsigned n; /* descriptors at their old numbers */
    int fd[FDSTORE_MAX];
};

/* Moves what LISTEN_FDS, LISTEN_FDNAMES of `env` hand in to the old numbers, and closes what is
 * not ours. To be called before anything else is opened. Without any: ret->record is -1 and ret->n
 * 0. 0; or -errno with *err: then they are of no use (fdstore_discard). */
must_use int fdstore_take(char *const *env, struct fdstore_left *ret, struct err *err);

/* Closes them, and asks the keeper in `env` to drop them. */
void fdstore_discard(struct fdstore_left *left, char *const *env);

/* Whether the descriptors of the record can be served: all are open, and the kernel has not ended
 * the connection of the mount. 0, or -errno with *err. */
must_use int fdstore_check(const struct handover *h, struct err *err);

#endif
