/* Encodes, decodes and changes a set in memory. op_xattr.c loads and stores the sets. Any program
 * may have written the coded text, so decoding is bounds-checked. */
#include "workers/objmeta/xattr.h"

#include <assert.h>
#include <errno.h>
#include <sodium.h>
#include <string.h>
#include <sys/xattr.h>

/* ---- decoding ---- */

/* The rest of the coded text; `plain`: nothing in it is percent-coded. */
struct reader {
    const char *at;
    bool plain;
};

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

/* The next character; -1 at the end, or if a percent code is invalid. */
static int next(struct reader *r)
{
    unsigned char c = (unsigned char)*r->at;
    int hi, lo;

    if (!c)
        return -1;
    r->at++;
    if (c != '%' || r->plain)
        return c;
    hi = hex_value(r->at[0]);
    lo = hi < 0 ? -1 : hex_value(r->at[1]);
    if (lo < 0)
        return -1;
    r->at += 2;
    return hi << 4 | lo;
}

static int next_of_token(struct reader *r)
{
    int c;

    do
        c = next(r);
    while (c == ' ');
    return c;
}

/* Reads a string whose opening quote has been read into set->bytes at `used`, with NUL. Its length,
 * or -EIO. */
static ssize_t read_string(struct reader *r, struct xattr_set *set)
{
    size_t at = set->used;
    int c;

    while ((c = next(r)) != '"') {
        if (c == '\\')
            c = next(r);
        if (c <= 0 || at + 1 >= sizeof(set->bytes))
            return -EIO;
        set->bytes[at++] = (uint8_t)c;
    }
    set->bytes[at] = '\0';
    return (ssize_t)(at - set->used);
}

/* Decodes base64 in place, with or without padding. */
static int unbase64(struct xattr_set *set, size_t from, size_t len, size_t *ret_len)
{
    char text[sizeof(set->bytes)];

    memcpy(text, set->bytes + from, len);
    while (len && text[len - 1] == '=')
        len--;
    return sodium_base642bin(set->bytes + from, sizeof(set->bytes) - from, text, len, NULL, ret_len,
                             NULL, sodium_base64_VARIANT_ORIGINAL_NO_PADDING) == 0
               ? 0
               : -EIO;
}

/* Reads "name":"value"; the first quote has been read already. */
static int read_item(struct reader *r, struct xattr_set *set)
{
    struct xattr_item *item = &set->item[set->n];
    ssize_t len;
    size_t value_len;
    size_t was = set->used;
    int e = -EIO;

    if (set->n == XATTR_COUNT_MAX)
        return -EIO;
    len = read_string(r, set);
    if (len <= 0 || len > XATTR_NAME_LEN_MAX)
        return -EIO;
    item->name = (uint16_t)set->used;
    set->used += (size_t)len + 1;
    item->value = (uint16_t)set->used;
    if (next_of_token(r) == ':' && next_of_token(r) == '"') {
        len = read_string(r, set);
        e = len < 0 ? -EIO : unbase64(set, set->used, (size_t)len, &value_len);
    }
    if (e < 0) {
        set->used = was;
        return e;
    }
    item->len = (uint16_t)value_len;
    set->used += value_len;
    set->n++;
    return 0;
}

int xattr_decode(const char *coded, struct xattr_set *ret)
{
    struct reader r = {.at = coded, .plain = *coded == '{'};
    int c, e = 0;

    static_assert(sizeof(ret->bytes) <= UINT16_MAX, "offsets");
    ret->n = ret->used = 0;
    if (!*coded)
        return 0;
    if (next_of_token(&r) != '{')
        return -EIO;
    c = next_of_token(&r);
    if (c == '}')
        return 0;
    while (c == '"' && e == 0) {
        e = read_item(&r, ret);
        c = e ? -1 : next_of_token(&r);
        if (c == '}')
            return 0;
        c = c == ',' ? next_of_token(&r) : -1;
    }
    return -EIO;
}

/* ---- encoding ---- */

struct writer {
    char *out;
    size_t n;
    bool full;
};

/* Unchanged if that is safe in a header and in a signature, else percent-coded. */
static void put_char(struct writer *w, uint8_t c)
{
    static const char hex[] = "0123456789ABCDEF";
    bool safe = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                c == '.' || c == '-' || c == '_' || c == '/';

    if (w->n + (safe ? 1 : 3) >= XATTR_CODED_MAX) {
        w->full = true;
        return;
    }
    if (safe) {
        w->out[w->n++] = (char)c;
        return;
    }
    w->out[w->n++] = '%';
    w->out[w->n++] = hex[c >> 4];
    w->out[w->n++] = hex[c & 15];
}

