/* For the operator: why the first request failed, and what to do. */
#ifndef S3_S3_EXPLAIN_H
#define S3_S3_EXPLAIN_H

#include <stdbool.h>
#include <stddef.h>

#include "s3/s3.h"

#define S3_EXPLAIN_MAX 480

/* The endpoint, in words. */
const char *s3_endpoint_name(const struct s3_client_conf *conf);

/* The server refused that the bucket's name is in the path: VIRTUAL addressing may do. */
bool s3_refuses_path(const struct s3_result *res);

/* One sentence on why `res` failed into `out` (cut between words, S3_EXPLAIN_MAX is mostly
 * enough). True when it is the configuration that is wrong (endpoint, CA, bucket, region, keys),
 * so that trying again is useless. */
bool s3_explain(const struct s3_result *res, const struct s3_client_conf *conf, char *out,
                size_t cap);

#endif
