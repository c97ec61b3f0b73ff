/* --print-config, --help and the sample file, all from the table. Values are written so that the
 * file reader parses them back to the same value. */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/fnv.h"
#include "base/manual.h"
#include "conf/conf.h"
#include "conf/conf_control.h"
#include "conf/conf_keys.h"
#include "conf/conf_set.h"
#include "conf/conf_value.h"

#define ORIGIN_COLUMN 44
#define KEY_INDENT "      "
#define SAMPLE_WIDTH 90

/* Text that YAML reads back as text without quotes. */
static bool is_plain(const char *text)
{
    return (isalnum((unsigned char)*text) || strchr("/._", *text)) &&
           text[strspn(text, "abcdefghijklmnopqrstuvwxyz"
                             "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./")] == '\0' &&
           strcasecmp(text, "null") != 0 && strcmp(text, "...") != 0;
}

/* Returns the bytes written. The text is clean (conf_value_is_clean), so only two characters need
 * an escape. */
static int put_text(const char *text, FILE *out)
{
    int n = 2;

    if (*text && is_plain(text))
        return fprintf(out, "%s", text);
    putc('"', out);
    for (; *text; text++, n++) {
        if (*text == '"' || *text == '\\') {
            putc('\\', out);
            n++;
        }
        putc(*text, out);
    }
    putc('"', out);
    return n;
}

static const char *choice_name(const struct conf_key *key, int value)
{
    const struct conf_choice *c = key->choices;

    while (c->name && c->value != value)
        c++;
    return c->name ? c->name : "?";
}

/* Returns the bytes written. */
static int put_value(const struct conf *conf, const struct conf_key *key, FILE *out)
{
    const void *field = conf_field(conf, key);
    char text[CONF_VALUE_TEXT_MAX];

    if (conf_origin_of(conf, key)->automatic && key->min > 0)
        return fprintf(out, "auto"); /* determined later, by the daemon */
    switch (key->type) {
    case CONF_STRING:
        return put_text(*(const char *const *)field, out);
    case CONF_SECRET:
        return fprintf(out, *(const char *const *)field ? "redacted" : "not set");
    case CONF_SIZE:
        conf_value_format_size(*(const uint64_t *)field, text);
        return fprintf(out, "%s", text);
    case CONF_DURATION:
        conf_value_format_duration(*(const uint64_t *)field, text);
        return fprintf(out, "%s", text);
    case CONF_UINT:
        return fprintf(out, "%u", *(const unsigned *)field);
    case CONF_MODE:
        return fprintf(out, "0%03o", *(const mode_t *)field);
    case CONF_BOOL:
        return fprintf(out, *(const bool *)field ? "true" : "false");
    case CONF_ENUM: {
        int value;

        memcpy(&value, field, sizeof(value));
        return fprintf(out, "%s", choice_name(key, value));
    }
    }
    return 0;
}

/* A file name may contain any byte; a comment ends at the end of the line. */
static void put_origin(const char *origin, FILE *out)
{
    for (; *origin; origin++)
        putc(iscntrl((unsigned char)*origin) ? '?' : *origin, out);
    putc('\n', out);
}

/* Opens the section of conf_keys[i] if it begins there. */
static bool put_section(size_t i, FILE *out)
{
    const char *name = conf_keys[i].name;
    size_t len = conf_key_section_len(&conf_keys[i]);

    if (len == 0 || conf_key_is_dotted(&conf_keys[i]) ||
        (i > 0 && strncmp(conf_keys[i - 1].name, name, len + 1) == 0))
        return false;
    fprintf(out, "\n%.*s:\n", (int)len, name);
    return true;
}

static const char *indent_of(const struct conf_key *key)
{
    return conf_key_section_len(key) && !conf_key_is_dotted(key) ? "  " : "";
}

/* Its name, where it stands. */
static const char *shown_name(const struct conf_key *key)
{
    return conf_key_is_dotted(key) ? key->name : conf_key_last(key);
}

void conf_print(const struct conf *conf, FILE *out)
{
    for (size_t i = 0; i < conf_n_keys; i++) {
        const struct conf_key *key = &conf_keys[i];
        const char *origin = conf_origin(conf, key->name);
        bool hidden = key->type == CONF_SECRET || !origin;
        int n;

        (void)put_section(i, out);
        n = fprintf(out, "%s%s%s: ", indent_of(key), hidden ? "# " : "", shown_name(key));
        n += put_value(conf, key, out);
        fprintf(out, "%*s # ", n < ORIGIN_COLUMN ? ORIGIN_COLUMN - n : 0, "");
        put_origin(origin ? origin : "not set", out);
    }
}

