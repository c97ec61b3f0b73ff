/* The provider of what is set in the environment. */
#include <errno.h>

#include "creds/creds_provider.h"

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
    return r;
}
