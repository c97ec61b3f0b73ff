/* A supervisor with stand-in children: it runs in a child process of the test, and what its
 * children and duties do is told and steered through a page that all share. Nothing is mounted. */
#ifndef TESTS_DAEMON_STANDIN_H
#define TESTS_DAEMON_STANDIN_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define STANDIN_WORKERS 2
#define STANDIN_STARTS 16 /* start times that are kept */

/* What a worker does. */
enum standin_does {
    STANDIN_SERVES,   /* until SIGTERM or the end of the mount */
    STANDIN_CRASHES,  /* by SIGSEGV, at once */
    STANDIN_FAILS,    /* its set-up, at once */
    STANDIN_STUBBORN, /* serves, and takes no SIGTERM */
};

struct standin_worker {
    _Atomic pid_t pid;
    _Atomic unsigned starts;
    _Atomic unsigned blamed; /* calls of on_crash */
    _Atomic uint64_t turned_ns;
    _Atomic uint64_t start_ns[STANDIN_STARTS];
};

struct standin {
    struct standin_worker worker[STANDIN_WORKERS];
    _Atomic pid_t notifier;
    _Atomic int does; /* enum standin_does, of all workers */
    _Atomic int look; /* enum supervisor_look: what duties say */
    _Atomic int linger;
    _Atomic int last;
    _Atomic int check; /* 0 or 1 */
    _Atomic int gone;  /* the exit code after an unmount from outside */
    _Atomic bool left; /* it takes over what a daemon that is gone has left, with no socket */
    _Atomic bool mounted;
    _Atomic unsigned looks, unmounts, aborts, drains, reloads, dumps, lasts;
};

/* Starts the supervisor; `b` is fresh and all zero but mounted. Its pid. */
pid_t standin_start(struct standin *b, const char *socket, uint64_t drain_timeout_ns);

/* A zeroed page that children share. */
struct standin *standin_new(void);
void standin_free(struct standin *b);

#endif
