/* The URLs of a bucket: paths, percent-encoding, and which keys must not be sent. s3_endpoint.h
 * fills struct s3_url. */
#ifndef S3_S3_URL_H
#define S3_S3_URL_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"
#include "s3/s3.h"

#define S3_URL_AUTHORITY_MAX 336 /* bucket, host, port */
#define S3_URL_BASE_MAX 640      /* base path and bucket, percent-encoded */
#define S3_URL_SOURCE_MAX 264    /* a bucket, or the ARN of an access point, and "/object" */

struct s3_url {
    bool tls;
    bool aws; /* one of AWS's own endpoints */
    bool virtual_host;
    char authority[S3_URL_AUTHORITY_MAX]; /* host[:port], as in Host */
    char base[S3_URL_BASE_MAX];           /* prefix of every path; does not end with "/" */
    char region[S3_REGION_MAX];           /* requests are signed for it */
    char source[S3_URL_SOURCE_MAX]; /* how a copy names this bucket; a "/" and the key follow */
};

/* 0; -EINVAL for a key that servers map to another one or refuse (empty, "//", a component "." or
 * "..", not UTF-8), -ENAMETOOLONG. A "/" at the end is allowed. */
must_use int s3_url_check_key(const char *key);

/* Appends the encoded path of `key` (NULL = the bucket itself). 0 or the error of buf_append. */
must_use int s3_url_path(const struct s3_url *url, const char *key, struct buf *out);

/* Appends `text` percent-encoded by the rules of SigV4, "/" too unless keep_slash. 0 or the error
 * of buf_append. */
must_use int s3_url_encode(struct buf *out, const char *text, size_t len, bool keep_slash);

/* True for bytes that stay as they are. */
bool s3_url_unreserved(unsigned char c);

/* Decodes %XX in place, and "+" to a space if `plus`; writes a NUL at the end, for which there must
 * be room. Invalid codes stay. Returns the new length. */
size_t s3_url_decode(char *text, size_t len, bool plus);

#endif
