/* See con_key.h. */
#include "workers/connector/con_key.h"

#include <errno.h>
#include <string.h>

int con_key_set(const struct worker *w, const char *text, size_t len, struct con_key *ret)
{
    const char *prefix = w->conf->prefix;
    size_t n = strlen(prefix), slash = n ? 1 : 0;

    if (n + slash + len >= KEY_CAP)
        return -ENAMETOOLONG;
    memcpy(ret->full, prefix, n);
    if (slash)
        ret->full[n] = '/';
    ret->prefix = n + slash;
    memcpy(ret->full + ret->prefix, text, len);
    ret->full[ret->prefix + len] = '\0';
    return 0;
}
