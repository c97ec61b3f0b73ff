/* The credentials in the segment (shm_cred.h) as a credential source for the S3 client. */
#ifndef WORKERS_PROCESS_CRED_SOURCE_H
#define WORKERS_PROCESS_CRED_SOURCE_H

#include "s3/s3_cred.h"
#include "workers/op/worker_abi.h"

/* 0 and *ret_src (free it with s3_cred_free), or -ENOMEM. `alone`: no keeper is running yet that
 * could provide others. */
must_use int cred_source_new(const struct worker_env *env, bool alone,
                             struct s3_cred_source **ret_src);

#endif
