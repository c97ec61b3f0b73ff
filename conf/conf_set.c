/* Converts text to a field. The only file that writes through the offsets of the table. */
#include "conf/conf_set.h"

#include <ctype.h>
#include <errno.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "conf/conf_value.h"

void *conf_field(const struct conf *conf, const struct conf_key *key)
{
    return (char *)(uintptr_t)conf + key->offset;
}

struct conf_origin *conf_origin_of(const struct conf *conf, const struct conf_key *key)
{
    return &conf->origins->of[key - conf_keys];
}

static bool is_text(const struct conf_key *key)
{
    return key->type == CONF_STRING || key->type == CONF_SECRET;
}

void conf_unset(struct conf *conf, const struct conf_key *key)
{
    const char **field = conf_field(conf, key);
    void *value;

    if (!is_text(key))
        return;
    value = (void *)(uintptr_t)*field;
    *field = NULL;
    if (key->type == CONF_SECRET)
        sodium_free(value);
    else
        free(value);
}

int conf_set_string(struct conf *conf, const struct conf_key *key, const char *text)
{
    char *copy = strdup(text);

    if (!copy)
        return -ENOMEM;
    conf_unset(conf, key);
    *(const char **)conf_field(conf, key) = copy;
    return 0;
}

static int set_secret(struct conf *conf, const struct conf_key *key, const char *text)
{
    size_t size = strlen(text) + 1;
    char *copy = sodium_malloc(size);

    if (!copy)
        return -ENOMEM;
    memcpy(copy, text, size);
    sodium_mprotect_readonly(copy);
    conf_unset(conf, key);
    *(const char **)conf_field(conf, key) = copy;
    return 0;
}

/* The error line for an invalid value. Secrets, and values that may contain one, are not repeated.
 * `form` shows the syntax, if that was wrong. */
static int set_refuse(const struct conf_key *key, const char *text, const char *form,
                      const struct conf_source *src, struct err *err)
{
    char expected[CONF_EXPECTED_MAX], quoted[CONF_QUOTE_MAX];

    conf_key_expected(key, expected);
    if (key->type == CONF_SECRET || strchr(text, '@'))
        return conf_source_fail(src, key->name, err, "bad value, expected %s", expected);
    conf_value_quote(text, quoted);
    return conf_source_fail(src, key->name, err, "%s, expected %s%s", quoted, expected, form);
}

static int set_text(struct conf *conf, const struct conf_key *key, const char *text,
                    const struct conf_source *src, struct err *err)
{
    size_t len = strlen(text);
    cleanup_free char *copy = NULL;
    int r;

    if (len > key->max)
        return conf_source_fail(src, key->name, err, "%zu bytes, expected at most %llu", len,
                                (unsigned long long)key->max);
    if (key->type == CONF_SECRET) {
        /* Checked in place, so that no copy stays in the heap; the check changes nothing. */
        if (len < key->min || !key->check((char *)(uintptr_t)text))
            return set_refuse(key, text, "", src, err);
        r = set_secret(conf, key, text);
    } else {
        copy = strdup(text);
        if (!copy)
            return err_set(err, ENOMEM, "out of memory");
        if (!conf_value_is_clean(copy))
            return conf_source_fail(src, key->name, err,
                                    "control character or invalid UTF-8, expected %s",
                                    key->expected);
        if (!key->check(copy))
            return set_refuse(key, text, "", src, err);
        r = conf_set_string(conf, key, copy);
    }
    return r < 0 ? err_set(err, -r, "out of memory") : 0;
}

/* (AWS's own variables have IPv6 where we have ipv6.) */
static char same_letter(char c)
{
    return c == '_' ? '-' : (char)tolower((unsigned char)c);
}

/* Looks a name up in the list; '_' is accepted for '-', and capitals. NULL if it is not there. */
static const struct conf_choice *find_choice(const struct conf_key *key, const char *text)
{
    for (const struct conf_choice *c = key->choices; c->name; c++) {
        size_t i = 0;

        while (text[i] && same_letter(text[i]) == same_letter(c->name[i]))
            i++;
        if (!text[i] && !c->name[i])
            return c;
    }
    return NULL;
}

