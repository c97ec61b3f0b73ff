/* Stores one value: converts text to a field of struct conf and notes its origin. */
#ifndef CONF_CONF_SET_H
#define CONF_CONF_SET_H

#include <stdbool.h>

#include "conf/conf.h"
#include "conf/conf_keys.h"
#include "conf/conf_source.h"

/* The origin of every key, in the order of conf_keys. */
struct conf_origins {
    struct conf_origin {
        char *text; /* conf_source_text, owned; NULL = never set */
        enum conf_source_kind kind;
        bool automatic; /* "auto": the field is 0 or NULL until the value is determined */
    } of[CONF_N_KEYS_MAX];
};

/* Checks `text` by the rules of `key` and stores it, replacing any earlier value. 0, or -EINVAL,
 * -ENOMEM with *err filled. */
must_use int conf_set(struct conf *conf, const struct conf_key *key, const char *text,
                      const struct conf_source *src, struct err *err);

/* Stores a string that was derived rather than written; the origin stays. 0 or -ENOMEM. */
must_use int conf_set_string(struct conf *conf, const struct conf_key *key, const char *text);

/* Frees the value of a string or secret and makes it NULL. Does nothing for other types. */
void conf_unset(struct conf *conf, const struct conf_key *key);

/* Fills *err with an error about the present value of `key`. Returns -EINVAL. */
int conf_set_fail(const struct conf *conf, const struct conf_key *key, struct err *err,
                  const char *fmt, ...) __attribute__((format(printf, 4, 5)));

void *conf_field(const struct conf *conf, const struct conf_key *key);
struct conf_origin *conf_origin_of(const struct conf *conf, const struct conf_key *key);

#endif
