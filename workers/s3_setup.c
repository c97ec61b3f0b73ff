/* The S3 client of a worker, and the start-up check of bucket, region and credentials. */
#include "workers/s3_setup.h"

#include <errno.h>
#include <stdio.h>

#include "s3/s3_cred.h"
#include "s3/s3_explain.h"
#include "workers/worker_abi.h"

static struct s3_client_conf client_conf(const struct conf *c)
{
    return (struct s3_client_conf){
        .endpoint = c->s3.endpoint,
        .region = c->s3.region,
        .bucket = c->bucket,
        .ca_bundle = c->s3.ca_bundle,
        .addressing = c->s3.addressing == CONF_ADDRESSING_PATH ? S3_ADDRESSING_PATH
                      : c->s3.addressing == CONF_ADDRESSING_VIRTUAL
                          ? S3_ADDRESSING_VIRTUAL
                          : S3_ADDRESSING_AUTO,
        .payload_signing = c->s3.payload_signing == CONF_SIGN_ALWAYS ? S3_SIGN_ALWAYS
                           : c->s3.payload_signing == CONF_SIGN_NEVER
                               ? S3_SIGN_NEVER
                               : S3_SIGN_AUTO,
        .connect_timeout_ns = c->s3.connect_timeout_ns,
        .attempt_timeout_ns = c->s3.attempt_timeout_ns,
        .deadline_ns = c->s3.deadline_ns,
        .max_attempts = c->s3.max_attempts,
        .max_connections = c->s3.connections,
    };
}

int s3_setup(struct loop *loop, const struct conf *conf,
             struct s3_client **ret_client, struct err *err)
{
    static struct s3_client_conf cc; /* borrowed by the client for ever */
    struct s3_cred_source *creds;
    int r = s3_cred_static_new(conf->s3.access_key_id, conf->s3.secret_access_key,
                               conf->s3.session_token, &creds, err);

    if (r < 0)
        return r;
    cc = client_conf(conf);
    return s3_client_new(loop, &cc, creds, ret_client, err);
}

/* ---- the check at start-up ---- */

struct check {
    struct loop *loop;
    const struct s3_client_conf *conf;
    int result;
    struct err *err;
};

static void on_checked(void *arg, const struct s3_result *res)
{
    struct check *c = arg;
    char text[ERR_TEXT_MAX];

    c->result = 0;
    if (res->error) {
        bool config = s3_explain(res, c->conf, text, sizeof(text));

        c->result = err_set(c->err, config ? EINVAL : EHOSTUNREACH, "%s", text);
    }
    loop_stop(c->loop);
}

int worker_check_s3(const struct conf *conf, struct err *err)
{
    struct s3_client *client;
    struct s3_client_conf cc = client_conf(conf);
    struct check c = {.err = err, .conf = &cc};
    char prefix[S3_KEY_MAX + 2];
    struct s3_list list = {.prefix = prefix, .max_keys = 1};
    int r = loop_new(&c.loop);

    snprintf(prefix, sizeof(prefix), "%s%s", conf->prefix,
             *conf->prefix ? "/" : "");
    if (r == 0)
        r = s3_setup(c.loop, conf, &client, err);
    if (r == 0)
        r = s3_list(client, &list, on_checked, &c, NULL);
    if (r < 0)
        return err && err->code ? r : err_set(err, -r, "cannot ask S3");
    r = loop_run(c.loop);
    return r < 0 ? err_set(err, -r, "the event loop failed") : c.result;
}
