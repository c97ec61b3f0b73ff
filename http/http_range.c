/* See http_range.h. */
#include "http/http_range.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

#define UNIT "bytes="
#define DIGITS_MAX 18

/* A number of up to DIGITS_MAX digits; its length, 0 if there is none, -EINVAL if it is longer. */
static int parse_number(const char *text, size_t len, uint64_t *ret)
{
    size_t n = 0;

    *ret = 0;
    while (n < len && text[n] >= '0' && text[n] <= '9') {
        if (n == DIGITS_MAX)
            return -EINVAL;
        *ret = *ret * 10 + (uint64_t)(text[n++] - '0');
    }
    return (int)n;
}

int http_range_parse(const char *value, size_t len, struct http_range *ret)
{
    struct http_range range = {.last = UINT64_MAX};
    size_t unit = strlen(UNIT);
    int first, last;

    if (len < unit || strncasecmp(value, UNIT, unit) != 0)
        return -EINVAL;
    value += unit;
    len -= unit;
    first = parse_number(value, len, &range.first);
    if (first < 0 || (size_t)first == len || value[first] != '-')
        return -EINVAL;
    value += first + 1;
    len -= (size_t)first + 1;
    last = parse_number(value, len, &range.last);
    if (last < 0 || (size_t)last != len || (!first && !last))
        return -EINVAL;
    range.suffix = !first;
    if (!last)
        range.last = UINT64_MAX;
    else if (first && range.last < range.first)
        return -EINVAL;
    *ret = range;
    return 0;
}

int http_range_of(const struct http_range *range, uint64_t size, uint64_t *ret_off,
                  uint64_t *ret_len)
{
    uint64_t off = range->first, last = range->last;

    if (range->suffix) {
        off = last < size ? size - last : 0;
        last = UINT64_MAX;
        if (range->last == 0)
            return -ERANGE;
    }
    if (off >= size)
        return -ERANGE;
    *ret_off = off;
    *ret_len = last < size - 1 ? last - off + 1 : size - off;
    return 0;
}
