/* stateproxyctl leave: before a daemon leaves what is open to the next one, whether that could take
 * it over. The next daemon looks itself (daemon/fdstore.h), but then it is too late to publish. */
#ifndef CTL_LEAVE_H
#define CTL_LEAVE_H

#include "base/err.h"
#include "conf/conf.h"

/* Asks the daemon at `socket` whether it has the values of `conf` that must not change. Of another
 * version that is left to the daemon itself, which compares by names. 0; -EXDEV: it has not; or
 * -errno of client_ask; with *err. */
must_use int leave_check(const char *socket, const struct conf *conf, struct err *err);

#endif
