/* From a mount option to a key of the configuration. */
#ifndef MOUNT_MOUNT_SET_H
#define MOUNT_MOUNT_SET_H

#include "base/err.h"

#define MOUNT_VALUE_MAX 4096 /* bytes of the value of an option, with NUL */

/* Sets the key that an option names, as an environment variable of this process, which stateproxyd
 * inherits; another value of that key in the environment is taken away. `name`: a whole key
 * ("s3.region") or its last part if no other key has the same ("region"); '-' counts as '_'.
 * `value`: NULL if the option has none, as a switch.
 *
 * 0; -ENOENT if no key has that name, or several have; -EACCES for a secret and for what the
 * command line says in another place; -EINVAL if a value is missing; -ENOMEM. */
must_use int mount_set(const char *name, const char *value, struct err *err);

/* The same for the whole name of a key that is known to exist. 0 or -ENOMEM. */
must_use int mount_set_key(const char *name, const char *value, struct err *err);

#endif
