/* What requests that create an object have in common; only for files of s3/. Each function adds to
 * a request that has not been submitted yet. 0, or -errno: -EINVAL for invalid values, -E2BIG,
 * -ENOMEM. */
#ifndef S3_S3_OBJECT_H
#define S3_S3_OBJECT_H

#include <stdbool.h>

#include "s3/s3.h"

struct s3_req;

#define S3_NO_ETAG "the server returns no ETag, so versions cannot be distinguished"

/* Content type (NULL = by s3_options.type_of, or binary/octet-stream), user metadata, and headers
 * that are kept (or NULL). */
must_use int s3_object_describe(struct s3_req *req, const char *content_type,
                                const struct s3_meta_pair *meta, size_t n_meta,
                                const struct s3_pairs *kept);

/* A condition on an ETag (NULL: none), in the form that this server expects. */
must_use int s3_object_match(struct s3_req *req, const char *name, const char *etag);

/* If-Match: an ETag or NULL, `bare` = without quotes; If-None-Match: "*" or NULL. */
must_use int s3_object_conditions(struct s3_req *req, const char *if_match, bool bare,
                                  const char *if_none_match);

/* The source of a copy, and the ETag that it must have (or NULL). */
must_use int s3_object_source(struct s3_req *req, const char *from_key,
                              const char *if_source_match);

/* Handles an object without an ETag where one is required: stops the request. */
must_use int s3_object_check(struct s3_req *req);

/* The body to send (borrowed), and the checksum to send with it, or S3_CRC_NONE. */
void s3_object_body(struct s3_req *req, const struct s3_body *body, enum s3_crc checksum);

#endif
