/* jansson, between bounds: what is deeper than any of these documents is refused before it gets
 * there, since its parser calls itself. */
#include "creds/creds_json.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <jansson.h>

#include "base/clock.h"
#include "creds/creds_job.h"
#include "s3/s3_time.h"

static bool is_flat(const char *text, size_t len)
{
    unsigned depth = 0;
    bool quoted = false;

    for (size_t i = 0; i < len; i++) {
        if (quoted && text[i] == '\\')
            i++;
        else if (text[i] == '"')
            quoted = !quoted;
        else if (!quoted && (text[i] == '{' || text[i] == '['))
            depth++;
        else if (!quoted && (text[i] == '}' || text[i] == ']') && depth)
            depth--;
        if (depth > CREDS_JSON_DEPTH)
            return false;
    }
    return true;
}

int creds_json_parse(const char *text, size_t len, struct json_t **ret, struct err *err)
{
    json_error_t where;
    json_t *json;

    if (len > CREDS_BODY_MAX || !is_flat(text, len))
        return err_set(err, EINVAL, "its JSON is too large or too deep");
    json = json_loadb(text, len, JSON_REJECT_DUPLICATES, &where);
    if (!json)
        return err_set(err, EINVAL, "what it says is no JSON (line %d, column %d)", where.line,
                       where.column);
    if (!json_is_object(json)) {
        json_decref(json);
        return err_set(err, EINVAL, "what it says is no JSON object");
    }
    *ret = json;
    return 0;
}

void creds_json_done(struct json_t **json)
{
    json_decref(*json);
    *json = NULL;
}

const char *creds_json_text(const struct json_t *json, const char *name)
{
    const char *text = json_string_value(json_object_get(json, name));

    return text ? text : "";
}

const struct json_t *creds_json_object(const struct json_t *json, const char *name)
{
    return json_object_get(json, name); /* NULL has no members either */
}

bool creds_json_is_one(const struct json_t *json, const char *name)
{
    return json_integer_value(json_object_get(json, name)) == 1;
}

static int take_time(const struct json_t *json, const struct creds_json_names *names,
                     uint64_t *ret_ns, struct err *err)
{
    json_t *value = json_object_get(json, names->expires);
    int64_t ns = 0;

    if (!value || json_is_null(value)) {
        if (names->must_expire)
            return err_set(err, EINVAL, "it tells no %s", names->expires);
        *ret_ns = 0;
        return 0;
    }
    if (names->expires_ms) {
        json_int_t ms = json_integer_value(value);

        if (ms <= 0 || (uint64_t)ms > UINT64_MAX / 2 / NS_PER_MS)
            return err_set(err, EINVAL, "its %s is no time", names->expires);
        *ret_ns = (uint64_t)ms * NS_PER_MS;
        return 0;
    }
    if (!json_is_string(value) || !s3_time_parse_iso(json_string_value(value), &ns) || ns <= 0)
        return err_set(err, EINVAL, "its %s is no time such as 2030-01-31T12:00:00Z",
                       names->expires);
    *ret_ns = (uint64_t)ns;
    return 0;
}

int creds_json_take(const struct json_t *json, const struct creds_json_names *names,
                    struct creds *ret, struct err *err)
{
    const char *token = creds_json_text(json, names->token);
    const char *account = names->account ? creds_json_text(json, names->account) : "";
    int r = s3_cred_copy(ret->access_key, sizeof(ret->access_key),
                         creds_json_text(json, names->access_key), names->access_key, err);

    if (r == 0)
        r = s3_cred_copy(ret->secret, sizeof(ret->secret), creds_json_text(json, names->secret),
                         names->secret, err);
    ret->session_token[0] = '\0';
    if (r == 0 && *token)
        r = s3_cred_copy(ret->session_token, sizeof(ret->session_token), token, names->token, err);
    if (r == 0)
        r = take_time(json, names, &ret->expires_ns, err);
    if (r == 0 && strlen(account) < sizeof(ret->account) &&
        strspn(account, "0123456789") == strlen(account))
        strcpy(ret->account, account);
    return r;
}
