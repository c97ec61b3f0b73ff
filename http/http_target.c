/* See http_target.h. */
#include "http/http_target.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

static size_t skip_scheme(const char *text, size_t len)
{
    static const char *const schemes[] = {"http://", "https://"};

    for (size_t i = 0; i < sizeof(schemes) / sizeof(schemes[0]); i++) {
        size_t n = strlen(schemes[i]);

        if (len >= n && strncasecmp(text, schemes[i], n) == 0)
            return n;
    }
    return 0;
}

int http_target_split(const char *text, size_t len, struct http_target *ret)
{
    size_t skip = skip_scheme(text, len);
    const char *query;

    if (skip) {
        const char *slash = memchr(text + skip, '/', len - skip);

        if (!slash)
            return -EPROTO;
        len -= (size_t)(slash - text);
        text = slash;
    }
    if (!len || *text != '/')
        return -EPROTO;
    query = memchr(text, '?', len);
    ret->path = text;
    ret->path_len = query ? (size_t)(query - text) : len;
    ret->query = query ? query + 1 : text + len;
    ret->query_len = len - (size_t)(ret->query - text);
    return 0;
}

static int hex_of(char b)
{
    const char *digits = "0123456789abcdef", *at;

    if (b >= 'A' && b <= 'F')
        b = (char)(b - 'A' + 'a');
    at = b ? strchr(digits, b) : NULL;
    return at ? (int)(at - digits) : -1;
}

/* Invalid codes stay as they are. */
static int decode(const char *text, size_t len, bool form, char *out, size_t cap)
{
    size_t n = 0;

    for (size_t i = 0; i < len; i++) {
        char b = text[i];
        int hi = b == '%' && i + 2 < len ? hex_of(text[i + 1]) : -1;
        int lo = hi >= 0 ? hex_of(text[i + 2]) : -1;

        if (lo >= 0) {
            b = (char)(hi << 4 | lo);
            i += 2;
        } else if (form && b == '+') {
            b = ' ';
        }
        if (!b)
            return -EINVAL;
        if (n + 1 >= cap)
            return -ENAMETOOLONG;
        out[n++] = b;
    }
    out[n] = '\0';
    return (int)n;
}

int http_target_param(const struct http_target *t, const char *name, char *out, size_t cap)
{
    const char *at = t->query, *end = t->query + t->query_len;
    size_t name_len = strlen(name);

    out[0] = '\0';
    while (at < end) {
        const char *amp = memchr(at, '&', (size_t)(end - at));
        const char *stop = amp ? amp : end;
        const char *eq = memchr(at, '=', (size_t)(stop - at));

        if (eq && eq + 1 < stop && (size_t)(eq - at) == name_len && memcmp(at, name, name_len) == 0)
            return decode(eq + 1, (size_t)(stop - eq - 1), true, out, cap);
        at = stop + 1;
    }
    return 0;
}

#define RAW_START "prefix="
#define RAW_END "&delimiter=/"

/* True if the query is "prefix=<anything>&delimiter=/". */
static bool is_raw(const struct http_target *t)
{
    size_t start = strlen(RAW_START), end = strlen(RAW_END);

    return t->query_len >= start + end && memcmp(t->query, RAW_START, start) == 0 &&
           memcmp(t->query + t->query_len - end, RAW_END, end) == 0;
}

int http_target_listing(const struct http_target *t, char *prefix, size_t prefix_cap,
                        char *delimiter, size_t delimiter_cap)
{
    int r;

    if (is_raw(t)) {
        size_t start = strlen(RAW_START), len = t->query_len - start - strlen(RAW_END);

        r = decode(t->query + start, len, false, prefix, prefix_cap);
    } else {
        r = http_target_param(t, "prefix", prefix, prefix_cap);
    }
    if (r < 0)
        return r;
    r = http_target_param(t, "delimiter", delimiter, delimiter_cap);
    if (r == 0 && delimiter_cap > 1)
        memcpy(delimiter, "/", 2);
    return r < 0 ? r : 0;
}