static void xattr_put_name(struct writer *w, const char *name)
{
    put_char(w, '"');
    for (; *name; name++) {
        if (*name == '"' || *name == '\\')
            put_char(w, '\\');
        put_char(w, (uint8_t)*name);
    }
    put_char(w, '"');
}

static void put_value(struct writer *w, const uint8_t *value, size_t len)
{
    char text[2 * sizeof(((struct xattr_set *)NULL)->bytes)];

    put_char(w, '"');
    sodium_bin2base64(text, sizeof(text), value, len, sodium_base64_VARIANT_ORIGINAL);
    for (const char *c = text; *c; c++)
        put_char(w, (uint8_t)*c);
    put_char(w, '"');
}

int xattr_encode(const struct xattr_set *set, char out[XATTR_CODED_MAX])
{
    struct writer w = {.out = out};

    for (size_t i = 0; i < set->n; i++) {
        const struct xattr_item *item = &set->item[i];

        put_char(&w, i ? ',' : '{');
        xattr_put_name(&w, (const char *)set->bytes + item->name);
        put_char(&w, ':');
        put_value(&w, set->bytes + item->value, item->len);
    }
    if (set->n)
        put_char(&w, '}');
    out[w.n] = '\0';
    return w.full ? -ENOSPC : 0;
}

/* ---- the set ---- */

static size_t xattr_find(const struct xattr_set *set, const char *name)
{
    size_t i = 0;

    while (i < set->n && strcmp((const char *)set->bytes + set->item[i].name, name) != 0)
        i++;
    return i;
}

const uint8_t *xattr_get(const struct xattr_set *set, const char *name, size_t *ret_len)
{
    size_t i = xattr_find(set, name);

    if (i == set->n)
        return NULL;
    *ret_len = set->item[i].len;
    return set->bytes + set->item[i].value;
}

/* Appends an attribute. 0 or -ENOSPC. */
static int append(struct xattr_set *set, const char *name, const void *value, size_t len)
{
    size_t name_len = strlen(name) + 1;
    struct xattr_item *item = &set->item[set->n];

    if (set->n == XATTR_COUNT_MAX || name_len + len > sizeof(set->bytes) - set->used)
        return -ENOSPC;
    item->name = (uint16_t)set->used;
    item->value = (uint16_t)(set->used + name_len);
    item->len = (uint16_t)len;
    memcpy(set->bytes + item->name, name, name_len);
    if (len)
        memcpy(set->bytes + item->value, value, len);
    set->used += name_len + len;
    set->n++;
    return 0;
}

/* Copies all attributes but the one at `without`, so that no gaps stay. */
static void rebuild(struct xattr_set *set, size_t without)
{
    struct xattr_set old = *set;

    set->n = set->used = 0;
    for (size_t i = 0; i < old.n; i++) {
        if (i != without)
            (void)append(set, (const char *)old.bytes + old.item[i].name,
                         old.bytes + old.item[i].value, old.item[i].len); /* it has fitted before */
    }
}

static bool fits(const struct xattr_set *set)
{
    char coded[XATTR_CODED_MAX];

    return xattr_encode(set, coded) == 0;
}

int xattr_put(struct xattr_set *set, const char *name, const void *value, size_t len, int flags)
{
    struct xattr_set alone = {0}, changed = *set;
    size_t i = xattr_find(set, name);

    if (i < set->n && (flags & XATTR_CREATE))
        return -EEXIST;
    if (i == set->n && (flags & XATTR_REPLACE))
        return -ENODATA;
    if (append(&alone, name, value, len) < 0 || !fits(&alone))
        return -E2BIG;
    rebuild(&changed, i);
    if (append(&changed, name, value, len) < 0 || !fits(&changed))
        return -ENOSPC;
    *set = changed;
    return 0;
}

int xattr_remove(struct xattr_set *set, const char *name)
{
    size_t i = xattr_find(set, name);

    if (i == set->n)
        return -ENODATA;
    rebuild(set, i);
    return 0;
}

bool xattr_is_shown(const char *name)
{
    static const char *const hidden[] = {"system.", "security.", "trusted."};

    for (size_t i = 0; i < sizeof(hidden) / sizeof(hidden[0]); i++) {
        if (strncmp(name, hidden[i], strlen(hidden[i])) == 0)
            return false;
    }
    return true;
}

ssize_t xattr_list(const struct xattr_set *set, char *out, size_t cap)
{
    size_t n = 0;

    for (size_t i = 0; i < set->n; i++) {
        const char *name = (const char *)set->bytes + set->item[i].name;
        size_t len = strlen(name) + 1;

        if (!xattr_is_shown(name))
            continue;
        if (out && len > cap - n)
            return -ERANGE;
        if (out)
            memcpy(out + n, name, len);
        n += len;
    }
    return (ssize_t)n;
}
