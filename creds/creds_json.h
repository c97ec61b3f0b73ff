/* Credentials in JSON, as endpoints, programs and the SSO cache write them. Bounded: CREDS_BODY_MAX
 * bytes, CREDS_JSON_DEPTH levels. */
#ifndef CREDS_CREDS_JSON_H
#define CREDS_CREDS_JSON_H

#include <stdbool.h>
#include <stddef.h>

#include "creds/creds.h"

#define CREDS_JSON_DEPTH 8

struct json_t;

/* Reads one object. 0 and *ret (creds_json_done), or -EINVAL with *err, which shows nothing of the
 * text; -ENOMEM. */
must_use int creds_json_parse(const char *text, size_t len, struct json_t **ret, struct err *err);
void creds_json_done(struct json_t **json);
#define cleanup_json __attribute__((cleanup(creds_json_done)))

/* A member that is a string, "" if there is none or it is anything else. Valid as long as the
 * object. */
const char *creds_json_text(const struct json_t *json, const char *name);

/* A member that is an object; NULL, which the others take as one without members. */
const struct json_t *creds_json_object(const struct json_t *json, const char *name);

/* True if it is the number 1. */
bool creds_json_is_one(const struct json_t *json, const char *name);

/* How one source calls what it tells. */
struct creds_json_names {
    const char *access_key, *secret, *token, *expires, *account;
    bool expires_ms;  /* a number: milliseconds since the epoch */
    bool must_expire; /* one without an expiry is not believed */
};

/* Takes the credentials out. 0 and *ret, but for `provider`; or -EINVAL with *err (what is missing
 * or cannot be). */
must_use int creds_json_take(const struct json_t *json, const struct creds_json_names *names,
                             struct creds *ret, struct err *err);

#endif
