/* The shared files as a list of entries. Sections: "[x]" in the credentials file; "[default]",
 * "[profile x]" and "[sso-session x]" in the config file, any other there is another program's. */
#include "creds/creds_shared.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "creds/creds_ini.h"

struct shared_entry {
    enum creds_section kind;
    bool credentials_file;
    bool plain_default; /* of "[default]": "[profile default]" comes before it */
    const char *name, *key, *value;
};

struct creds_shared {
    struct creds_bytes text[2]; /* config, credentials */
    struct shared_entry *entries;
    size_t n, cap;
    bool credentials_file; /* the one being read */
};

bool creds_shared_path(const struct creds_conf *conf, const char *name, char *out, size_t cap)
{
    int n;

    if (!creds_given(conf->home))
        return false;
    n = snprintf(out, cap, "%s/.aws/%s", conf->home, name);
    return n > 0 && (size_t)n < cap;
}

/* What follows "word " in a section's name, without quotes; NULL if it is another section. */
static const char *after_word(const char *section, const char *word)
{
    size_t len = strlen(word), n;
    char *name;

    if (strncmp(section, word, len) != 0 || !strchr(" \t", section[len]) || !section[len])
        return NULL;
    name = (char *)(uintptr_t)section + len;
    name += strspn(name, " \t");
    n = strlen(name);
    if (n >= 2 && (*name == '"' || *name == '\'') && name[n - 1] == *name) {
        name[n - 1] = '\0';
        name++;
    }
    return *name ? name : NULL;
}

/* False: it is no section of ours. */
static bool name_section(const struct creds_shared *s, const char *section,
                         struct shared_entry *ret)
{
    const char *name;

    if (s->credentials_file) {
        ret->name = section;
    } else if (strcmp(section, "default") == 0) {
        ret->name = section;
        ret->plain_default = true;
    } else if ((name = after_word(section, "profile"))) {
        ret->name = name;
    } else if ((name = after_word(section, "sso-session"))) {
        ret->name = name;
        ret->kind = CREDS_SSO_SESSION;
    } else {
        return false;
    }
    return true;
}

static int on_entry(void *arg, const char *section, const char *key, const char *value)
{
    struct creds_shared *s = arg;
    struct shared_entry e = {.credentials_file = s->credentials_file, .key = key, .value = value};

    /* The section's own entry names it; those below it have the same, which quotes were cut off. */
    if (!*key) {
        if (!name_section(s, section, &e))
            e.name = NULL;
    } else if (s->n > 0) {
        struct shared_entry *last = &s->entries[s->n - 1];

        e.kind = last->kind;
        e.name = last->name;
        e.plain_default = last->plain_default;
    }
    if (s->n == s->cap) {
        size_t cap = s->cap ? 2 * s->cap : 64;
        struct shared_entry *more = reallocarray(s->entries, cap, sizeof(*more));

        if (!more)
            return -ENOMEM;
        s->entries = more;
        s->cap = cap;
    }
    s->entries[s->n++] = e;
    return 0;
}

static int read_one(struct creds_shared *s, const struct creds_conf *conf, bool credentials_file,
                    struct err *err)
{
    const char *given = credentials_file ? conf->credentials_file : conf->config_file;
    const char *what = credentials_file ? "credentials file" : "config file";
    const char *path = given;
    char own[PATH_MAX];
    struct creds_bytes *text = &s->text[credentials_file];
    int r;

    if (!creds_given(given)) {
        if (!creds_shared_path(conf, credentials_file ? "credentials" : "config", own, sizeof(own)))
            return 0;
        path = own;
    }
    r = creds_file(path, what, CREDS_INI_SIZE_MAX, text, err);
    if (r == -ENOENT && !creds_given(given))
        return 0;
    if (r == -ENOENT && err)
        err->code = EINVAL;
    if (r < 0)
        return r == -ENOENT ? -EINVAL : r;
    s->credentials_file = credentials_file;
    r = creds_ini_parse(text->data, on_entry, s, err);
    if (r == -EINVAL)
        return err_prefix(err, "%s %s", what, path);
    return r < 0 ? err_set(err, ENOMEM, "out of memory") : 0;
}

int creds_shared_read(const struct creds_conf *conf, struct creds_shared **ret, struct err *err)
{
    struct creds_shared *s = calloc(1, sizeof(*s));
    int r;

    if (!s)
        return err_set(err, ENOMEM, "out of memory");
    r = read_one(s, conf, false, err);
    if (r == 0)
        r = read_one(s, conf, true, err);
    if (r < 0) {
        creds_shared_free(s);
        return r;
    }
    *ret = s;
    return 0;
}

void creds_shared_free(struct creds_shared *s)
{
    if (!s)
        return;
    creds_bytes_done(&s->text[0]);
    creds_bytes_done(&s->text[1]);
    free(s->entries);
    free(s);
}

static bool is_of(const struct shared_entry *e, enum creds_section kind, const char *name)
{
    return e->name && e->kind == kind && strcmp(e->name, name) == 0;
}

bool creds_shared_has(const struct creds_shared *s, enum creds_section kind, const char *name)
{
    for (size_t i = 0; i < s->n; i++) {
        if (is_of(&s->entries[i], kind, name))
            return true;
    }
    return false;
}

/* The later one of two; but "[profile default]" before "[default]". */
static const char *find(const struct creds_shared *s, enum creds_section kind,
                        bool credentials_file, const char *name, const char *key)
{
    const struct shared_entry *found = NULL;

    for (size_t i = 0; i < s->n; i++) {
        const struct shared_entry *e = &s->entries[i];

        if (e->credentials_file == credentials_file && is_of(e, kind, name) &&
            strcmp(e->key, key) == 0 && (!found || found->plain_default || !e->plain_default))
            found = e;
    }
    return found ? found->value : "";
}

const char *creds_shared_get(const struct creds_shared *s, enum creds_section kind,
                             const char *name, const char *key)
{
    const char *value = find(s, kind, true, name, key);

    return *value ? value : find(s, kind, false, name, key);
}

const char *creds_shared_get_of(const struct creds_shared *s, bool credentials_file,
                                const char *name, const char *key)
{
    return find(s, CREDS_PROFILE, credentials_file, name, key);
}

bool creds_shared_names(const struct creds_shared *s, const char *key, const char *value)
{
    for (size_t i = 0; i < s->n; i++) {
        if (s->entries[i].name && strcmp(s->entries[i].key, key) == 0 &&
            strcmp(s->entries[i].value, value) == 0)
            return true;
    }
    return false;
}
