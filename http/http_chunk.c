/* A state machine over the bytes of a chunked body:
 *
 *   SIZE ---> EXT ---> DATA ---> CRLF ---> SIZE      a chunk: size, extensions, bytes
 *     '--(0)-----> TRAILER ---> end                  the last one: trailers, an empty line
 */
#include "http/http_chunk.h"

#include <errno.h>

enum { CHUNK_SIZE, CHUNK_EXT, CHUNK_DATA, CHUNK_CRLF, CHUNK_TRAILER };

#define DIGITS_MAX 15 /* so that no size overflows */

static int hex_of(char b)
{
    if (b >= '0' && b <= '9')
        return b - '0';
    if (b >= 'a' && b <= 'f')
        return b - 'a' + 10;
    return b >= 'A' && b <= 'F' ? b - 'A' + 10 : -1;
}

static void end_size(struct http_chunk *c)
{
    c->state = c->left ? CHUNK_DATA : CHUNK_TRAILER;
    c->digits = 0;
    c->line = 0;
}

static int take_size(struct http_chunk *c, char b)
{
    int digit = hex_of(b);

    if (digit >= 0) {
        c->left = c->left << 4 | (uint64_t)digit;
        return ++c->digits <= DIGITS_MAX ? 0 : -EPROTO;
    }
    if (!c->digits)
        return -EPROTO;
    if (b == '\n') {
        end_size(c);
        return 0;
    }
    c->state = CHUNK_EXT;
    return b == ';' || b == ' ' || b == '\t' || b == '\r' ? 0 : -EPROTO;
}

static int take_ext(struct http_chunk *c, char b)
{
    if (b == '\n')
        end_size(c);
    else if (++c->line > HTTP_CHUNK_LINE_MAX || b == '\0')
        return -EPROTO;
    return 0;
}

static int take_crlf(struct http_chunk *c, char b)
{
    if (b == '\n')
        c->state = CHUNK_SIZE;
    else if (b != '\r' || c->line++)
        return -EPROTO;
    if (b == '\n')
        c->line = 0;
    return 0;
}

/* 1: the empty line. */
static int take_trailer(struct http_chunk *c, char b)
{
    if (++c->trailers > HTTP_CHUNK_TRAILERS_MAX || b == '\0')
        return -EPROTO;
    if (b == '\n' && c->line == 0)
        return 1;
    if (b == '\n')
        c->line = 0;
    else if (b != '\r' && ++c->line > HTTP_CHUNK_LINE_MAX)
        return -EPROTO;
    return 0;
}

static int take_byte(struct http_chunk *c, char b)
{
    switch (c->state) {
    case CHUNK_SIZE:
        return take_size(c, b);
    case CHUNK_EXT:
        return take_ext(c, b);
    case CHUNK_CRLF:
        return take_crlf(c, b);
    default:
        return take_trailer(c, b);
    }
}

int http_chunk_take(struct http_chunk *c, const char *text, size_t len, size_t *ret_used,
                    const char **ret_data, size_t *ret_len)
{
    size_t at = 0;
    int r = 0;

    *ret_data = text;
    *ret_len = 0;
    while (at < len && r == 0 && c->state != CHUNK_DATA)
        r = take_byte(c, text[at++]);
    if (r == 0 && c->state == CHUNK_DATA && at < len) {
        *ret_data = text + at;
        *ret_len = len - at < c->left ? len - at : (size_t)c->left;
        at += *ret_len;
        c->left -= *ret_len;
        if (!c->left)
            c->state = CHUNK_CRLF;
    }
    *ret_used = at;
    return r;
}
