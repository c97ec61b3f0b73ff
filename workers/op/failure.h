/* Why S3 refused or lost a request, for the one log line that a failed call gets. */
#ifndef WORKERS_OP_FAILURE_H
#define WORKERS_OP_FAILURE_H

#include "s3/s3.h"

/* A request of this worker has failed (s3_client_conf.on_failure). */
void failure_note(const struct s3_result *res);

/* What failed last, if that was just now and with this error (-errno); else "". Valid until the
 * next failure. */
const char *failure_text(int error);
/* The server's id of that request, "" if there is none. */
const char *failure_request_id(int error);

#endif
