/* The chunked transfer coding of a request's body, decoded as it arrives. */
#ifndef HTTP_HTTP_CHUNK_H
#define HTTP_HTTP_CHUNK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define HTTP_CHUNK_LINE_MAX 4096      /* bytes of a size with its extensions, or of a trailer */
#define HTTP_CHUNK_TRAILERS_MAX 16384 /* bytes of all trailers */

struct http_chunk {
    unsigned state;
    uint64_t left;   /* of the chunk at hand */
    unsigned digits; /* of its size */
    size_t line;     /* bytes of the line at hand */
    size_t trailers;
};

/* Zeroed is the start. */
static inline void http_chunk_init(struct http_chunk *c)
{
    *c = (struct http_chunk){0};
}

/* Decodes the next piece: `*ret_used` bytes of `text` are done with, and of them the last
 * `*ret_len` bytes at `*ret_data` belong to the body (0 if none do). Call it again with the rest
 * until it has used all, or has ended. 1: the body has ended, what follows is the next request; 0:
 * not yet; -EPROTO: this is not the coding. Extensions and trailers are skipped. */
must_use int http_chunk_take(struct http_chunk *c, const char *text, size_t len, size_t *ret_used,
                             const char **ret_data, size_t *ret_len);

#endif
