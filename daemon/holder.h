/* The daemon's connection to its holder (hold.h): takes what one that is gone has left there, and
 * gives what is to be kept, by the same two pieces as with a service manager (fdstore.h). If the
 * holder is not there, the daemon serves without it, and gives everything when it is back. */
#ifndef DAEMON_HOLDER_H
#define DAEMON_HOLDER_H

#include "base/loop.h"
#include "conf/conf.h"
#include "conf/conf_control.h"
#include "daemon/fdstore.h"

enum holder_state {
    HOLDER_AWAY,
    HOLDER_ASKED, /* hello was said */
    HOLDER_READY,
};

struct holder {
    char path[CONF_SOCKET_MAX]; /* "" = none is configured */
    char name[CONF_HOLDER_NAME_MAX];
    enum holder_state state;
    int sock; /* -1 = AWAY */
    /* A pipe that tells the holder when the last process of this daemon has ended: each inherits
     * the end for writing. Lives through a restart in place. -1 = not made yet. */
    int life[2];
    bool kept; /* it has said that it has all */
    bool told; /* that it is not there */
    struct loop *loop;
    struct loop_watch watch;
    struct loop_timer again;
    void (*on_ready)(void *ctx); /* the holder has nothing of ours, or not all */
    void *ctx;
};

/* Takes path and name of the configuration. `life`: of the image before, NULL = there was none. */
void holder_init(struct holder *h, const struct conf *conf, const int life[2]);

/* Says hello, and takes what is left, as fdstore_take does, whose results these are. To be called
 * before anything else is opened. Waits for some seconds, if the processes of the daemon before
 * have not ended. Else -errno with *err:
 *
 *   -ENOTCONN  the holder cannot be reached, or does not answer: nothing is taken
 *   -EBUSY     a daemon that runs has this name
 *   -EAGAIN    processes of the daemon before have not ended */
must_use int holder_take(struct holder *h, struct fdstore_left *ret, struct err *err);

/* From now on the connection is watched, and made anew when it has ended. `on_ready`: the holder is
 * there, and is to be given everything. (After holder_take it is there already.) */
void holder_watch(struct holder *h, struct loop *loop, void (*on_ready)(void *ctx), void *ctx);

/* In a child: closes the connection, which ends with the supervisor. */
void holder_forget(struct holder *h);

/* The holder as a keeper of fdstore.h. */
struct fdstore_to holder_to(struct holder *h);

/* What is kept is of no use, or no longer needed: the holder is to let it go. Waits for its answer,
 * for up to two seconds. */
void holder_drop(struct holder *h);

#endif
