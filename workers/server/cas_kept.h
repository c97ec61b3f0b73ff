/* What the probe found of a server, kept in a file for a day, so that not each start tries
 * again. Only what is good is kept, and for one endpoint, bucket and version of the program. */
#ifndef WORKERS_SERVER_CAS_KEPT_H
#define WORKERS_SERVER_CAS_KEPT_H

#include <stdbool.h>

#include "conf/conf.h"
#include "workers/op/worker_abi.h"

/* True and *ret_traits where it is known, not too old, and of a server that calls itself as
 * ret_traits->name says. */
bool cas_kept_read(const struct conf *conf, struct server_traits *ret_traits);

/* Keeps it, if there is a place; says in the log where that fails. */
void cas_kept_write(const struct conf *conf, const struct server_traits *traits);

/* It has turned out to be wrong. */
void cas_kept_forget(const struct conf *conf);

#endif
