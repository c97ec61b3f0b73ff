/* Waiting for a publish, and starting one. */
#ifndef WORKERS_WRITE_PUBLISH_WAIT_H
#define WORKERS_WRITE_PUBLISH_WAIT_H

#include "s3/s3.h"
#include "workers/op/key.h"
#include "workers/write/session.h"

/* An object as a HEAD has shown it. */
struct publish_like {
    /* the rest is not set: it has no metadata but those of the session's node, and a lineage */
    bool is_plain;
    char key[KEY_CAP];
    struct s3_object obj;
};

/* Brings the session's current content to S3: starts a publish, or waits for the running one, and
 * calls `then` with 0 (also if there is nothing to do) or the error of the attempt that carried the
 * content. Keeps the op. The publish itself continues if the op is interrupted. */
void session_publish(struct op *op, uint32_t session, session_then_fn *then);

/* The same for content that a rename brings to the session's name: the object gets the metadata,
 * the type and the tags of `like`, the object that it came from. `like` is copied. */
void session_publish_like(struct op *op, uint32_t session, const struct publish_like *like,
                          session_then_fn *then);

#endif
