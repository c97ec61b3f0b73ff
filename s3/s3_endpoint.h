/* Where the requests of a bucket go: AWS's endpoints by partition and region, with their variants
 * (dual-stack, FIPS, acceleration, access points), or the endpoint that is configured; path or
 * virtual-host addressing; and the region that requests are signed for. Asks nobody. */
#ifndef S3_S3_ENDPOINT_H
#define S3_S3_ENDPOINT_H

#include <stdbool.h>

#include "base/err.h"
#include "s3/s3.h"
#include "s3/s3_url.h"

/* What is configured. Strings are borrowed. */
struct s3_endpoint {
    const char *url;    /* NULL or "" = AWS's for the region */
    const char *region; /* S3_REGION_AUTO: what the bucket says, until then us-east-1 or "auto" */
    const char *bucket; /* a name, an alias or the ARN of an access point */
    enum s3_addressing addressing;
    bool dualstack, fips, accelerate; /* AWS's endpoints only */
};

/* What a client's configuration says of it. */
struct s3_endpoint s3_client_endpoint(const struct s3_client_conf *conf);

/* 0 and *ret_url, or -EINVAL with *err: what cannot be, or AWS does not have. */
must_use int s3_endpoint_resolve(const struct s3_endpoint *endpoint, struct s3_url *ret_url,
                                 struct err *err);

/* The server said that the bucket is in this region. 0, and *url is for it, signed for it; or
 * -EINVAL, and *url is unchanged: not a region, the one in use, or another partition; or the region
 * is not the bucket's to say, because an ARN names it. The host of a configured endpoint stays. */
must_use int s3_endpoint_move(const struct s3_endpoint *endpoint, const char *region,
                              struct s3_url *url);

#endif
