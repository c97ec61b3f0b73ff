/* Credentials that never change, in sodium memory (locked, guarded, left out of core dumps). Chains
 * that refresh are other implementations of the same interface. */
#include "s3/s3_cred.h"

#include <errno.h>
#include <string.h>

#include <sodium.h>

struct static_source {
    struct s3_cred_source source;
    struct s3_cred cred;
};

static int static_get(struct s3_cred_source *src, struct s3_cred *ret_cred)
{
    *ret_cred = ((struct static_source *)src)->cred;
    return 0;
}

static void static_free(struct s3_cred_source *src)
{
    sodium_free(src); /* wipes */
}

static const struct s3_cred_ops static_ops = {.get = static_get, .free = static_free};

/* Copies a value that may be part of a header: visible ASCII, at least one character. */
static int copy_part(char *to, size_t cap, const char *from, const char *what, struct err *err)
{
    size_t len = from ? strlen(from) : 0;

    if (len == 0)
        return err_set(err, EINVAL, "the %s is empty", what);
    if (len >= cap)
        return err_set(err, EINVAL, "the %s is longer than %zu characters", what, cap - 1);
    for (size_t i = 0; i < len; i++) {
        if (from[i] <= ' ' || from[i] > '~')
            return err_set(err, EINVAL,
                           "the %s has a blank or a character that is not "
                           "ASCII at position %zu",
                           what, i + 1);
    }
    memcpy(to, from, len + 1);
    return 0;
}

int s3_cred_static_new(const char *access_key, const char *secret, const char *session_token,
                       struct s3_cred_source **ret_src, struct err *err)
{
    struct static_source *s;
    int r;

    if (sodium_init() < 0 || !(s = sodium_malloc(sizeof(*s))))
        return err_set(err, ENOMEM, "no locked memory for credentials");
    memset(s, 0, sizeof(*s));
    s->source.ops = &static_ops;
    s->cred.generation = 1;
    r = copy_part(s->cred.access_key, sizeof(s->cred.access_key), access_key, "access key", err);
    if (r == 0)
        r = copy_part(s->cred.secret, sizeof(s->cred.secret), secret, "secret key", err);
    if (r == 0 && session_token && *session_token)
        r = copy_part(s->cred.session_token, sizeof(s->cred.session_token), session_token,
                      "session token", err);
    if (r < 0) {
        sodium_free(s);
        return r;
    }
    *ret_src = &s->source;
    return 0;
}

void s3_cred_free(struct s3_cred_source *src)
{
    if (src)
        src->ops->free(src);
}
