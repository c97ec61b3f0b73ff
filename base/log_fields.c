/* See log_fields.h. */
#include "base/log_fields.h"

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define SPEC_MAX 24

struct conversion {
    char spec[SPEC_MAX]; /* for snprintf, with numbers in place of stars */
    int precision;       /* -1 = none */
    unsigned longs;      /* number of l */
    bool size;           /* z */
    char type;
    size_t len; /* in the format */
};

/* Parses "%...", and takes the precision that a star stands for. False if it is none that we
 * know. */
static bool fields_parse(const char *at, va_list *ap, struct conversion *c)
{
    const char *p = at + 1, *flags = p;
    size_t n;

    *c = (struct conversion){.precision = -1};
    p += strspn(p, "-+ #0123456789");
    n = (size_t)(p - flags);
    if (*p == '.') {
        p++;
        if (*p == '*') {
            c->precision = va_arg(*ap, int);
            p++;
        } else {
            for (c->precision = 0; *p >= '0' && *p <= '9' && c->precision < SHRT_MAX; p++)
                c->precision = 10 * c->precision + (*p - '0');
        }
    }
    for (; *p == 'l'; p++)
        c->longs++;
    for (; *p == 'z'; p++)
        c->size = true;
    c->type = *p;
    c->len = (size_t)(p + 1 - at);
    if (!*p || !strchr("sduxXoc", *p) || c->longs > 2 || n > SPEC_MAX - 12)
        return false;
    if (c->precision >= 0)
        snprintf(c->spec, sizeof(c->spec), "%%%.*s.%d", (int)n, flags, c->precision);
    else
        snprintf(c->spec, sizeof(c->spec), "%%%.*s", (int)n, flags);
    return true;
}

/* Takes the argument of a conversion and prints it. */
static void print(const struct conversion *c, va_list *ap, char *out)
{
    char spec[SPEC_MAX + 4];
    long long wide;

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    if (c->type == 's') {
        snprintf(spec, sizeof(spec), "%ss", c->spec);
        snprintf(out, LOG_FIELD_VALUE_MAX, spec, va_arg(*ap, const char *));
        return;
    }
    if (c->type == 'c') {
        snprintf(spec, sizeof(spec), "%sc", c->spec);
        snprintf(out, LOG_FIELD_VALUE_MAX, spec, va_arg(*ap, int));
        return;
    }
    if (c->longs == 2)
        wide = va_arg(*ap, long long);
    else if (c->longs == 1 || c->size)
        wide = va_arg(*ap, long);
    else if (c->type == 'd')
        wide = va_arg(*ap, int);
    else
        wide = va_arg(*ap, unsigned);
    if (c->type != 'd' && (c->longs == 1 || c->size))
        wide = (long long)(unsigned long)wide;
    snprintf(spec, sizeof(spec), "%sll%c", c->spec, c->type);
    snprintf(out, LOG_FIELD_VALUE_MAX, spec, wide);
#pragma GCC diagnostic pop
}

static bool in_name(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
}

/* The name before the conversion at `at`, NULL if that is not the whole value of a pair. */
static const char *name_before(const char *fmt, const char *at, size_t conversion, size_t *ret_len)
{
    const char *end = at, *begin;
    bool quoted = end > fmt && end[-1] == '"';
    char next = at[conversion];

    if (quoted)
        end--;
    if (end == fmt || end[-1] != '=')
        return NULL;
    begin = --end;
    while (begin > fmt && in_name(begin[-1]))
        begin--;
    if (begin == end || (begin > fmt && begin[-1] != ' ') || (*begin >= '0' && *begin <= '9'))
        return NULL;
    if (quoted ? next != '"' : next && !strchr(" :,;)", next))
        return NULL;
    *ret_len = (size_t)(end - begin);
    return begin;
}

void log_fields(const char *fmt, va_list ap, log_field_fn *fn, void *ctx)
{
    char value[LOG_FIELD_VALUE_MAX];
    struct conversion c;
    va_list args;

    va_copy(args, ap);
    for (const char *p = strchr(fmt, '%'); p; p = strchr(p, '%')) {
        const char *name;
        size_t len;

        if (p[1] == '%') {
            p += 2;
            continue;
        }
        if (!fields_parse(p, &args, &c))
            break;
        print(&c, &args, value);
        name = name_before(fmt, p, c.len, &len);
        if (name)
            fn(ctx, name, len, value);
        p += c.len;
    }
    va_end(args);
}
