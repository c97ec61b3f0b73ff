/* Where a bucket's requests go: endpoint, path or virtual-host addressing, percent-coding; and
 * which keys must not be sent at all. */
#ifndef S3_S3_URL_H
#define S3_S3_URL_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"
#include "s3/s3.h"

#define S3_URL_AUTHORITY_MAX 336 /* bucket, host, port */
#define S3_URL_BASE_MAX 640      /* base path and bucket, coded */
#define S3_KEY_COMPONENT_MAX 255

struct s3_url {
    bool tls;
    bool aws; /* one of AWS's own endpoints */
    bool virtual_host;
    char authority[S3_URL_AUTHORITY_MAX]; /* host[:port], as in Host */
    char base[S3_URL_BASE_MAX];           /* what every path begins with; no "/" at its end */
};

/* 0, or -EINVAL with *err. `endpoint` NULL or "" is AWS's for the region. */
must_use int s3_url_init(struct s3_url *ret_url, const char *endpoint, const char *region,
                         const char *bucket, enum s3_addressing addressing, struct err *err);

/* 0; -EINVAL for a key that servers fold into another or refuse (empty, "//", a component "." or
 * "..", not UTF-8), -ENAMETOOLONG. A "/" at the end is fine. */
must_use int s3_url_check_key(const char *key);

/* Appends the coded path of `key` (NULL = the bucket itself). 0 or what buf_append says. */
must_use int s3_url_path(const struct s3_url *url, const char *key, struct buf *out);

/* Appends `text` percent-coded as SigV4 wants it, "/" too unless keep_slash. 0 or what
 * buf_append says. */
must_use int s3_url_encode(struct buf *out, const char *text, size_t len, bool keep_slash);

/* Decodes %XX in place, and "+" to a space if `plus`; puts a NUL at the end, where there must be
 * room for it. What is no valid code stays. Returns the new length. */
size_t s3_url_decode(char *text, size_t len, bool plus);

#endif
