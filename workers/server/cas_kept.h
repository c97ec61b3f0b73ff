/* What the probe found about a server, saved in a file for a day, so that not every start probes
 * again. Only good results are saved, for one endpoint, bucket and version of the program. */
#ifndef WORKERS_SERVER_CAS_KEPT_H
#define WORKERS_SERVER_CAS_KEPT_H

#include <stdbool.h>

#include "conf/conf.h"
#include "workers/op/worker_abi.h"

/* True and *ret_traits if a result is saved, not too old, and for a server with the name
 * ret_traits->name. */
bool cas_kept_read(const struct conf *conf, struct server_traits *ret_traits);

/* Reads the file now, for cas_kept_read in this process, which may not open it any more then. */
void cas_kept_load(const struct conf *conf);

/* Saves the traits, if there is a state directory; logs a failure. */
void cas_kept_write(const struct conf *conf, const struct server_traits *traits);

/* Deletes a result that has turned out to be wrong. */
void cas_kept_forget(const struct conf *conf);

#endif
