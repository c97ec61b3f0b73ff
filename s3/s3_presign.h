/* Presigned URLs: whoever has one may GET the object, without credentials, until it expires. */
#ifndef S3_S3_PRESIGN_H
#define S3_S3_PRESIGN_H

#include "base/buf.h"
#include "s3/s3.h"

#define S3_PRESIGN_URL_MAX (32u << 10) /* a session token may be long */
#define S3_PRESIGN_TTL_MAX 604800      /* seconds: a week, S3's limit */

/* Appends the URL of a GET of the key, valid for `ttl` seconds from now (1 to S3_PRESIGN_TTL_MAX),
 * but no longer than the credentials are. Signed in memory, nothing is sent. 0; -EINVAL for a key
 * that must not be sent, or a ttl out of range; -ENOKEY, -EAGAIN: there are no credentials (yet);
 * -EMSGSIZE, -E2BIG, -ENOMEM. */
must_use int s3_presign(struct s3_client *c, const char *key, unsigned ttl, struct buf *out);

#endif
