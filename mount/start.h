/* Starts stateproxyd in the background and waits until it serves. */
#ifndef MOUNT_START_H
#define MOUNT_START_H

#include "mount/mount_options.h"

/* Exit codes of mount(8). */
enum {
    START_OK = 0,
    START_USAGE = 1,       /* wrong options, or values of them */
    START_SYSTEM = 2,      /* no memory, no process */
    START_INTERNAL = 4,    /* a bug of the helper */
    START_INTERRUPTED = 8, /* by a signal */
    START_FAILED = 32      /* anything else: the mount failed */
};

/* The environment holds the configuration. Returns one of the codes above; what went wrong has been
 * written to stderr. */
int start_mount(const struct mount_options *options);

#endif
