/* See json_text.h. */
#include "base/json_text.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define REPLACEMENT 0xfffd

/* Decodes the character at the start; its bytes, 1 for an invalid byte. */
static size_t decode_utf8(const unsigned char *t, size_t len, uint32_t *ret)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t n = *t < 0x80 ? 1 : *t < 0xc2 ? 0 : *t < 0xe0 ? 2 : *t < 0xf0 ? 3 : *t < 0xf5 ? 4 : 0;
    uint32_t c = n == 1 ? *t : n == 2 ? *t & 0x1f : n == 3 ? *t & 0x0f : *t & 0x07;

    *ret = REPLACEMENT;
    if (n == 0 || n > len)
        return 1;
    for (size_t i = 1; i < n; i++) {
        if ((t[i] & 0xc0) != 0x80)
            return 1;
        c = c << 6 | (t[i] & 0x3f);
    }
    if (c < least[n] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
        return 1;
    *ret = c;
    return n;
}

/* Writes the escape of a character; its length. */
static int escape(uint32_t c, char out[16])
{
    static const char plain[] = "\"\\\b\f\n\r\t", letters[] = "\"\\bfnrt";
    const char *at = c && c < 0x80 ? strchr(plain, (int)c) : NULL;

    if (at)
        return snprintf(out, 16, "\\%c", letters[at - plain]);
    if (c >= 0x10000)
        return snprintf(out, 16, "\\u%04x\\u%04x", 0xd800 + ((c - 0x10000) >> 10),
                        0xdc00 + (c & 0x3ff));
    return snprintf(out, 16, "\\u%04x", c);
}

static size_t plain_span(const char *text, size_t len)
{
    size_t n = 0;

    while (n < len && text[n] >= ' ' && text[n] < 127 && text[n] != '"' && text[n] != '\\')
        n++;
    return n;
}

int json_text_put(struct buf *out, const char *text, size_t len)
{
    int r = buf_append(out, "\"", 1);

    while (r == 0 && len) {
        size_t n = plain_span(text, len);
        char code[16];
        uint32_t c;

        if (n) {
            r = buf_append(out, text, n);
        } else {
            n = decode_utf8((const unsigned char *)text, len, &c);
            r = buf_append(out, code, (size_t)escape(c, code));
        }
        text += n;
        len -= n;
    }
    return r == 0 ? buf_append(out, "\"", 1) : r;
}
