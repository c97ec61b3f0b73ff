/* Turns libyaml's events into keys and values with their positions. No tree is built in memory:
 * each value goes to conf_set() at once, so aliases and deep nesting cannot use up memory. */
#include "conf/conf_yaml.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "conf/conf_keys.h"
#include "conf/conf_set.h"
#include "conf/conf_suggest.h"
#include "conf/conf_value.h"

static void cleanup_eventp(yaml_event_t *ev)
{
    yaml_event_delete(ev);
}

#define cleanup_event __attribute__((cleanup(cleanup_eventp)))

struct reader {
    yaml_parser_t parser;
    struct conf *conf;
    const char *file;
    const char *text;
    size_t len;
    struct err *err;

    /* Line and column where each key, and each section (at its first key), was given; line 0 = not
     * yet. */
    struct seen {
        unsigned line, column;
    } keys[CONF_N_KEYS_MAX], sections[CONF_N_KEYS_MAX];
};

static struct conf_source source_at(const struct reader *r, yaml_mark_t mark)
{
    return (struct conf_source){.kind = CONF_FROM_FILE,
                                .name = r->file,
                                .line = (unsigned)mark.line + 1,
                                .column = (unsigned)mark.column + 1};
}

#define fail_at(r, mark, key, ...)                                                                 \
    ({                                                                                             \
        struct conf_source fail_src = source_at((r), (mark));                                      \
        conf_source_fail(&fail_src, (key), (r)->err, __VA_ARGS__);                                 \
    })

/* Line and column of a byte: for invalid bytes libyaml reports only the offset. */
static yaml_mark_t mark_of_offset(const struct reader *r, size_t off)
{
    yaml_mark_t mark = {0};

    for (size_t i = 0; i < off && i < r->len; i++) {
        unsigned char c = (unsigned char)r->text[i];

        if (c == '\n') {
            mark.line++;
            mark.column = 0;
        } else if ((c & 0xc0) != 0x80) {
            mark.column++;
        }
    }
    return mark;
}

static int fail_syntax(const struct reader *r)
{
    const yaml_parser_t *p = &r->parser;

    if (p->error == YAML_MEMORY_ERROR)
        return err_set(r->err, ENOMEM, "out of memory");
    if (p->error == YAML_READER_ERROR)
        return fail_at(r, mark_of_offset(r, p->problem_offset), NULL, "not UTF-8 text: %s",
                       p->problem);
    return fail_at(r, p->problem_mark, NULL, "not YAML: %s", p->problem);
}

/* What makes an event invalid in our files, in words; NULL if it is valid. */
static const char *refused_form(const yaml_event_t *ev)
{
    const yaml_char_t *anchor = NULL, *tag = NULL;

    switch (ev->type) {
    case YAML_ALIAS_EVENT:
        return "an alias";
    case YAML_SEQUENCE_START_EVENT:
        return "a list";
    case YAML_SCALAR_EVENT:
        anchor = ev->data.scalar.anchor;
        tag = ev->data.scalar.tag;
        break;
    case YAML_MAPPING_START_EVENT:
        anchor = ev->data.mapping_start.anchor;
        tag = ev->data.mapping_start.tag;
        break;
    default:
        break;
    }
    return anchor ? "an anchor" : tag ? "a tag" : NULL;
}

/* The next event. `name` (may be NULL) and `expected` are for the error line. */
static int next_event(struct reader *r, yaml_event_t *ev, const char *name, const char *expected)
{
    const char *what;

    if (!yaml_parser_parse(&r->parser, ev))
        return fail_syntax(r);
    what = refused_form(ev);
    if (what)
        return fail_at(r, ev->start_mark, name, "%s, expected %s", what, expected);
    return 0;
}

static bool has_nul(const yaml_event_t *ev)
{
    return memchr(ev->data.scalar.value, '\0', ev->data.scalar.length) != NULL;
}

static const char *scalar(const yaml_event_t *ev)
{
    return (const char *)ev->data.scalar.value;
}

/* No value, ~ or null, without quotes. */
static bool is_nothing(const yaml_event_t *ev)
{
    return ev->type == YAML_SCALAR_EVENT && ev->data.scalar.style == YAML_PLAIN_SCALAR_STYLE &&
           (*scalar(ev) == '\0' || strcmp(scalar(ev), "~") == 0 ||
            strcasecmp(scalar(ev), "null") == 0);
}

