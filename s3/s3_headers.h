/* Headers and queries of our own requests: bounded, and without characters that could end a
 * line. */
#ifndef S3_S3_HEADERS_H
#define S3_S3_HEADERS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"
#include "s3/s3.h"

#define S3_HEADERS_MAX 96 /* maximum number per request */
#define S3_HEADER_BYTES_MAX (24u << 10)
#define S3_QUERY_MAX (16u << 10)

struct s3_headers {
    struct buf text; /* name NUL value NUL ... */
    size_t n;
    struct {
        size_t name, value;
    } at[S3_HEADERS_MAX];
};

/* Adds one header. 0, -EINVAL for characters that a header must not have, -E2BIG beyond the limits,
 * -ENOMEM. */
must_use int s3_headers_add(struct s3_headers *h, const char *name, const char *value);

/* Adds user metadata. As s3_headers_add. */
must_use int s3_headers_meta(struct s3_headers *h, const struct s3_meta_pair *meta, size_t n);

/* True if there is one of this name (in lower case). */
bool s3_headers_has(const struct s3_headers *h, const char *name);

/* Removes the one of this name among the first `n`. Returns how many of those are left. */
size_t s3_headers_drop(struct s3_headers *h, size_t n, const char *name);

/* Removes all headers after the first `n`, which had `bytes` of text. */
void s3_headers_cut(struct s3_headers *h, size_t n, size_t bytes);

/* Appends "name=value", percent-encoded, to a query. 0, -E2BIG, -ENOMEM. */
must_use int s3_query_add(struct buf *query, const char *name, const char *value);

#endif
