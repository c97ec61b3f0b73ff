/* Ending an attempt from inside a hook: see s3_stop.h. */
#include "s3/s3_stop.h"

#include <stdio.h>

#include "s3/s3_request.h"

int s3_req_stop(struct s3_req *req, int error, enum s3_fail fail, enum s3_retry_class retry,
                const char *text)
{
    if (!req->stopped) {
        req->stopped = true;
        req->verdict = (struct s3_verdict){
            .error = error,
            .fail = fail,
            .retry = retry,
            .unclear = error && s3_op_changes(req->op->kind) && s3_req_is_out(req),
        };
        snprintf(req->result.text, sizeof(req->result.text), "%s: %s", req->op->name, text);
    }
    return -1;
}
