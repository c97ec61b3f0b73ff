/* Environment variables: for each key the names in its row of the table, the first that is set
 * counts. Unknown names that begin with STATEPROXY_ are refused. */
#include "conf/conf_env.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <sodium.h>

#include "base/fd.h"
#include "conf/conf.h"
#include "conf/conf_keys.h"
#include "conf/conf_set.h"
#include "conf/conf_suggest.h"

#define OWN_PREFIX "STATEPROXY_"

const char *conf_env_get(char *const *env, const char *name)
{
    size_t n = strlen(name);

    for (; env && *env; env++) {
        if (strncmp(*env, name, n) == 0 && (*env)[n] == '=')
            return *env + n + 1;
    }
    return NULL;
}

/* ---- names of other programs' ---- */

/* Length of "STATE_" in STATE_BUCKET; 0 for a name whose neighbours mean something: AWS_... */
static size_t family_len(const char *name)
{
    const char *end = strchr(name, '_');

    return end && strncmp(name, "AWS_", 4) != 0 ? (size_t)(end - name) + 1 : 0;
}

/* What may be meant by `name`, NULL if it is one of ours, or like none. */
static const char *meant_by(const char *name)
{
    size_t family = family_len(name);
    struct conf_suggest near;
    const char *ret = NULL;

    conf_suggest_init(&near, name + family);
    for (size_t i = 0; family && i < conf_n_keys; i++) {
        for (unsigned n = 0; n < CONF_N_ENV && conf_keys[i].env[n]; n++) {
            const char *known = conf_keys[i].env[n];

            if (strcmp(known, name) == 0)
                return NULL;
            if (strncmp(known, name, family) != 0)
                continue;
            conf_suggest_offer(&near, known + family);
            if (strcmp(near.best, known + family) == 0)
                ret = known;
        }
    }
    return ret;
}

bool conf_env_next_doubt(char *const **env, struct conf_env_doubt *ret)
{
    for (; **env; ++*env) {
        const char *value = strchr(**env, '=');
        size_t n = value ? (size_t)(value - **env) : 0;

        if (n == 0 || n >= sizeof(ret->name))
            continue;
        memcpy(ret->name, **env, n);
        ret->name[n] = '\0';
        ret->meant = meant_by(ret->name);
        if (ret->meant) {
            ++*env;
            return true;
        }
    }
    return false;
}

/* ---- our own names ---- */

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);

    return n >= m && strcmp(text + n - m, end) == 0;
}

/* Variables that Kubernetes sets in each pod of a namespace with a service called stateproxy or
 * stateproxy-x: ..._SERVICE_HOST, ..._SERVICE_PORT[_NAME], ..._PORT=tcp://...,
 * ..._PORT_80_TCP[_PROTO|_PORT|_ADDR]. */
static bool is_service_link(const char *name, const char *value)
{
    const char *port;

    if (ends_with(name, "_SERVICE_HOST") || strstr(name, "_SERVICE_PORT"))
        return true;
    if (ends_with(name, "_PORT") && strstr(value, "://"))
        return true;
    for (port = name; (port = strstr(port, "_PORT_")); port++) {
        const char *p = port + strlen("_PORT_");
        size_t digits = strspn(p, "0123456789");

        p += digits;
        if (digits && (strncmp(p, "_TCP", 4) == 0 || strncmp(p, "_UDP", 4) == 0 ||
                       strncmp(p, "_SCTP", 5) == 0))
            return true;
    }
    return false;
}

/* 0 if `name` is the STATEPROXY_ name of a key, else -EINVAL, and *err suggests the nearest one. */
static int check_own_name(const char *name, struct err *err)
{
    char own[CONF_ENV_NAME_MAX];
    struct conf_suggest near;

    conf_suggest_init(&near, name);
    for (size_t i = 0; i < conf_n_keys; i++) {
        conf_key_own_env(&conf_keys[i], own);
        if (strcmp(name, own) == 0)
            return 0;
        conf_suggest_offer(&near, own);
    }
    if (*near.best)
        return err_set(err, EINVAL, "environment %.*s: unknown name, did you mean %s?",
                       CONF_ENV_SHOWN, name, near.best);
    return err_set(err, EINVAL,
                   "environment %.*s: unknown name, expected one that --help "
                   "lists",
                   CONF_ENV_SHOWN, name);
}

static int check_names(char *const *env, struct err *err)
{
    for (; *env; env++) {
        const char *value = strchr(*env, '=');
        char name[128];
        int r;

        if (!value || strncmp(*env, OWN_PREFIX, strlen(OWN_PREFIX)) != 0)
            continue;
        snprintf(name, sizeof(name), "%.*s", (int)(value - *env), *env);
        if (is_service_link(name, value + 1))
            continue;
        r = check_own_name(name, err);
        if (r < 0)
            return r;
    }
    return 0;
}

static int apply_key(struct conf *conf, const struct conf_key *key, char *const *env,
                     struct err *err)
{
    char own[CONF_ENV_NAME_MAX];
    const char *name;

    for (unsigned i = 0; (name = conf_key_env(key, i, own)); i++) {
        const char *value = conf_env_get(env, name);
        struct conf_source src = {.kind = CONF_FROM_ENV, .name = name};

        if (!value || (*value == '\0' && strncmp(name, "AWS_", 4) == 0))
            continue;
        return conf_set(conf, key, value, &src, err);
    }
    return 0;
}

int conf_env_apply(struct conf *conf, char *const *env, struct err *err)
{
    int r;

    if (!env)
        return 0;
    r = check_names(env, err);
    for (size_t i = 0; r == 0 && i < conf_n_keys; i++)
        r = apply_key(conf, &conf_keys[i], env, err);
    return r;
}

/* ---- secrets ---- */

/* "NAME=value" of this name. */
static bool is_named(const char *entry, const char *name)
{
    size_t n = strlen(name);

    return strncmp(entry, name, n) == 0 && entry[n] == '=';
}

static bool is_secret(const char *entry)
{
    char own[CONF_ENV_NAME_MAX];
    const char *name;

    for (size_t i = 0; i < conf_n_keys; i++) {
        if (conf_keys[i].type != CONF_SECRET)
            continue;
        for (unsigned n = 0; (name = conf_key_env(&conf_keys[i], n, own)); n++) {
            if (is_named(entry, name))
                return true;
        }
    }
    return false;
}

void conf_wipe_env(char **env)
{
    char **to = env;

    for (; *env; env++) {
        if (is_secret(*env))
            sodium_memzero(strchr(*env, '='), strlen(strchr(*env, '=')));
        else
            *to++ = *env;
    }
    *to = NULL;
}

/* Secrets come from the environment alone: any name of the key means the same. */
int conf_write_secrets(const struct conf *conf, int fd)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < conf_n_keys; i++) {
        const struct conf_key *key = &conf_keys[i];
        const char *value = key->type == CONF_SECRET ? *(char **)conf_field(conf, key) : NULL;
        char own[CONF_ENV_NAME_MAX];

        if (!value)
            continue;
        conf_key_own_env(key, own);
        r = fd_write_full(fd, own, strlen(own));
        if (r == 0)
            r = fd_write_full(fd, "=", 1);
        if (r == 0)
            r = fd_write_full(fd, value, strlen(value) + 1);
    }
    return r;
}
