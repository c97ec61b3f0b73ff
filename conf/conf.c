/* Builds a struct conf: defaults, file, environment, then the rules over several keys. The steps
 * themselves are in conf_yaml.c, conf_env.c, conf_set.c and conf_finish.c. */
#include "conf/conf.h"

#include <errno.h>
#include <sodium.h>
#include <stdlib.h>

#include "conf/conf_env.h"
#include "conf/conf_finish.h"
#include "conf/conf_keys.h"
#include "conf/conf_set.h"
#include "conf/conf_yaml.h"

static int apply_defaults(struct conf *conf, struct err *err)
{
    static const struct conf_source src = {.kind = CONF_FROM_DEFAULT};

    for (size_t i = 0; i < conf_n_keys; i++) {
        const struct conf_key *key = &conf_keys[i];
        const char *text = key->automatic ? "auto" : key->def;
        int r = text ? conf_set(conf, key, text, &src, err) : 0;

        if (r < 0)
            return r;
    }
    return 0;
}

static int fill(struct conf *conf, const char *file, char *const *env, struct err *err)
{
    int r = apply_defaults(conf, err);

    if (r == 0 && file)
        r = conf_yaml_apply(conf, file, err);
    if (r == 0)
        r = conf_env_apply(conf, env, err);
    if (r == 0)
        r = conf_finish(conf, env, err);
    return r;
}

int conf_load(const char *file, char *const *env, struct conf **ret_conf, struct err *err)
{
    struct conf *conf;
    int r;

    if (sodium_init() < 0)
        return err_set(err, EIO, "libsodium cannot start");
    conf = calloc(1, sizeof(*conf));
    if (!conf)
        return err_set(err, ENOMEM, "out of memory");
    conf->origins = calloc(1, sizeof(*conf->origins));
    r = conf->origins ? fill(conf, file, env, err) : err_set(err, ENOMEM, "out of memory");
    if (r < 0) {
        conf_free(conf);
        return r;
    }
    *ret_conf = conf;
    return 0;
}

void conf_free(struct conf *conf)
{
    if (!conf)
        return;
    for (size_t i = 0; i < conf_n_keys; i++) {
        conf_unset(conf, &conf_keys[i]);
        if (conf->origins)
            free(conf->origins->of[i].text);
    }
    free(conf->origins);
    free(conf);
}

void conf_forget_secrets(struct conf *conf)
{
    for (size_t i = 0; i < conf_n_keys; i++) {
        if (conf_keys[i].type == CONF_SECRET && !conf_keys[i].for_workers)
            conf_unset(conf, &conf_keys[i]);
    }
}

const char *conf_origin(const struct conf *conf, const char *key)
{
    const struct conf_key *k = conf_key_find(key);
    const struct conf_origin *origin = k ? conf_origin_of(conf, k) : NULL;

    if (!origin)
        return NULL;
    return origin->text ? origin->text : "default";
}
