/* From the configuration to an S3 client. */
#ifndef WORKERS_PROCESS_S3_SETUP_H
#define WORKERS_PROCESS_S3_SETUP_H

#include "base/loop.h"
#include "conf/conf.h"
#include "s3/s3.h"
#include "shm/shm_stats.h"
#include "workers/op/worker_abi.h"

/* A client on this loop with the credentials of the configuration; both live as long as the
 * process, and so must `stats`, in which it counts.
 * 0 and *ret_client, or -errno with *err. */
must_use int s3_setup(struct loop *loop, const struct worker_env *env, struct shm_stats *stats,
                      struct s3_client **ret_client, struct err *err);

#endif
