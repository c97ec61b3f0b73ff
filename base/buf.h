/* A growing byte buffer with a named maximum. Every buffer that is filled from outside is one. */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include <stddef.h>

#include "base/err.h"

struct buf {
    char *data; /* heap, owned; NULL while empty; always followed by a NUL once allocated */
    size_t len;
    size_t cap;
    size_t max; /* len never exceeds it */
};

void buf_init(struct buf *b, size_t max);

/* Frees the bytes; the buffer can be used again with the same maximum. */
void buf_done(struct buf *b);

/* Empties it but keeps the memory. */
void buf_reset(struct buf *b);

/* Appends. 0, -EMSGSIZE beyond max, -ENOMEM; on failure nothing was appended. */
must_use int buf_append(struct buf *b, const void *data, size_t len);
must_use int buf_puts(struct buf *b, const char *text);
must_use int buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
