/* The S3 key that a request names: the configured prefix, a slash, and what the client sent,
 * byte for byte. */
#ifndef WORKERS_CONNECTOR_CON_KEY_H
#define WORKERS_CONNECTOR_CON_KEY_H

#include "workers/op/key.h"

struct con_key {
    char full[KEY_CAP];
    size_t prefix; /* bytes of it that the client does not know of */
};

/* 0; -ENAMETOOLONG. The text has no NUL inside. */
must_use int con_key_set(const struct worker *w, const char *text, size_t len, struct con_key *ret);

/* The key as the client knows it. */
static inline const char *con_key_name(const struct con_key *k)
{
    return k->full + k->prefix;
}

#endif
