/* The arguments of mount.stateproxy, as mount(8) passes them. */
#ifndef MOUNT_MOUNT_OPTIONS_H
#define MOUNT_MOUNT_OPTIONS_H

#include <stdbool.h>

#include "base/err.h"
#include "mount/mount_set.h"

struct mount_options {
    const char *spec;             /* BUCKET/PREFIX; borrowed from argv */
    const char *dir;              /* borrowed from argv */
    const char *namespace;        /* -N; NULL = none */
    char config[MOUNT_VALUE_MAX]; /* config=; "" = none */
    char log[MOUNT_VALUE_MAX];    /* log=; "" = syslog */
    bool fake, sloppy, verbose;
    bool remount;
    bool help, version;
};

/* Reads the command line. Options that are keys of the configuration become environment variables
 * (mount_set.h); so do bucket and prefix.
 *
 * 0 and *ret. -EINVAL: wrong usage; -ENOENT: an unknown option, without -s; -EACCES: an option that
 * is not permitted here; -ENOMEM. */
must_use int mount_options_parse(int argc, char **argv, struct mount_options *ret, struct err *err);

#endif