static void print_fixed(const struct conf *conf, FILE *out)
{
    for (size_t i = 0; i < conf_n_keys; i++) {
        const struct conf_key *key = &conf_keys[i];

        if (key->live || key->type == CONF_SECRET)
            continue;
        fprintf(out, "%s=", key->name);
        (void)put_value(conf, key, out);
        putc('\n', out);
    }
}

char *conf_fixed_text(const struct conf *conf)
{
    char *text = NULL;
    size_t len;
    FILE *out = open_memstream(&text, &len);

    if (!out)
        return NULL;
    print_fixed(conf, out);
    if (fclose(out) == 0)
        return text;
    free(text);
    return NULL;
}

int conf_fixed_id(const struct conf *conf, char ret[CONF_FIXED_ID_MAX])
{
    cleanup_free char *text = conf_fixed_text(conf);

    if (!text)
        return -ENOMEM;
    snprintf(ret, CONF_FIXED_ID_MAX, "%016llx",
             (unsigned long long)fnv_add(FNV_START, text, strlen(text)));
    return 0;
}

static void put_env_names(const struct conf_key *key, FILE *out)
{
    char own[CONF_ENV_NAME_MAX];
    const char *name;

    for (unsigned i = 0; (name = conf_key_env(key, i, own)); i++)
        fprintf(out, "%s%s", i ? ", " : "", name);
}

void conf_print_keys(FILE *out)
{
    for (size_t i = 0; i < conf_n_keys; i++) {
        const struct conf_key *key = &conf_keys[i];
        char expected[CONF_EXPECTED_MAX], usual[CONF_DEFAULT_MAX];
        char value[CONF_EXPECTED_MAX + CONF_DEFAULT_MAX + 2];

        conf_key_expected(key, expected);
        conf_key_default(key, usual);
        fprintf(out, "  %s\n", key->name);
        manual_wrap(out, KEY_INDENT, KEY_INDENT, key->doc, MANUAL_WIDTH);
        snprintf(value, sizeof(value), "%s; %s", expected, usual);
        manual_wrap(out, KEY_INDENT, KEY_INDENT, value, MANUAL_WIDTH);
        fputs(KEY_INDENT, out);
        put_env_names(key, out);
        putc('\n', out);
    }
}

static const char sample_head[] =
    "# Configuration of stateproxyd, which mounts one bucket prefix as files.\n"
    "# This file is the output of stateproxyd --print-sample.\n"
    "#\n"
    "# Environment variables override this file, and this file overrides the defaults, which\n"
    "# are shown here behind a #. Each key can also be set by the environment variables that\n"
    "# are named with it; the first one that is set counts. Sizes: 64Mi (B, Ki, Mi, Gi, Ti).\n"
    "# Durations: 250ms (ms, s, m, h). stateproxyd --check reports the first error,\n"
    "# --print-config shows each value and where it comes from.\n";

static void put_sample_comment(const struct conf_key *key, FILE *out)
{
    const char *indent = indent_of(key);
    char expected[CONF_EXPECTED_MAX], begin[8];

    conf_key_expected(key, expected);
    snprintf(begin, sizeof(begin), "%s# ", indent);
    manual_wrap(out, begin, begin, key->doc, SAMPLE_WIDTH);
    if (key->automatic)
        fprintf(out, "%s# auto: %s\n", indent, key->automatic);
    fprintf(out, "%s# expected: %s\n%s# environment: ", indent, expected, indent);
    put_env_names(key, out);
    putc('\n', out);
}

static void put_sample_value(const struct conf_key *key, FILE *out)
{
    const char *indent = indent_of(key);
    const char *last = shown_name(key);

    if (key->type == CONF_SECRET) {
        fprintf(out, "%s# %s: only from the environment\n", indent, last);
        return;
    }
    fprintf(out, "%s%s%s: ", indent, key->required ? "" : "#", last);
    put_text(key->required ? key->example : key->automatic ? "auto" : key->def, out);
    putc('\n', out);
}

void conf_print_sample(FILE *out)
{
    fputs(sample_head, out);
    for (size_t i = 0; i < conf_n_keys; i++) {
        const struct conf_key *key = &conf_keys[i];

        if (!put_section(i, out))
            putc('\n', out);
        put_sample_comment(key, out);
        put_sample_value(key, out);
    }
}
