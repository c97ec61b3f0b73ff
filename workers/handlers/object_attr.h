/* user.asya.url, presigned_url, etag, content_type, version, storage_class: what S3 knows of an
 * object, as extended attributes, with the names of the connector API (con_meta.c). */
#ifndef WORKERS_HANDLERS_OBJECT_ATTR_H
#define WORKERS_HANDLERS_OBJECT_ATTR_H

#include "s3/s3.h"
#include "workers/op/op.h"

/* True for a name that begins as these do, also for one that none of them has. */
bool object_attr_is(const char *name);

/* Answers a GETXATTR of one of them: ENODATA if there is none of this name, or no object; EACCES if
 * there are no credentials to sign a URL with; what the HEAD returned. */
void object_attr_get(struct op *op);

/* True if the request sets the Content-Type. */
bool object_attr_sets_type(const struct op *op);

/* Whether SETXATTR or REMOVEXATTR of one of them may go on: 0 for a Content-Type that S3 takes;
 * -EINVAL for another; -EEXIST with XATTR_CREATE; -EPERM for the other attributes. */
must_use int object_attr_check(const struct op *op);

/* The Content-Type that the request sets, for meta_store: of a kept op, whose value was parked. 0,
 * -EINVAL, or what reading the parking file returned. */
must_use int object_attr_type(struct op *op, char type[S3_TYPE_MAX]);

#endif
