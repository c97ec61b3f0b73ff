/* The holder, `stateproxyd hold`: keeps copies of the descriptors of daemons beyond their death,
 * where no service manager does (fdstore.h), and hands them to the next one. A process of its own
 * in another container, or beside the daemon; it reads nothing of what it keeps.
 *
 * It is small, since it runs before anything of the daemon is set up, and it ends what it keeps
 * when no daemon comes for it in time: then programs that wait in a mount have an error. */
#ifndef DAEMON_HOLD_H
#define DAEMON_HOLD_H

#include <stdint.h>

#include "base/err.h"

#define HOLD_DAEMONS_MAX 32
#define HOLD_DEADLINE_S 60 /* without --deadline */

struct hold;

/* Listens at `path`. `deadline_ns`: how long what is kept of a daemon that is gone waits for the
 * next one. Blocks SIGTERM and SIGINT. 0 and *ret_hold, or -errno with *err: -EADDRINUSE if another
 * one listens there. */
must_use int hold_new(const char *path, uint64_t deadline_ns, struct hold **ret_hold,
                      struct err *err);

/* Serves until SIGTERM or SIGINT. 0, or -errno of the loop. */
must_use int hold_run(struct hold *hold);

/* Lets go all that is kept, and removes the socket. NULL is allowed. */
void hold_free(struct hold *hold);

/* The program: options, and the above. Returns its exit code. */
int hold_main(int argc, char **argv);

#endif
