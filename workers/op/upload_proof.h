/* Has a Complete that was sent more than once taken effect? A 200 to its repetition does not say
 * so: versitygw also gives one while the first is still at work, before the object can be seen, and
 * S3 one for an upload that was completed and replaced since. Only a HEAD of the key shows it. */
#ifndef WORKERS_OP_UPLOAD_PROOF_H
#define WORKERS_OP_UPLOAD_PROOF_H

#include "s3/s3.h"
#include "workers/op/worker.h"

/* Nor does a 200 to the first Complete, if the server gives one for an upload that somebody has
 * aborted meanwhile: true if the server is known for that, or the upload, created at `opened_ns`
 * (clock_mono_ns), is so old that a clean-up may have met it. */
must_use bool upload_needs_proof(const struct worker *w, uint64_t opened_ns);

enum upload_found {
    UPLOAD_THERE,   /* the object is what Complete makes of the parts */
    UPLOAD_PENDING, /* what was there before still is, a pause ago: Complete may be sent again */
    UPLOAD_OTHER,   /* something else is there, or what was there before is there for too long */
    UPLOAD_FAILED,  /* HEAD has failed: res->error */
};

struct upload_proof;

/* `res`: of the HEAD (error 0, or -ENOENT: nothing is there); NULL with PENDING. */
typedef void upload_proof_fn(struct upload_proof *proof, enum upload_found found,
                             const struct s3_result *res);

/* Belongs to the caller, all zero at first; stays until `done` was called. The caller sets
 * limit_ns, absent, before and etag. */
struct upload_proof {
    upload_proof_fn *done;
    uint64_t limit_ns; /* PENDING only for that long after the first look */
    uint64_t since_ns; /* of the first look (clock_mono_ns) */
    unsigned looks;
    bool absent;              /* nothing was there before */
    char before[S3_ETAG_MAX]; /* what was there before; "" and !absent: not known */
    char etag[S3_ETAG_MAX];   /* of our object */
    struct worker *w;
    struct loop_timer pause;
};

/* True if `res` of the HEAD shows what was there before, or if that is not known. */
must_use bool upload_is_unchanged(const struct upload_proof *proof, const struct s3_result *res);

/* Looks at `key`, and then calls `done`, never before it returns. 0, or an error of s3_head (`done`
 * is not called). */
must_use int upload_prove(struct worker *w, struct upload_proof *proof, const char *key,
                          upload_proof_fn *done);

#endif
