/* Is a success S3's? A portal, a gateway's page or a server of another kind says 200 too. */
#ifndef S3_S3_SUCCESS_H
#define S3_S3_SUCCESS_H

#include "base/err.h"

struct s3_req;

/* on_end of requests with a body and an ETag in return (PUT, a part): the status is one that means
 * "stored", the whole body was sent, and nothing but XML came back. 0, or -1 after s3_req_stop. */
must_use int s3_success_stored(struct s3_req *req);

/* on_end of DELETE and of an abort: the status is one that means "done", and nothing but XML came
 * back. 0, or -1 after s3_req_stop. */
must_use int s3_success_gone(struct s3_req *req);

#endif
