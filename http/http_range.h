/* The Range of a request: one range of bytes. */
#ifndef HTTP_HTTP_RANGE_H
#define HTTP_HTTP_RANGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct http_range {
    bool suffix;    /* the last `last` bytes */
    uint64_t first; /* not with `suffix` */
    uint64_t last;  /* inclusive; UINT64_MAX: to the end */
};

/* Parses "bytes=0-99", "bytes=100-", "bytes=-50". 0; -EINVAL: another unit, several ranges, or not
 * a range at all: it is ignored, as RFC 9110 allows. */
must_use int http_range_parse(const char *value, size_t len, struct http_range *ret);

/* The bytes of an object of this size: 0 and offset and length; -ERANGE if there are none. */
must_use int http_range_of(const struct http_range *range, uint64_t size, uint64_t *ret_off,
                           uint64_t *ret_len);

#endif