/* "section.key" for look-up and messages. A name that cannot be known is shown as "?" or is cut. */
static void full_name(const char *section, const yaml_event_t *key, char out[CONF_KEY_NAME_MAX])
{
    int n = snprintf(out, CONF_KEY_NAME_MAX, "%s%s%s%s", section, *section ? "." : "", scalar(key),
                     has_nul(key) ? "?" : "");

    for (char *p = out; *p; p++) {
        if (*p < 0x20 || *p >= 0x7f)
            *p = '?';
    }
    if (n >= CONF_KEY_NAME_MAX)
        memcpy(out + CONF_KEY_NAME_MAX - 4, "...", 4);
}

static int fail_unknown(struct reader *r, const yaml_event_t *ev, const char *name)
{
    const char *last = strrchr(name, '.') ? strrchr(name, '.') + 1 : name;
    struct conf_suggest near;

    conf_suggest_init(&near, name);
    for (size_t i = 0; i < conf_n_keys; i++) {
        const struct conf_key *key = &conf_keys[i];
        char section[CONF_KEY_NAME_MAX];

        conf_suggest_offer(&near, key->name);
        snprintf(section, sizeof(section), "%.*s", (int)conf_key_section_len(key), key->name);
        conf_suggest_offer(&near, section);
        if (strcmp(conf_key_last(key), last) == 0)
            conf_suggest_offer_at(&near, key->name, 1);
    }
    if (*near.best)
        return fail_at(r, ev->start_mark, name, "unknown key, did you mean %s?", near.best);
    return fail_at(r, ev->start_mark, name, "unknown key, expected one that --help lists");
}

/* Notes that a key or section was given; -EINVAL if it was given before. */
static int mark_seen(struct reader *r, struct seen *seen, const yaml_event_t *ev, const char *name)
{
    if (seen->line)
        return fail_at(r, ev->start_mark, name, "duplicate key, first given at %u:%u", seen->line,
                       seen->column);
    seen->line = (unsigned)ev->start_mark.line + 1;
    seen->column = (unsigned)ev->start_mark.column + 1;
    return 0;
}

static int fail_secret(struct reader *r, const yaml_event_t *ev, const struct conf_key *key)
{
    char own[CONF_ENV_NAME_MAX];

    return fail_at(r, ev->start_mark, key->name,
                   "secrets are not read from a file, expected the environment variable %s",
                   conf_key_env(key, 0, own));
}

static int take_value(struct reader *r, const struct conf_key *key, const yaml_event_t *ev)
{
    char expected[CONF_EXPECTED_MAX];
    struct conf_source src = source_at(r, ev->start_mark);

    conf_key_expected(key, expected);
    if (ev->type != YAML_SCALAR_EVENT)
        return fail_at(r, ev->start_mark, key->name, "keys and values, expected %s", expected);
    if (is_nothing(ev))
        return fail_at(r, ev->start_mark, key->name, "no value, expected %s", expected);
    if (has_nul(ev))
        return fail_at(r, ev->start_mark, key->name, "a NUL character, expected %s", expected);
    return conf_set(r->conf, key, scalar(ev), &src, r->err);
}

static int read_value(struct reader *r, const struct conf_key *key)
{
    cleanup_event yaml_event_t ev = {0};
    char expected[CONF_EXPECTED_MAX];
    int n;

    conf_key_expected(key, expected);
    n = next_event(r, &ev, key->name, expected);
    return n < 0 ? n : take_value(r, key, &ev);
}

static int read_mapping(struct reader *r, const char *section);

/* The value of a section: keys and values, or nothing; or that of the key with the same name. */
static int read_section(struct reader *r, const char *name, const yaml_event_t *name_ev)
{
    cleanup_event yaml_event_t ev = {0};
    const struct conf_key *key = conf_key_find(name);
    size_t first = 0;
    int n;

    while (conf_key_section_len(&conf_keys[first]) != strlen(name) ||
           strncmp(conf_keys[first].name, name, strlen(name)) != 0)
        first++;
    n = mark_seen(r, &r->sections[first], name_ev, name);
    if (n < 0)
        return n;
    n = next_event(r, &ev, name, "keys and values");
    if (n < 0)
        return n;
    if (ev.type == YAML_MAPPING_START_EVENT)
        return read_mapping(r, name);
    if (key)
        return take_value(r, key, &ev);
    if (is_nothing(&ev))
        return 0;
    return fail_at(r, ev.start_mark, name, "text, expected keys and values");
}

