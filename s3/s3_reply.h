/* Responses: headers, each bounded and checked, and bodies. */
#ifndef S3_S3_REPLY_H
#define S3_S3_REPLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <curl/curl.h>

#include "s3/s3.h"

#define S3_REPLY_LINES_MAX 256 /* maximum bytes of the headers of a response */
#define S3_REPLY_BYTES_MAX (64u << 10)
#define S3_REFUSAL_MAX                                                                             \
    (64u << 10) /* maximum bytes of a response body that is not the requested
                                    * data */

struct s3_req;

/* The headers of the current response; zeroed when a request is sent. */
struct s3_reply {
    int status;    /* 0 = none yet */
    bool complete; /* the headers are complete */
    unsigned lines;
    size_t bytes;
    bool has_length;
    uint64_t length;
    bool own_etag;   /* it is encrypted so that its ETag is no MD5 */
    bool told_range; /* it has a Content-Range */
    bool has_range;  /* ... that is first-last/total */
    uint64_t first, last, total;
    bool contradicts;     /* a header that says which bytes came twice, with two values */
    enum s3_crc sum_kind; /* it has this checksum of the object */
    uint64_t sum;
    bool sum_of_sums;     /* ... but one of those of its parts */
    char sse[S3_SSE_MAX]; /* how the object is encrypted; "" = not told */
    char sse_key[S3_SSE_KEY_MAX];
    bool sse_bucket_key;
    bool restored;           /* an archived object that can be read for now */
    int64_t date_ns;         /* 0 = none */
    uint64_t retry_after_ns; /* 0 = none */
};

/* curl's header and write functions; `arg` is the request. */
size_t s3_reply_header(char *data, size_t size, size_t n, void *arg);
size_t s3_reply_body(char *data, size_t size, size_t n, void *arg);

/* A request is sent: discards everything of a response to an earlier sending. */
void s3_reply_begin(struct s3_req *req);

/* The attempt has ended: evaluates what S3 returned, and lets the operation finish a success. */
void s3_reply_end(struct s3_req *req, CURLcode curl);

/* The response to a GET has a part of the object: 206, or a 200 with a partial Content-Range
 * (rclone). */
bool s3_reply_is_part(const struct s3_reply *rp);

/* For logs and operators: without line breaks and terminal sequences. */
void s3_reply_clean(char *text);

#endif
