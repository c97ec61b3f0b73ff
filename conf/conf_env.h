/* The environment as a source of values. */
#ifndef CONF_CONF_ENV_H
#define CONF_CONF_ENV_H

#include "conf/conf.h"

/* Sets every key that `env` names. A STATEPROXY_ name that no key has is an error, unless it
 * is one of those that Kubernetes puts there for a service called stateproxy. An empty AWS_
 * variable counts as not set, as for AWS's own tools; any other empty one is a value. 0, or
 * -EINVAL, -ENOMEM with *err filled. */
must_use int conf_env_apply(struct conf *conf, char *const *env, struct err *err);

/* Value of the first variable of that name, NULL if there is none. `env` may be NULL. */
const char *conf_env_get(char *const *env, const char *name);

#endif
