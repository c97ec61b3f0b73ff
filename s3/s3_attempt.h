/* One attempt of a request. */
#ifndef S3_S3_ATTEMPT_H
#define S3_S3_ATTEMPT_H

#include "base/err.h"

#define S3_BIG_BODY (1u << 20) /* above: big buffers and, if conditional, Expect */

struct s3_req;

/* Takes a request out of the queue and sends it. 0; or, with nothing sent and everything released:
 * -EAGAIN: there is no signing key for that day yet; -ENOKEY: there are no credentials; what
 * building the request met (-ENOMEM, -E2BIG, ...). */
must_use int s3_attempt_start(struct s3_req *req);

/* Releases everything that the attempt holds, its connection slot included. */
void s3_attempt_release(struct s3_req *req);

#endif
