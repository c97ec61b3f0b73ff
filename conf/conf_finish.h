/* The last step, when every source has been read: checks required keys, fills in automatic values,
 * checks rules over several keys. */
#ifndef CONF_CONF_FINISH_H
#define CONF_CONF_FINISH_H

#include "conf/conf.h"

/* `env` decides the default of control.socket. 0, or -EINVAL, -ENOMEM with *err filled. */
must_use int conf_finish(struct conf *conf, char *const *env, struct err *err);

#endif
