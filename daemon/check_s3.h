/* Checks S3 before anything is mounted, in a child: the supervisor parses nothing that comes from a
 * network. */
#ifndef DAEMON_CHECK_S3_H
#define DAEMON_CHECK_S3_H

#include "workers/op/worker_abi.h"

/* No exit code: the bucket is in another region, which the segment has now; the first credentials
 * have to be fetched again, for their keys. */
#define CHECK_S3_MOVED (-1)

/* The exit code for a result of worker_check_s3 or worker_probe. */
int check_exit_code(int r);

/* How long worker_probe may take. */
uint64_t check_probe_limit_ns(void);

/* 0 and *ret_traits, CHECK_S3_MOVED, or an exit code (exit_code.h) with *err filled: S3 cannot be
 * reached, or the configuration is wrong, or the server lacks what the variant needs. Takes at most
 * a few seconds; with a probe (worker_abi.h) of a slow server, longer. The child enters a sandbox
 * as the workers do later. */
must_use int check_s3(const struct worker_env *env, struct server_traits *ret_traits,
                      struct err *err);

#endif
