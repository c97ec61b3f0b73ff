/* Creates an S3 client from the configuration. */
#ifndef WORKERS_PROCESS_S3_SETUP_H
#define WORKERS_PROCESS_S3_SETUP_H

#include "base/loop.h"
#include "conf/conf.h"
#include "s3/s3.h"
#include "shm/shm_stats.h"
#include "workers/op/worker_abi.h"

/* A client on this loop with the credentials of the configuration. Both live as long as the
 * process, and so must `stats`, which the client counts in. 0 and *ret_client, or -errno with
 * *err. */
must_use int s3_setup(struct loop *loop, const struct worker_env *env, struct shm_stats *stats,
                      struct s3_client **ret_client, struct err *err);

#endif
