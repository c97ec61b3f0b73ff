/* What requests that make an object have in common; not for use outside s3/ (s3.h is). Each adds to
 * a request that was not submitted yet. 0, or -errno: -EINVAL for what cannot be sent, -E2BIG,
 * -ENOMEM. */
#ifndef S3_S3_OBJECT_H
#define S3_S3_OBJECT_H

#include <stdbool.h>

#include "s3/s3.h"

struct s3_req;

#define S3_NO_ETAG "the server tells no ETag, so that versions cannot be told apart"

/* Content type (NULL = binary/octet-stream) and user metadata. */
must_use int s3_object_describe(struct s3_req *req, const char *content_type,
                                const struct s3_meta_pair *meta, size_t n_meta);

/* A condition on an ETag (NULL: none), as this server writes it. */
must_use int s3_object_match(struct s3_req *req, const char *name, const char *etag);

/* If-Match: an ETag or NULL, `bare` = without quotes; If-None-Match: "*" or NULL. */
must_use int s3_object_conditions(struct s3_req *req, const char *if_match, bool bare,
                                  const char *if_none_match);

/* Where a copy comes from, and the ETag that it must have there (or NULL). */
must_use int s3_object_source(struct s3_req *req, const char *from_key,
                              const char *if_source_match);

/* An object without an ETag, where one is required: stops the request. */
must_use int s3_object_check(struct s3_req *req);

/* The body to send; borrowed. */
void s3_object_body(struct s3_req *req, const struct s3_body *body);

#endif
