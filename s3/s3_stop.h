/* Ending an attempt from inside a hook of curl's, or of an operation. */
#ifndef S3_S3_STOP_H
#define S3_S3_STOP_H

#include "s3/s3.h"
#include "s3/s3_error.h"

struct s3_req;

/* The attempt ends with this verdict; the first one counts. `text` is for the log. Returns -1, as
 * hooks do. */
int s3_req_stop(struct s3_req *req, int error, enum s3_fail fail, enum s3_retry_class retry,
                const char *text);

#endif
