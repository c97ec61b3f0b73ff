/* Numbers with units, and which characters a value may contain. Knows no keys: those, with their
 * ranges, are in conf_keys.c. */
#include "conf/conf_value.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"

#define QUOTE_TEXT_MAX 50

struct unit {
    const char *name;
    uint64_t factor;
};

/* Largest unit last: formatting searches from the end. */
static const struct unit size_units[] = {
    {"B", 1},
    {"Ki", UINT64_C(1) << 10},
    {"Mi", UINT64_C(1) << 20},
    {"Gi", UINT64_C(1) << 30},
    {"Ti", UINT64_C(1) << 40},
};

static const struct unit time_units[] = {
    {"ms", NS_PER_MS},
    {"s", NS_PER_S},
    {"m", 60 * NS_PER_S},
    {"h", 3600 * NS_PER_S},
};

#define N_UNITS(units) (sizeof(units) / sizeof((units)[0]))

/* Reads digits; *ret_end points behind them. Leading zeros are refused: some readers take 010 for
 * 8. */
static int parse_digits(const char *text, uint64_t *ret, const char **ret_end)
{
    const char *p = text;
    uint64_t v = 0;

    if (*p < '0' || *p > '9' || (*p == '0' && p[1] >= '0' && p[1] <= '9'))
        return -EINVAL;
    for (; *p >= '0' && *p <= '9'; p++) {
        if (__builtin_mul_overflow(v, UINT64_C(10), &v) ||
            __builtin_add_overflow(v, (uint64_t)(*p - '0'), &v))
            return -ERANGE;
    }
    *ret = v;
    *ret_end = p;
    return 0;
}

static int parse_with_unit(const char *text, const struct unit *units, size_t n_units,
                           uint64_t *ret)
{
    const char *end;
    uint64_t v;
    int r = parse_digits(text, &v, &end);

    if (r < 0)
        return r;
    for (size_t i = 0; i < n_units; i++) {
        if (strcmp(end, units[i].name) != 0)
            continue;
        if (__builtin_mul_overflow(v, units[i].factor, &v))
            return -ERANGE;
        *ret = v;
        return 0;
    }
    return -EINVAL;
}

int conf_value_uint(const char *text, uint64_t *ret)
{
    const char *end;
    uint64_t v;
    int r = parse_digits(text, &v, &end);

    if (r < 0)
        return r;
    if (*end)
        return -EINVAL;
    *ret = v;
    return 0;
}

int conf_value_size(const char *text, uint64_t *ret)
{
    int r = conf_value_uint(text, ret);

    if (r != -EINVAL)
        return r;
    return parse_with_unit(text, size_units, N_UNITS(size_units), ret);
}

int conf_value_duration(const char *text, uint64_t *ret_ns)
{
    if (strcmp(text, "0") == 0) {
        *ret_ns = 0;
        return 0;
    }
    return parse_with_unit(text, time_units, N_UNITS(time_units), ret_ns);
}

int conf_value_mode(const char *text, uint64_t *ret)
{
    uint64_t v = 0;

    if (strncmp(text, "0o", 2) == 0)
        text += 2;
    else if (*text == '0' && strlen(text) == 4)
        text++;
    if (strlen(text) != 3 || strspn(text, "01234567") != 3)
        return -EINVAL;
    for (; *text; text++)
        v = v * 8 + (uint64_t)(*text - '0');
    *ret = v;
    return 0;
}

int conf_value_bool(const char *text, bool loose, uint64_t *ret)
{
    static const struct {
        const char *text;
        bool value, loose;
    } words[] = {
        {"true", true, false}, {"false", false, false}, {"yes", true, true}, {"no", false, true},
        {"on", true, true},    {"off", false, true},    {"1", true, true},   {"0", false, true},
    };

    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        bool same = loose ? strcasecmp(text, words[i].text) == 0 : strcmp(text, words[i].text) == 0;

        if (same && (loose || !words[i].loose)) {
            *ret = words[i].value;
            return 0;
        }
    }
    return -EINVAL;
}

/* The largest unit that divides v. */
static void format_with_unit(uint64_t v, const struct unit *units, size_t n_units, char *out)
{
    size_t i = n_units - 1;

    while (i > 0 && v % units[i].factor != 0)
        i--;
    snprintf(out, CONF_VALUE_TEXT_MAX, "%" PRIu64 "%s", v / units[i].factor, units[i].name);
}

void conf_value_format_size(uint64_t v, char out[CONF_VALUE_TEXT_MAX])
{
    if (v % 1024 != 0 || v == 0)
        snprintf(out, CONF_VALUE_TEXT_MAX, "%" PRIu64, v);
    else
        format_with_unit(v, size_units, N_UNITS(size_units), out);
}

void conf_value_format_duration(uint64_t ns, char out[CONF_VALUE_TEXT_MAX])
{
    if (ns == 0)
        snprintf(out, CONF_VALUE_TEXT_MAX, "0");
    else
        format_with_unit(ns, time_units, N_UNITS(time_units), out);
}

void conf_value_quote(const char *text, char out[CONF_QUOTE_MAX])
{
    size_t n = 0;

    out[n++] = '"';
    for (; *text && n <= QUOTE_TEXT_MAX; text++)
        out[n++] = *text >= 0x20 && *text < 0x7f ? *text : '?';
    if (*text)
        memcpy(out + n - 3, "...", 3);
    out[n++] = '"';
    out[n] = '\0';
}

/* Decodes one character of more than one byte. Returns its length, 0 if it is not UTF-8. */
static size_t decode_utf8(const unsigned char *s, uint32_t *ret)
{
    static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t len = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : 2;
    uint32_t c;

    if (s[0] < 0xc2 || s[0] > 0xf4)
        return 0;
    c = s[0] & (0xffU >> (len + 1));
    for (size_t i = 1; i < len; i++) {
        if ((s[i] & 0xc0) != 0x80)
            return 0;
        c = c << 6 | (s[i] & 0x3fU);
    }
    if (c < smallest[len] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
        return 0;
    *ret = c;
    return len;
}

bool conf_value_is_clean(const char *text)
{
    const unsigned char *s = (const unsigned char *)text;

    while (*s) {
        uint32_t c;
        size_t len;

        if (*s < 0x80) {
            if (*s < 0x20 || *s == 0x7f)
                return false;
            s++;
            continue;
        }
        len = decode_utf8(s, &c);
        if (len == 0 || c < 0xa0 || c == 0xfeff || c == 0xfffe || c == 0xffff)
            return false;
        s += len;
    }
    return true;
}
