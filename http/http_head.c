/* Parses the head of a request. It reads nothing and keeps nothing: http_conn.c has the
 * bytes, http_chunk.c decodes the body that follows. */
#include "http/http_head.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

struct cursor {
    const char *at, *end;
};

/* A line without its end; false: there is no more. */
static bool next_line(struct cursor *c, const char **ret_line, size_t *ret_len)
{
    const char *nl = memchr(c->at, '\n', (size_t)(c->end - c->at));

    if (!nl)
        return false;
    *ret_line = c->at;
    *ret_len = (size_t)(nl - c->at);
    if (*ret_len && nl[-1] == '\r')
        --*ret_len;
    c->at = nl + 1;
    return true;
}

static bool is_token(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        unsigned char b = (unsigned char)text[i];

        if (b <= ' ' || b >= 127 || strchr("()<>@,;:\\\"/[]?={}", b))
            return false;
    }
    return len > 0;
}

static bool is_visible(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if ((unsigned char)text[i] <= ' ' || text[i] == 127)
            return false;
    }
    return len > 0;
}

static enum http_method method_of(const char *text, size_t len)
{
    static const struct {
        const char *name;
        enum http_method method;
    } known[] = {
        {"GET", HTTP_GET},   {"HEAD", HTTP_HEAD},     {"PUT", HTTP_PUT},
        {"POST", HTTP_POST}, {"DELETE", HTTP_DELETE},
    };

    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        if (strlen(known[i].name) == len && memcmp(known[i].name, text, len) == 0)
            return known[i].method;
    }
    return HTTP_OTHER;
}

/* "GET /keys/k HTTP/1.1" */
static int parse_line(const char *line, size_t len, struct http_head *h)
{
    const char *sp = memchr(line, ' ', len), *end = line + len, *last;

    if (!sp || !is_token(line, (size_t)(sp - line)))
        return -EPROTO;
    last = memchr(sp + 1, ' ', (size_t)(end - sp - 1));
    if (!last || end - last != 9 || memcmp(last, " HTTP/1.", 8) != 0)
        return -EPROTO;
    if (last[8] != '0' && last[8] != '1')
        return -EPROTO;
    h->minor = (unsigned)(last[8] - '0');
    h->keep_alive = h->minor == 1;
    h->method = method_of(line, (size_t)(sp - line));
    h->target = sp + 1;
    h->target_len = (size_t)(last - sp - 1);
    return is_visible(h->target, h->target_len) ? 0 : -EPROTO;
}

static void trim(const char **text, size_t *len)
{
    while (*len && (**text == ' ' || **text == '\t')) {
        ++*text;
        --*len;
    }
    while (*len && ((*text)[*len - 1] == ' ' || (*text)[*len - 1] == '\t'))
        --*len;
}

static bool is_text(const char *value, size_t len, const char *text)
{
    return strlen(text) == len && strncasecmp(value, text, len) == 0;
}

/* True if the list "a, b;q=1" has this element. */
static bool list_has(const char *value, size_t len, const char *text)
{
    const char *end = value + len;

    while (value < end) {
        const char *comma = memchr(value, ',', (size_t)(end - value));
        const char *item = value;
        size_t n = (size_t)((comma ? comma : end) - value);

        value += n + 1;
        trim(&item, &n);
        if (is_text(item, n, text))
            return true;
    }
    return false;
}

/* Two different lengths are an attack, or a broken client; the same one twice is neither. */
static int field_length(struct http_head *h, const char *value, size_t len)
{
    uint64_t n = 0;

    if (len == 0 || len > 18)
        return -EPROTO;
    for (size_t i = 0; i < len; i++) {
        if (value[i] < '0' || value[i] > '9')
            return -EPROTO;
        n = n * 10 + (uint64_t)(value[i] - '0');
    }
    if (h->has_length && h->length != n)
        return -EPROTO;
    h->has_length = true;
    h->length = n;
    return 0;
}

static int field_coding(struct http_head *h, const char *value, size_t len)
{
    if (is_text(value, len, "identity"))
        return 0;
    if (h->chunked || !is_text(value, len, "chunked"))
        return -EOPNOTSUPP;
    h->chunked = true;
    return 0;
}

static int field_connection(struct http_head *h, const char *value, size_t len)
{
    if (list_has(value, len, "close"))
        h->keep_alive = false;
    else if (h->minor == 0 && list_has(value, len, "keep-alive"))
        h->keep_alive = true;
    return 0;
}

static int field_expect(struct http_head *h, const char *value, size_t len)
{
    h->expects = h->minor == 1 && is_text(value, len, "100-continue");
    return 0;
}

static int field_if_none_match(struct http_head *h, const char *value, size_t len)
{
    h->if_absent = len == 1 && *value == '*';
    return 0;
}

static int field_range(struct http_head *h, const char *value, size_t len)
{
    h->range = value;
    h->range_len = len;
    return 0;
}

static int field_if_range(struct http_head *h, const char *value, size_t len)
{
    (void)value, (void)len;
    h->if_range = true;
    return 0;
}

static const struct {
    const char *name;
    int (*take)(struct http_head *h, const char *value, size_t len);
} fields[] = {
    {"content-length", field_length},       {"transfer-encoding", field_coding},
    {"connection", field_connection},       {"expect", field_expect},
    {"if-none-match", field_if_none_match}, {"range", field_range},
    {"if-range", field_if_range},
};

/* (A field that is folded into a second line begins with a blank: that is no token.) */
static int parse_field(const char *line, size_t len, struct http_head *h)
{
    const char *colon = memchr(line, ':', len), *value;
    size_t name_len, value_len;

    if (!colon)
        return -EPROTO;
    name_len = (size_t)(colon - line);
    if (!is_token(line, name_len))
        return -EPROTO;
    value = colon + 1;
    value_len = len - name_len - 1;
    if (memchr(value, '\0', value_len) || memchr(value, '\r', value_len))
        return -EPROTO;
    trim(&value, &value_len);
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
        if (is_text(line, name_len, fields[i].name))
            return fields[i].take(h, value, value_len);
    }
    return 0;
}

static int incomplete(size_t len)
{
    return len >= HTTP_HEAD_MAX ? -EMSGSIZE : -EAGAIN;
}

static int parse_fields(struct cursor *c, size_t len, struct http_head *h)
{
    const char *line;
    size_t n;
    int r;

    for (unsigned i = 0; i <= HTTP_FIELDS_MAX; i++) {
        if (!next_line(c, &line, &n))
            return incomplete(len);
        if (n == 0)
            return 0;
        r = parse_field(line, n, h);
        if (r < 0)
            return r;
    }
    return -EMSGSIZE;
}

int http_head_parse(const char *text, size_t len, struct http_head *ret_head, size_t *ret_len)
{
    struct cursor c = {text, text + (len < HTTP_HEAD_MAX ? len : HTTP_HEAD_MAX)};
    struct http_head h = {0};
    const char *line;
    size_t n;
    int r;

    do {
        if (!next_line(&c, &line, &n))
            return incomplete(len);
    } while (n == 0);
    r = parse_line(line, n, &h);
    if (r == 0)
        r = parse_fields(&c, len, &h);
    if (r < 0)
        return r;
    if (h.chunked)
        h.has_length = false;
    if (h.chunked && h.minor == 0)
        h.keep_alive = false;
    *ret_head = h;
    *ret_len = (size_t)(c.at - text);
    return 0;
}
