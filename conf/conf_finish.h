/* What is left when every source has been read: what must be set, what is found out, what must fit
 * together. */
#ifndef CONF_CONF_FINISH_H
#define CONF_CONF_FINISH_H

#include "conf/conf.h"

/* `env` tells where the control socket goes. 0, or -EINVAL, -ENOMEM with *err filled. */
must_use int conf_finish(struct conf *conf, char *const *env, struct err *err);

#endif
