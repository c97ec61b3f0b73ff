/* What goes with requests beside what they are about (struct s3_options), by one function for all
 * operations, those of multipart uploads included; and what an object has that its successor should
 * keep (s3_object.kept). Only for files of s3/. */
#ifndef S3_S3_EXTRA_H
#define S3_S3_EXTRA_H

#include <stdbool.h>

#include "base/err.h"

struct s3_pairs;
struct s3_req;

/* Adds the headers of this attempt. To be called last: what the request has itself stays. 0 or the
 * error of s3_headers_add. */
must_use int s3_extra_headers(struct s3_req *req);

/* Adds what the caller keeps (NULL: nothing); not `all`: only what a copy loses by itself. 0 or the
 * error of s3_headers_add. */
must_use int s3_extra_keep(struct s3_req *req, const struct s3_pairs *kept, bool all);

/* Adds the description that objects get which have none. The same. */
must_use int s3_extra_describe(struct s3_req *req);

/* A refusal that one of these headers may have caused, and without which it can be: true if the
 * request should be sent once more. */
must_use bool s3_extra_turn(struct s3_req *req);

/* Of a response: a header that is kept, with its name in lower case; its headers are over. */
void s3_extra_take(struct s3_req *req, const char *name, const char *value);
void s3_extra_taken(struct s3_req *req);

/* The request has succeeded: what that teaches about tags. */
void s3_extra_learn(struct s3_req *req);

#endif
