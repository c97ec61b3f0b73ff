/* Credentials that never change, in sodium memory (locked, guarded, left out of core dumps); the
 * key of the day is derived when it is first asked for. Those that are refreshed by another
 * process are another implementation of the same table. */
#include "s3/s3_cred.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <sodium.h>

#include "s3/s3_sigv4.h"

#define SCOPE_MAX 160 /* day, region, service */

struct static_source {
    struct s3_cred_source source;
    char secret[S3_SECRET_MAX];
    char scope[SCOPE_MAX]; /* of cred.key, "" = none yet */
    struct s3_cred cred;
};

/* Makes s->cred.key the one for this scope. */
static int static_derive(struct static_source *s, const struct s3_sigv4_scope *scope)
{
    char text[SCOPE_MAX];
    int n =
        snprintf(text, sizeof(text), "%.8s/%s/%s", scope->amz_date, scope->region, scope->service);
    int r;

    if ((size_t)n >= sizeof(text))
        return -E2BIG;
    if (strcmp(s->scope, text) == 0)
        return 0;
    s->scope[0] = '\0';
    r = s3_sigv4_derive(s->secret, scope, s->cred.key);
    if (r == 0)
        memcpy(s->scope, text, (size_t)n + 1);
    return r;
}

static int static_get(struct s3_cred_source *src, const struct s3_sigv4_scope *scope,
                      struct s3_cred *ret_cred)
{
    struct static_source *s = (struct static_source *)src;
    int r = static_derive(s, scope);

    if (r == 0)
        *ret_cred = s->cred;
    return r;
}

static void static_free(struct s3_cred_source *src)
{
    sodium_free(src); /* wipes */
}

static const struct s3_cred_ops static_ops = {.get = static_get, .free = static_free};

int s3_cred_copy(char *to, size_t cap, const char *from, const char *what, struct err *err)
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
    r = s3_cred_copy(s->cred.access_key, sizeof(s->cred.access_key), access_key, "access key", err);
    if (r == 0)
        r = s3_cred_copy(s->secret, sizeof(s->secret), secret, "secret key", err);
    if (r == 0 && session_token && *session_token)
        r = s3_cred_copy(s->cred.session_token, sizeof(s->cred.session_token), session_token,
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