static int set_choice(struct conf *conf, const struct conf_key *key, const char *text,
                      const struct conf_source *src, struct err *err)
{
    const struct conf_choice *c = find_choice(key, text);

    if (!c)
        return set_refuse(key, text, "", src, err);
    memcpy(conf_field(conf, key), &c->value, sizeof(c->value));
    return 0;
}

static int set_parse_number(const struct conf_key *key, const char *text, bool loose, uint64_t *ret)
{
    switch (key->type) {
    case CONF_SIZE:
        return conf_value_size(text, ret);
    case CONF_DURATION:
        return conf_value_duration(text, ret);
    case CONF_MODE:
        return conf_value_mode(text, ret);
    case CONF_BOOL:
        return conf_value_bool(text, loose, ret);
    default:
        return conf_value_uint(text, ret);
    }
}

static void store_number(struct conf *conf, const struct conf_key *key, uint64_t v)
{
    void *field = conf_field(conf, key);

    if (key->type == CONF_BOOL)
        *(bool *)field = v != 0;
    else if (key->type == CONF_UINT || key->type == CONF_MODE)
        *(unsigned *)field = (unsigned)v;
    else
        *(uint64_t *)field = v;
}

static int set_number(struct conf *conf, const struct conf_key *key, const char *text,
                      const struct conf_source *src, struct err *err)
{
    bool ranged = key->type != CONF_BOOL && key->type != CONF_MODE;
    uint64_t v;

    int r = set_parse_number(key, text, src->kind == CONF_FROM_ENV, &v);

    if (r == -EINVAL)
        return set_refuse(key, text, conf_key_form(key), src, err);
    if (r < 0 || (ranged && (v < key->min || v > key->max)))
        return set_refuse(key, text, "", src, err);
    store_number(conf, key, v);
    return 0;
}

/* "auto" and, for counts and limits that cannot be 0, "0". */
static bool is_automatic(const struct conf_key *key, const char *text)
{
    if (!key->automatic)
        return false;
    if (strcmp(text, "auto") == 0)
        return true;
    return (key->type == CONF_UINT || key->type == CONF_SIZE) && key->min > 0 &&
           strcmp(text, "0") == 0;
}

static int set_automatic(struct conf *conf, const struct conf_key *key)
{
    if (is_text(key))
        conf_unset(conf, key);
    else
        store_number(conf, key, 0);
    return 0;
}

int conf_set(struct conf *conf, const struct conf_key *key, const char *text,
             const struct conf_source *src, struct err *err)
{
    struct conf_origin *origin = conf_origin_of(conf, key);
    bool automatic = is_automatic(key, text);
    char where[CONF_SOURCE_TEXT_MAX];
    char *copy;
    int r;

    if (automatic)
        r = set_automatic(conf, key);
    else if (is_text(key))
        r = set_text(conf, key, text, src, err);
    else if (key->type == CONF_ENUM)
        r = set_choice(conf, key, text, src, err);
    else
        r = set_number(conf, key, text, src, err);
    if (r < 0)
        return r;

    conf_source_text(src, where);
    copy = strdup(where);
    if (!copy)
        return err_set(err, ENOMEM, "out of memory");
    free(origin->text);
    *origin = (struct conf_origin){.text = copy, .kind = src->kind, .automatic = automatic};
    return 0;
}

int conf_set_fail(const struct conf *conf, const struct conf_key *key, struct err *err,
                  const char *fmt, ...)
{
    const struct conf_origin *origin = conf_origin_of(conf, key);
    char what[ERR_TEXT_MAX];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(what, sizeof(what), fmt, ap);
    va_end(ap);
    switch (origin->text ? origin->kind : CONF_FROM_DEFAULT) {
    case CONF_FROM_FILE:
        return err_set(err, EINVAL, "%s: %s: %s", origin->text, key->name, what);
    case CONF_FROM_ENV:
        return err_set(err, EINVAL, "environment %s: %s: %s", origin->text + strlen("env "),
                       key->name, what);
    default:
        return err_set(err, EINVAL, "%s: %s", key->name, what);
    }
}
