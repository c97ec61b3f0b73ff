/* The provider of what is set in the environment. */
#include <errno.h>

#include "base/clock.h"
#include "creds/creds_provider.h"
#include "s3/s3_time.h"

/* Nobody can renew them: once they have expired, they are none. */
static int env_expiry(const char *text, uint64_t *ret_ns, struct err *err)
{
    int64_t ns;

    if (!s3_time_parse_iso(text, &ns) || ns <= 0)
        return err_set(err, EINVAL,
                       "AWS_CREDENTIAL_EXPIRATION is no time, expected one such as "
                       "2026-11-29T12:00:00Z");
    if ((uint64_t)ns <= clock_wall_ns())
        return err_set(err, EACCES,
                       "they have expired at %.40s (AWS_CREDENTIAL_EXPIRATION): put others into "
                       "the environment, and start again",
                       text);
    *ret_ns = (uint64_t)ns;
    return 0;
}

int creds_environment(const struct creds_job *job, struct creds *ret, struct err *err)
{
    const struct creds_conf *conf = job->conf;
    int r;

    if (!creds_given(conf->access_key) || !creds_given(conf->secret))
        return err_set(err, EINVAL,
                       "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not both in "
                       "the environment");
    r = s3_cred_copy(ret->access_key, sizeof(ret->access_key), conf->access_key, "access key", err);
    if (r == 0)
        r = s3_cred_copy(ret->secret, sizeof(ret->secret), conf->secret, "secret key", err);
    if (r == 0 && creds_given(conf->session_token))
        r = s3_cred_copy(ret->session_token, sizeof(ret->session_token), conf->session_token,
                         "session token", err);
    if (r == 0 && creds_given(conf->expiration))
        r = env_expiry(conf->expiration, &ret->expires_ns, err);
    return r;
}
