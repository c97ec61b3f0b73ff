/* jansson's values, compared with the configuration. creds_json.c bounds size and depth. */
#include "daemon/driver_message.h"

#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include <jansson.h>

#include "creds/creds_job.h"
#include "creds/creds_json.h"

#define NAME_SHOWN 40
#define PREFIX_SHOWN 80

/* The members of a protocol; NULL = it has none of the kind. `prefix`: the option that names
 * one. */
struct form {
    const char *options, *env, *prefix;
};

static const struct form *form_of(const struct conf *conf)
{
    static const struct form forms[] = {
        [CONF_FD_META_FUSE] = {NULL, NULL, NULL},
        [CONF_FD_GCSFUSE] = {"options", NULL, "only-dir"},
        [CONF_FD_MOUNTPOINT] = {"args", "env", "prefix"},
    };

    return &forms[conf->mount.fd_protocol];
}

/* A member that is a string, or "". */
static int text_of(const json_t *json, const char *name, const char **ret, struct err *err)
{
    const json_t *value = json_object_get(json, name);

    if (value && !json_is_null(value) && !json_is_string(value))
        return err_set(err, EINVAL, "its %s is not a string", name);
    *ret = creds_json_text(json, name);
    return 0;
}

static int compare_bucket(const struct conf *conf, const json_t *json, struct err *err)
{
    const char *bucket;
    int r = text_of(json, "bucketName", &bucket, err);

    if (r < 0 || !*bucket || strcmp(bucket, conf->bucket) == 0)
        return r;
    return err_set(err, EXDEV,
                   "the volume is of bucket \"%.80s\", but this daemon is configured for bucket "
                   "\"%.80s\": change bucket (STATE_BUCKET), or the volume",
                   bucket, conf->bucket);
}

/* "--prefix=a/", "prefix: a/", "--prefix a/": the name is "prefix", and the value "a/". */
struct option {
    const char *name, *value; /* value: NULL = none, which is not the same as an empty one */
    size_t name_len;
};

#define BLANKS " \t"

static struct option split(const char *word)
{
    struct option o = {.name = word + strspn(word, BLANKS "-")};
    const char *rest;

    o.name_len = strcspn(o.name, "=:" BLANKS);
    rest = o.name + o.name_len;
    rest += strspn(rest, BLANKS);
    if (*rest == '=' || *rest == ':') {
        rest++;
        o.value = rest + strspn(rest, BLANKS);
    } else if (*rest) {
        o.value = rest;
    }
    return o;
}

static bool option_is(const struct option *o, const char *name)
{
    return name && o->name_len == strlen(name) && memcmp(o->name, name, o->name_len) == 0;
}

/* A prefix with or without slashes at its ends, against one without. */
static int compare_prefix(const struct conf *conf, const struct option *o, struct err *err)
{
    const char *value = o->value;
    size_t len; /* of the value */

    if (!value)
        return err_set(err, EINVAL,
                       "the option %.*s has no value: write %.*s=... as one word, or leave it out",
                       (int)o->name_len, o->name, (int)o->name_len, o->name);
    value += strspn(value, "/");
    len = strlen(value);
    while (len && value[len - 1] == '/')
        len--;
    if (len == strlen(conf->prefix) && memcmp(value, conf->prefix, len) == 0)
        return 0;
    return err_set(err, EXDEV,
                   "the volume is of prefix \"%.*s\", but this daemon is configured for prefix "
                   "\"%.80s\": change prefix (STATE_PREFIX), or the volume",
                   len < PREFIX_SHOWN ? (int)len : PREFIX_SHOWN, value, conf->prefix);
}

/* The name alone, and of that what can be nothing else. */
static void add_ignored(const struct option *o, char ignored[DRIVER_IGNORED_MAX])
{
    size_t n = strlen(ignored), shown = 0;

    while (shown < o->name_len && shown < NAME_SHOWN &&
           (isalnum((unsigned char)o->name[shown]) || strchr("-_", o->name[shown])))
        shown++;
    if (!shown || n + shown + sizeof(",...") > DRIVER_IGNORED_MAX) {
        if (n + sizeof("...") <= DRIVER_IGNORED_MAX && (n < 3 || strcmp(ignored + n - 3, "...")))
            strcat(ignored, "...");
        return;
    }
    snprintf(ignored + n, DRIVER_IGNORED_MAX - n, "%s%.*s", n ? "," : "", (int)shown, o->name);
}

/* A list of words. `prefix`: the name of the one that is compared; NULL = none. */
static int check_words(const struct conf *conf, const json_t *json, const char *name,
                       const char *prefix, char ignored[DRIVER_IGNORED_MAX], struct err *err)
{
    const json_t *list = name ? json_object_get(json, name) : NULL;
    size_t n = json_array_size(list);
    int r = 0;

    if (!list || json_is_null(list))
        return 0;
    if (!json_is_array(list))
        return err_set(err, EINVAL, "its %s is not a list", name);
    if (n > DRIVER_WORDS_MAX)
        return err_set(err, EINVAL, "its %s has more than %d members", name, DRIVER_WORDS_MAX);
    for (size_t i = 0; r == 0 && i < n; i++) {
        const char *word = json_string_value(json_array_get(list, i));
        struct option o;

        if (!word)
            return err_set(err, EINVAL, "its %s has a member that is not a string", name);
        o = split(word);
        if (option_is(&o, prefix))
            r = compare_prefix(conf, &o, err);
        else
            add_ignored(&o, ignored);
    }
    return r;
}

int driver_message_check(const struct conf *conf, const char *text, size_t len,
                         char ignored[DRIVER_IGNORED_MAX], struct err *err)
{
    const struct form *form = form_of(conf);
    cleanup_json json_t *json = NULL;
    const char *volume;
    int r = creds_json_parse(text, len, &json, err);

    ignored[0] = '\0';
    if (r == 0)
        r = text_of(json, "volumeName", &volume, err);
    if (r == 0)
        r = compare_bucket(conf, json, err);
    if (r == 0)
        r = check_words(conf, json, form->options, form->prefix, ignored, err);
    if (r == 0)
        r = check_words(conf, json, form->env, NULL, ignored, err);
    if (r < 0 && err)
        creds_clean(err->text); /* it quotes the message */
    return r;
}
