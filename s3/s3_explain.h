/* For the operator: why the first request failed, and what to do. */
#ifndef S3_S3_EXPLAIN_H
#define S3_S3_EXPLAIN_H

#include <stdbool.h>
#include <stddef.h>

#include "s3/s3.h"

#define S3_EXPLAIN_MAX 480

/* The endpoint, in words. */
const char *s3_endpoint_name(const struct s3_client_conf *conf);

/* The server refused the bucket's name in the path: VIRTUAL addressing may work. */
bool s3_refuses_path(const struct s3_result *res);

/* Writes one sentence on why `res` failed into `out` (cut between words; S3_EXPLAIN_MAX is mostly
 * enough). True if the configuration is wrong (endpoint, CA, bucket, region, keys), so that a retry
 * is useless. */
bool s3_explain(const struct s3_result *res, const struct s3_client_conf *conf, char *out,
                size_t cap);

#endif
