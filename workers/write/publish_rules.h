/* What a variant decides in a publish: publish.c is the one loop, which sends and waits; the rules
 * decide. Instances: publish_lww.c, publish_cas.c. */
#ifndef WORKERS_WRITE_PUBLISH_RULES_H
#define WORKERS_WRITE_PUBLISH_RULES_H

#include "s3/s3.h"
#include "shm/shm_session.h"
#include "workers/cas/cas_put.h"

struct publish;

struct publish_rules {
    /* Under shm->meta, before publishing_seq is set: takes over what the session knows. */
    void (*begin)(struct publish *p, struct shm_session *s);
    /* The first step: PUT_SEND, PUT_LOOK or PUT_UNKNOWN. */
    enum put_next (*first)(const struct publish *p);
    /* A PUT has ended with an error. */
    enum put_next (*refused)(struct publish *p, const struct s3_result *res);
    /* Result of a HEAD (PUT_LOOK): error 0 or -ENOENT. Updates the condition of the next PUT,
     * p->etag and p->absent. */
    enum put_next (*found)(struct publish *p, const struct s3_result *res);
    /* Under shm->meta. S3 has what the session published; its node follows (takes_name). */
    void (*published)(struct publish *p, struct shm_session *s, const struct s3_result *res);
    /* Under shm->meta. The session's node is the published version: gives the name its node.
     * Returns the node that the name has then, SHM_NIL for none. */
    uint32_t (*takes_name)(struct publish *p, uint32_t node);
    /* Under shm->meta. It was not published, or that is unknown. */
    void (*failed)(struct publish *p, struct shm_session *s, int error);
};

extern const struct publish_rules publish_lww, publish_cas, publish_stream;

#endif
