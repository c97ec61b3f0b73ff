/* The environment as a source of values. */
#ifndef CONF_CONF_ENV_H
#define CONF_CONF_ENV_H

#include <stdbool.h>

#include "conf/conf.h"

/* Sets every key that `env` names. A STATEPROXY_ name that belongs to no key is an error, unless
 * Kubernetes sets it for a service called stateproxy. An empty AWS_ variable counts as not set, as
 * in AWS's own tools; any other empty variable is a value. 0, or -EINVAL, -ENOMEM with *err
 * filled. */
must_use int conf_env_apply(struct conf *conf, char *const *env, struct err *err);

#define CONF_ENV_SHOWN 80

/* A variable that is none of ours, but looks as if one was meant. */
struct conf_env_doubt {
    char name[CONF_ENV_SHOWN];
    const char *meant; /* static */
};

/* The next one from *env on, which moves on behind it: a name of other programs' (STATE_, ASYA_)
 * near one of the names that some key has besides its own. False at the end. */
bool conf_env_next_doubt(char *const **env, struct conf_env_doubt *ret);

/* Value of the first variable with that name, NULL if there is none. `env` may be NULL. */
const char *conf_env_get(char *const *env, const char *name);

#endif