static int read_pair(struct reader *r, const char *section, const yaml_event_t *ev)
{
    char name[CONF_KEY_NAME_MAX];
    const struct conf_key *key;
    int n;

    full_name(section, ev, name);
    if (*section == '\0' && conf_key_is_section(name))
        return read_section(r, name, ev);
    key = conf_key_find(name);
    if (!key)
        return fail_unknown(r, ev, name);
    if (key->type == CONF_SECRET)
        return fail_secret(r, ev, key);
    n = mark_seen(r, &r->keys[key - conf_keys], ev, name);
    return n < 0 ? n : read_value(r, key);
}

/* Keys and values up to the end of a mapping. At most two levels: a section contains no
 * sections. */
static int read_mapping(struct reader *r, const char *section)
{
    for (;;) {
        cleanup_event yaml_event_t ev = {0};
        const char *name = *section ? section : NULL;
        int n = next_event(r, &ev, name, "a key");

        if (n < 0)
            return n;
        if (ev.type == YAML_MAPPING_END_EVENT)
            return 0;
        if (ev.type != YAML_SCALAR_EVENT)
            return fail_at(r, ev.start_mark, name, "keys and values, expected a key");
        n = read_pair(r, section, &ev);
        if (n < 0)
            return n;
    }
}

static int read_root(struct reader *r)
{
    cleanup_event yaml_event_t ev = {0};
    int n = next_event(r, &ev, NULL, "keys and values");

    if (n < 0)
        return n;
    if (ev.type == YAML_MAPPING_START_EVENT)
        return read_mapping(r, "");
    if (is_nothing(&ev))
        return 0;
    return fail_at(r, ev.start_mark, NULL, "text, expected keys and values");
}

/* One document, or none at all. */
static int read_stream(struct reader *r)
{
    for (unsigned documents = 0;;) {
        cleanup_event yaml_event_t ev = {0};
        int n = next_event(r, &ev, NULL, "keys and values");

        if (n < 0)
            return n;
        if (ev.type == YAML_STREAM_END_EVENT)
            return 0;
        if (ev.type != YAML_DOCUMENT_START_EVENT)
            continue;
        if (documents++ > 0)
            return fail_at(r, ev.start_mark, NULL, "a second document, expected one");
        if (ev.data.document_start.tag_directives.start !=
            ev.data.document_start.tag_directives.end)
            return fail_at(r, ev.start_mark, NULL, "a %%TAG directive, expected keys and values");
        n = read_root(r);
        if (n < 0)
            return n;
    }
}

int conf_yaml_apply_text(struct conf *conf, const char *file, const char *text, size_t len,
                         struct err *err)
{
    struct reader r = {.conf = conf, .file = file, .text = text, .len = len, .err = err};
    int n;

    if (len >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) {
        r.text += 3; /* a byte order mark */
        r.len -= 3;
    }
    if (!yaml_parser_initialize(&r.parser))
        return err_set(err, ENOMEM, "out of memory");
    yaml_parser_set_encoding(&r.parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&r.parser, (const unsigned char *)r.text, r.len);
    n = read_stream(&r);
    yaml_parser_delete(&r.parser);
    return n;
}

int conf_yaml_apply(struct conf *conf, const char *file, struct err *err)
{
    cleanup_free char *text = malloc(CONF_FILE_MAX + 1);
    const char *dots, *name = conf_source_file(file, &dots);
    ssize_t len;

    if (!text)
        return err_set(err, ENOMEM, "out of memory");
    len = fd_read_file(file, text, CONF_FILE_MAX + 1);
    if (len == -EFBIG)
        return err_set(err, EFBIG, "%s%s: too large, expected at most %d KiB", dots, name,
                       CONF_FILE_MAX / 1024);
    if (len < 0)
        return err_set(err, (int)-len, "%s%s: %s", dots, name, strerror((int)-len));
    return conf_yaml_apply_text(conf, file, text, (size_t)len, err);
}
