/* Paths, percent-encoding and valid keys. What is sent on the request line is exactly what
 * s3_sigv4.c signs. Hosts are s3_endpoint.c. */
#include "s3/s3_url.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

bool s3_url_unreserved(unsigned char c)
{
    return (c < 0x80 && isalnum(c)) || c == '-' || c == '.' || c == '_' || c == '~';
}

/* Length of the UTF-8 sequence at s (RFC 3629: shortest form, no surrogates), 0 if there is
 * none. */
static size_t utf8_len(const unsigned char *s)
{
    size_t n = s[0] < 0x80   ? 1
               : s[0] < 0xc2 ? 0
               : s[0] < 0xe0 ? 2
               : s[0] < 0xf0 ? 3
               : s[0] < 0xf5 ? 4
                             : 0;

    for (size_t i = 1; i < n; i++) {
        if ((s[i] & 0xc0) != 0x80)
            return 0; /* also stops at the NUL */
    }
    if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) ||
        (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f))
        return 0;
    return n;
}

static int check_component(const char *s, size_t len, bool last)
{
    if (len == 0 && !last)
        return -EINVAL;
    if ((len == 1 && s[0] == '.') || (len == 2 && s[0] == '.' && s[1] == '.'))
        return -EINVAL;
    return 0;
}

int s3_url_check_key(const char *key)
{
    const char *at = key;

    if (!*key)
        return -EINVAL;
    if (strlen(key) > S3_KEY_MAX)
        return -ENAMETOOLONG;
    for (const char *c = key; *c;) {
        size_t n = utf8_len((const unsigned char *)c);

        if (n == 0)
            return -EINVAL;
        c += n;
    }
    for (;;) {
        size_t len = strcspn(at, "/");
        int r = check_component(at, len, !at[len]);

        if (r < 0 || !at[len])
            return r;
        at += len + 1;
    }
}

int s3_url_encode(struct buf *out, const char *text, size_t len, bool keep_slash)
{
    static const char hex[] = "0123456789ABCDEF";
    int r = 0;

    for (size_t i = 0; i < len && r == 0;) {
        size_t run = i;
        unsigned char c;

        while (run < len &&
               (s3_url_unreserved((unsigned char)text[run]) || (keep_slash && text[run] == '/')))
            run++;
        r = buf_append(out, text + i, run - i);
        if (run < len && r == 0) {
            c = (unsigned char)text[run++];
            r = buf_append(out, (char[]){'%', hex[c >> 4], hex[c & 15]}, 3);
        }
        i = run;
    }
    return r;
}

int s3_url_path(const struct s3_url *url, const char *key, struct buf *out)
{
    int r = buf_puts(out, url->base);

    if (r == 0 && (key || !*url->base))
        r = buf_puts(out, "/");
    if (r == 0 && key)
        r = s3_url_encode(out, key, strlen(key), true);
    return r;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

size_t s3_url_decode(char *text, size_t len, bool plus)
{
    size_t n = 0;

    for (size_t i = 0; i < len; i++) {
        int high = i + 2 < len && text[i] == '%' ? hex_digit(text[i + 1]) : -1;
        int low = high >= 0 ? hex_digit(text[i + 2]) : -1;

        if (low >= 0) {
            text[n++] = (char)(high << 4 | low);
            i += 2;
        } else {
            text[n++] = plus && text[i] == '+' ? ' ' : text[i];
        }
    }
    text[n] = '\0';
    return n;
}
