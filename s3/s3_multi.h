/* libcurl's multi interface on the caller's loop. */
#ifndef S3_S3_MULTI_H
#define S3_S3_MULTI_H

#include <curl/curl.h>

#include "base/err.h"

struct s3_client;
struct s3_req;

struct s3_multi_ops {
    /* A transfer has ended; its request gives the handle back. */
    void (*ended)(struct s3_req *req, CURLcode curl);
    /* curl has returned: what was cancelled inside its callbacks can be freed now. */
    void (*returned)(struct s3_client *c);
    /* Transfers may have ended: others can begin. */
    void (*room)(struct s3_client *c);
};

/* 0, or -ENOMEM with *err. */
must_use int s3_multi_new(struct s3_client *c, const struct s3_multi_ops *ops, struct err *err);

/* Also frees what s3_multi_new left half-done. No request may be in flight. */
void s3_multi_free(struct s3_client *c);

/* A new or reused easy handle without options, NULL if memory is out. */
CURL *s3_multi_handle(struct s3_client *c);

/* Removes a handle from the transfers (an unfinished one loses its connection) and keeps it for
 * reuse. Not from inside curl. */
void s3_multi_give_back(struct s3_client *c, CURL *easy);

/* Starts a transfer; CURLOPT_PRIVATE is its request. 0 or -ENOMEM. */
must_use int s3_multi_start(struct s3_client *c, CURL *easy);

/* Resumes a transfer that its read callback paused. */
void s3_multi_resume(struct s3_client *c, CURL *easy);

#endif
