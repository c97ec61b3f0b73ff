/* The one table that maps errors of S3, HTTP and curl to an errno, and decides what is retried. */
#ifndef S3_S3_ERROR_H
#define S3_S3_ERROR_H

#include <stdbool.h>

#include "s3/s3.h"

enum s3_op_kind {
    S3_OP_GET,
    S3_OP_HEAD,
    S3_OP_PUT,
    S3_OP_DELETE,
    S3_OP_COPY,
    S3_OP_LIST,
    S3_OP_TAGS,
    S3_OP_CREATE, /* requests of a multipart upload, from here */
    S3_OP_PART,
    S3_OP_PART_COPY,
    S3_OP_COMPLETE,
    S3_OP_ABORT,
    S3_N_OPS
};

/* True for requests that the server may have carried out although no response came. */
bool s3_op_changes(enum s3_op_kind op);

/* True for requests that send a body of s3_put_state. */
bool s3_op_has_body(enum s3_op_kind op);

/* How to treat a failed attempt; s3_retry.h acts on it. */
enum s3_retry_class {
    S3_RETRY_NO,
    S3_RETRY_ANSWERED,    /* the server answered "not now": within the attempt count */
    S3_RETRY_THROTTLED,   /* the same, and it asked for less */
    S3_RETRY_CONNECTION,  /* no answer: until the deadline */
    S3_RETRY_SKEW,        /* our clock is off: once, with the server's */
    S3_RETRY_CREDENTIALS, /* they are not taken any more: once, with others */
};

/* The outcome of an attempt. */
struct s3_outcome {
    enum s3_op_kind op;
    int curl;         /* CURLcode */
    int http_status;  /* of the final response, 0 = none came */
    const char *code; /* S3 error code, "" = none */
    bool sent;        /* the request was sent, with all of its body */
    bool makes;       /* it has no If-Match: it cannot be told that something is missing */
};

struct s3_verdict {
    int error; /* 0 or -errno */
    enum s3_fail fail;
    enum s3_retry_class retry;
    bool unclear; /* a changing request that the server may have carried out */
};

/* True for a negative errno of a result that says nothing about the object: the server was away,
 * slow, or failed. */
bool s3_may_heal(int error);

/* Judges an attempt. A status that was received counts even if the connection broke afterwards. */
struct s3_verdict s3_judge(const struct s3_outcome *o);

#endif
