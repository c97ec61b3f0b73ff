/* Keeps what the daemon consists of beyond its own death: a copy of every descriptor of the record
 * of handover.h, and of the record, with a keeper. That is the service manager (FDSTORE=1 of
 * sd_notify), which hands them in when it starts the daemon anew (LISTEN_FDS), or any program that
 * speaks that protocol; or it is a holder (holder.h). The daemon goes on where the journal stands,
 * as the replacement of a worker does.
 *
 * A descriptor is named after its number ("stateproxy-fd-17"): the next daemon moves each to its
 * old number, so that the record holds. The record comes last; without it nothing is taken over.
 *
 * What is given at once is a set. A holder replaces one by the next as a whole. The service manager
 * has single descriptors: there the record is named after the number of its set, the one before is
 * dropped when the next is there, and of two the newer one holds. So there is a whole set at any
 * time. */
#ifndef DAEMON_FDSTORE_H
#define DAEMON_FDSTORE_H

#include "base/loop.h"
#include "daemon/handover.h"
#include "daemon/sd_notify.h"

#define FDSTORE_MAX 4096      /* descriptors, with the record */
#define FDSTORE_RECORDS_MAX 8 /* that may be handed in */

#define FDSTORE_IS_RECORD (-1) /* in place of a number */

/* ---- giving ---- */

/* A keeper. The functions return 0; -EAGAIN: it has to read first; -ENOTCONN: it is not there,
 * until fdstore_again says so; another -errno. */
struct fdstore_to {
    const char *whom;        /* "the service manager" */
    int (*begin)(void *ctx); /* all come anew. NULL: nothing to do */
    int (*put)(void *ctx, int fd, int number);
    /* It has the record: what it has of the set before is dropped. NULL: it does so itself. */
    int (*complete)(void *ctx);
    /* It is to let go the record, and these. May wait some seconds. */
    void (*drop)(void *ctx, const int *number, unsigned n);
    /* Whether it has what it was sent: 1, 0: not yet, -ENOTCONN: it is not there. NULL: 1. */
    int (*has_all)(void *ctx);
    void *ctx;
};

struct fdstore {
    struct loop *loop;
    struct fdstore_to to;
    struct loop_timer timer; /* the next ones, when the keeper has read some */
    struct handover record;  /* .rec NULL: nothing is kept */
    int fd[FDSTORE_MAX];
    unsigned n, sent; /* n descriptors, then the record, then `complete` */
    bool begun;
    bool told; /* a failure was logged */
};

/* The service manager as a keeper. */
struct fdstore_manager {
    const struct sd_notify *notify;
    unsigned set; /* the number of the set that it is given, from 1 on */
    int gone[2];  /* descriptors of the set before that are not in this one; -1 = none */
};

struct fdstore_to fdstore_to_manager(const struct fdstore_manager *m);

/* Zero-initialised before. Begins to send; goes on in the loop. Takes `record`. */
void fdstore_keep(struct fdstore *s, struct loop *loop, const struct fdstore_to *to, int record);

/* The keeper has nothing: all is sent anew. Nothing happens before fdstore_keep. */
void fdstore_again(struct fdstore *s);

/* True if the keeper has all of it. */
bool fdstore_is_whole(const struct fdstore *s);

/* True if it is being sent, or the keeper has not said yet that it has it. */
bool fdstore_is_coming(const struct fdstore *s);

/* The daemon ends in order: spoils the record, and asks for all to be dropped. May wait some
 * seconds for the keeper. */
void fdstore_drop(struct fdstore *s);

/* Asks the keeper to drop the records of these sets, then what was kept under these numbers. May
 * wait some seconds for the keeper. */
void fdstore_remove(const struct sd_notify *notify, const unsigned *set, unsigned n_sets,
                    const int *number, unsigned n);

/* ---- taking ---- */

/* Descriptors as they are handed in: where each is to be. */
struct fdstore_handed_in {
    unsigned n;                /* the others, if there are more, are left alone */
    int number[FDSTORE_MAX];   /* the old one, FDSTORE_IS_RECORD, or less: not ours */
    unsigned set[FDSTORE_MAX]; /* of a record: its set's number */
    int at[FDSTORE_MAX];       /* where it is now */
};

/* What is ours of what was handed in. */
struct fdstore_left {
    int record; /* of the newest set; -1 = none */
    unsigned n_sets;
    unsigned set[FDSTORE_RECORDS_MAX]; /* of the records that were handed in; the newest first */
    unsigned n;                        /* the others */
    int number[FDSTORE_MAX];           /* the old ones */
    int at[FDSTORE_MAX]; /* where each is: at its old number, unless fdstore_take failed */
};

/* Moves what LISTEN_FDS, LISTEN_FDNAMES of `env` hand in to the old numbers, and closes what is
 * not ours. To be called before anything else is opened. If nothing is ours, all stays as it is (it
 * is meant for mount.path), ret->record is -1 and ret->n 0. 0; or -errno with *err: then they are
 * of no use (fdstore_discard). */
must_use int fdstore_take(char *const *env, struct fdstore_left *ret, struct err *err);

/* The same for those of *in, whoever handed them in. Takes them all. */
must_use int fdstore_place(struct fdstore_handed_in *in, struct fdstore_left *ret, struct err *err);

/* Ends and closes them, and asks the keeper in `env` to drop them. The keeper may have its copies
 * of sockets for some time: nobody can connect to them any more. */
void fdstore_discard(struct fdstore_left *left, char *const *env);

/* Whether the descriptors of the record can be served: all were handed in, and the mount has its
 * connection and is there. If this mount namespace has it as another mount, the record says so
 * afterwards. `elsewhere`: it may be in other namespaces only, as when its container is gone and
 * the mount has been propagated; then the connection alone decides. 0, or -errno with *err: -EBADF,
 * -ENODEV. */
must_use int fdstore_check(const struct fdstore_left *left, const struct handover *h,
                           bool elsewhere, struct err *err);

/* What is no part of the newest set is closed, and the keeper in `env` is asked to drop it: of a
 * set that did not become whole, or of one that has been replaced. */
void fdstore_tidy(struct fdstore_left *left, const struct handover *h, char *const *env);

/* The record is given up: programs that wait for a reply of its mount get ECONNABORTED. The mount
 * stays, so that they do not fall through to what is below it before there is a new one. */
void fdstore_abort(const struct fdstore_left *left, const struct handover *h);

#endif
