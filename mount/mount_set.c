/* Keys by the names of options. What values mean is checked by conf_load, not here;
 * mount_options.c knows the options that are no keys. */
#include "mount/mount_set.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conf/conf_keys.h"
#include "conf/conf_suggest.h"

#define NAME_SHOWN 64

/* Keys that the first and the second argument set. */
static const char *const positional[] = {"bucket", "prefix", "mount.path", "mount.source"};

static int no_memory(struct err *err)
{
    return err_set(err, ENOMEM, "out of memory");
}

static int set_env(const struct conf_key *key, const char *value, struct err *err)
{
    char own[CONF_ENV_NAME_MAX];
    const char *name;

    for (unsigned i = 0; (name = conf_key_env(key, i, own)); i++) {
        if (unsetenv(name) < 0)
            return no_memory(err);
    }
    conf_key_own_env(key, own);
    return setenv(own, value, 1) < 0 ? no_memory(err) : 0;
}

int mount_set_key(const char *name, const char *value, struct err *err)
{
    const struct conf_key *key = conf_key_find(name);

    assert(key); /* a literal of this program */
    return set_env(key, value, err);
}

/* The one key that has this name, or this last part of a name. */
static int find_key(const char *name, const struct conf_key **ret_key, struct err *err)
{
    const struct conf_key *found = conf_key_find(name);
    struct conf_suggest near;

    if (found) {
        *ret_key = found;
        return 0;
    }
    conf_suggest_init(&near, name);
    for (size_t i = 0; i < conf_n_keys; i++) {
        const char *last = conf_key_last(&conf_keys[i]);

        conf_suggest_offer(&near, conf_keys[i].name);
        conf_suggest_offer(&near, last);
        if (strcmp(last, name) != 0)
            continue;
        if (found)
            return err_set(err, ENOENT, "option \"%s\" means %s or %s: write the whole name", name,
                           found->name, conf_keys[i].name);
        found = &conf_keys[i];
    }
    if (!found && *near.best)
        return err_set(err, ENOENT, "unknown option \"%.*s\", did you mean \"%s\"?", NAME_SHOWN,
                       name, near.best);
    if (!found)
        return err_set(err, ENOENT, "unknown option \"%.*s\"", NAME_SHOWN, name);
    *ret_key = found;
    return 0;
}

static int check_settable(const struct conf_key *key, struct err *err)
{
    for (size_t i = 0; i < sizeof(positional) / sizeof(positional[0]); i++) {
        if (strcmp(key->name, positional[i]) == 0)
            return err_set(err, EACCES,
                           "option \"%s\": the first two arguments say that, BUCKET/PREFIX and the "
                           "mount point",
                           key->name);
    }
    if (key->type == CONF_SECRET)
        return err_set(err, EACCES,
                       "option \"%s\": everybody can read fstab and the arguments of programs; "
                       "name a file with credentials_file=",
                       key->name);
    return 0;
}

int mount_set(const char *name, const char *value, struct err *err)
{
    char plain[CONF_KEY_NAME_MAX];
    const struct conf_key *key = NULL;
    int r;

    if (snprintf(plain, sizeof(plain), "%s", name) >= (int)sizeof(plain))
        return err_set(err, ENOENT, "unknown option \"%.*s...\"", NAME_SHOWN, name);
    for (char *p = plain; *p; p++)
        *p = *p == '-' ? '_' : *p;
    r = find_key(plain, &key, err);
    if (r == 0)
        r = check_settable(key, err);
    if (r < 0)
        return r;
    if (!value && key->type != CONF_BOOL)
        return err_set(err, EINVAL, "option \"%s\" needs a value: %s=...", name, name);
    return set_env(key, value ? value : "true", err);
}
