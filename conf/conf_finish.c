/* Rules over several keys. Rules for a single key are in its row of conf_keys.c. */
#include "conf/conf_finish.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "conf/conf_check.h"
#include "conf/conf_control.h"
#include "conf/conf_keys.h"
#include "conf/conf_set.h"
#include "conf/conf_value.h"

static const struct conf_key *key_of(const char *name)
{
    const struct conf_key *key = conf_key_find(name);

    assert(key); /* names passed in this file are literals */
    return key;
}

static bool is_automatic(const struct conf *conf, const char *name)
{
    return conf_origin_of(conf, key_of(name))->automatic;
}

static bool is_default(const struct conf *conf, const char *name)
{
    return conf_origin_of(conf, key_of(name))->kind == CONF_FROM_DEFAULT;
}

/* Without a mount the platform that starts a connector expects exit 1 (main.c) for what is
 * missing. */
static int missing_code(const struct conf *conf)
{
    return *conf->mount.path ? EINVAL : ENODATA;
}

/* Through which files are reached: the mount is not required if there is a socket. Where a driver
 * makes it, it has a name all the same. */
static int check_faces(struct conf *conf, struct err *err)
{
    const struct conf_key *mount = key_of("mount.path");
    bool mounts = conf_origin_of(conf, mount)->text;

    if (!mounts && conf_set_string(conf, mount, conf->mount.fd_socket) < 0)
        return err_set(err, ENOMEM, "out of memory");
    return 0;
}

static bool is_missing(const struct conf *conf, const struct conf_key *key)
{
    if (!key->required || conf_origin_of(conf, key)->text)
        return false;
    return key != key_of("mount.path") || (!*conf->connector.socket && !*conf->mount.fd_socket);
}

static int check_required(const struct conf *conf, struct err *err)
{
    for (size_t i = 0; i < conf_n_keys; i++) {
        const struct conf_key *key = &conf_keys[i];

        if (is_missing(conf, key))
            return err_set(err, missing_code(conf),
                           "%s: not set, expected it in the file or as %s in "
                           "the environment",
                           key->name, key->env[0]);
    }
    return 0;
}

static int check_credentials(const struct conf *conf, struct err *err)
{
    const char *id = conf->s3.access_key_id;
    const char *secret = conf->s3.secret_access_key;

    if (!!id == !!secret && (id || !conf->s3.session_token))
        return 0; /* without any, another source is asked for them (creds/) */
    if (id)
        return conf_set_fail(conf, key_of("s3.access_key_id"), err,
                             "set without a secret key, expected AWS_SECRET_ACCESS_KEY as well");
    if (secret)
        return conf_set_fail(conf, key_of("s3.secret_access_key"), err,
                             "set without a key ID, expected AWS_ACCESS_KEY_ID as well");
    return conf_set_fail(conf, key_of("s3.session_token"), err,
                         "set without keys, expected AWS_ACCESS_KEY_ID and "
                         "AWS_SECRET_ACCESS_KEY as well");
}

static int check_client_cert(const struct conf *conf, struct err *err)
{
    if (!*conf->s3.client_key || *conf->s3.client_cert)
        return 0;
    return conf_set_fail(conf, key_of("s3.client_key"), err,
                         "set without a certificate, expected s3.client_cert as well");
}

/* The descriptor of a mount that somebody else has made. */
static int check_fd_socket(const struct conf *conf, struct err *err)
{
    bool given = *conf->mount.fd_socket;

    if (given && conf->mount.fd_protocol == CONF_FD_NONE)
        return conf_set_fail(conf, key_of("mount.fd_socket"), err,
                             "set, expected mount.fd_protocol as well: meta-fuse, gcsfuse or "
                             "mountpoint");
    if (!given && conf->mount.fd_protocol != CONF_FD_NONE)
        return conf_set_fail(conf, key_of("mount.fd_protocol"), err,
                             "%s, expected mount.fd_socket as well",
                             conf_choice_name("mount.fd_protocol", (int)conf->mount.fd_protocol));
    if (given && conf->mount.fd >= 0)
        return conf_set_fail(conf, key_of("mount.fd_socket"), err,
                             "set, but mount.path is %s, expected one of them", conf->mount.path);
    return 0;
}

/* Each would replace the other's socket. */
static int check_fd_socket_alone(const struct conf *conf, struct err *err)
{
    const char *path = conf->mount.fd_socket;
    const char *other = !*path                                      ? NULL
                        : strcmp(path, conf->connector.socket) == 0 ? "connector.socket"
                        : strcmp(path, conf->metrics.listen) == 0   ? "metrics.listen"
                        : strcmp(path, conf->control.socket) == 0   ? "control.socket"
                                                                    : NULL;

    if (!other)
        return 0;
    return conf_set_fail(conf, key_of("mount.fd_socket"), err,
                         "the same path as %s, expected one of its own", other);
}

/* What the daemon is called where it is not said. */
static const char *face_of(const struct conf *conf)
{
    return *conf->mount.path ? conf->mount.path : conf->connector.socket;
}

static int name_at_holder(struct conf *conf, struct err *err)
{
    if (!is_automatic(conf, "daemon.holder_name"))
        return 0;
    if (*conf->daemon.holder && strlen(face_of(conf)) >= CONF_HOLDER_NAME_MAX)
        return conf_set_fail(conf, key_of("daemon.holder"), err,
                             "set, and the path of the mount is too long for a name, expected "
                             "daemon.holder_name as well");
    if (conf_set_string(conf, key_of("daemon.holder_name"), face_of(conf)) < 0)
        return err_set(err, ENOMEM, "out of memory");
    return 0;
}

/* One keeper is enough, and it is clear whose copies are taken over. */
static int check_holder(const struct conf *conf, struct err *err)
{
    if (!*conf->daemon.holder || !conf->daemon.fdstore)
        return 0;
    return conf_set_fail(conf, key_of("daemon.holder"), err,
                         "set, and daemon.fdstore is true, expected one of them");
}

static int find_out(struct conf *conf, char *const *env, struct err *err)
{
    char socket[CONF_SOCKET_MAX];
    int r;

    if (is_automatic(conf, "mount.allow_other"))
        conf->mount.allow_other = geteuid() == 0;
    if (is_automatic(conf, "mount.uid"))
        conf->mount.uid = getuid();
    if (is_automatic(conf, "mount.gid"))
        conf->mount.gid = getgid();
    conf->mount.fd = conf_check_fd_of(conf->mount.path);
    if (!is_automatic(conf, "control.socket"))
        return 0;
    r = conf_control_default(env, face_of(conf), socket, sizeof(socket));
    if (r < 0)
        return err_set(err, EINVAL,
                       "control.socket: its default path is too long, expected a shorter one in "
                       "the file or the environment");
    if (conf_set_string(conf, key_of("control.socket"), socket) < 0)
        return err_set(err, ENOMEM, "out of memory");
    return 0;
}

/* A timeout for a part of a request cannot exceed the deadline of the whole. A default is lowered
 * to the deadline; a configured value is an error, which points to where it was set. */
static int check_time(struct conf *conf, const char *name, uint64_t *ns, struct err *err)
{
    char part[CONF_VALUE_TEXT_MAX], whole[CONF_VALUE_TEXT_MAX];

    if (*ns <= conf->s3.deadline_ns)
        return 0;
    if (is_default(conf, name)) {
        *ns = conf->s3.deadline_ns;
        return 0;
    }
    conf_value_format_duration(*ns, part);
    conf_value_format_duration(conf->s3.deadline_ns, whole);
    return conf_set_fail(conf, key_of(name), err, "%s, expected at most the %s of s3.deadline",
                         part, whole);
}

static int check_memory(const struct conf *conf, struct err *err)
{
    char part[CONF_VALUE_TEXT_MAX], whole[CONF_VALUE_TEXT_MAX];

    if (conf->memory.limit == 0 || conf->buffer.memory <= conf->memory.limit)
        return 0;
    conf_value_format_size(conf->buffer.memory, part);
    conf_value_format_size(conf->memory.limit, whole);
    return conf_set_fail(conf, key_of("buffer.memory"), err,
                         "%s, expected at most the %s of memory.limit", part, whole);
}

static bool is_inside(const char *path, const char *dir)
{
    size_t n = strlen(dir);

    return strncmp(path, dir, n) == 0 && (path[n] == '/' || path[n] == '\0');
}

/* Nothing that the daemon opens may lie below its own mount: it would wait for itself. */
static int check_outside(const struct conf *conf, const char *name, const char *path,
                         struct err *err)
{
    if (conf->mount.fd >= 0 || !*conf->mount.path || !is_inside(path, conf->mount.path))
        return 0;
    if (is_default(conf, name))
        return conf_set_fail(conf, key_of("mount.path"), err,
                             "hides %s, the default of %s, expected separate paths", path, name);
    return conf_set_fail(conf, key_of(name), err, "a path inside mount.path, expected one outside");
}

/* AWS accepts only names that follow its rules for new buckets. */
static int check_bucket(const struct conf *conf, struct err *err)
{
    const struct conf_key *key = key_of("bucket");

    if (*conf->s3.endpoint || conf_is_aws_bucket(conf->bucket) || conf_is_arn(conf->bucket))
        return 0;
    return conf_set_fail(conf, key, err, "\"%.80s\", expected %s", conf->bucket, key->expected);
}

/* Variants of AWS's endpoints. */
static int check_endpoint(const struct conf *conf, struct err *err)
{
    const char *key = conf->s3.dualstack    ? "s3.dualstack"
                      : conf->s3.fips       ? "s3.fips"
                      : conf->s3.accelerate ? "s3.accelerate"
                                            : NULL;

    if (!key || !*conf->s3.endpoint)
        return 0;
    return conf_set_fail(conf, key_of(key), err,
                         "true, but s3.endpoint is set, expected it for AWS's own endpoints only");
}

/* A key of the customer's is sent with each request, so that a connection without TLS would give it
 * away; S3 refuses it there. */
static int check_customer_key(const struct conf *conf, struct err *err)
{
    bool file = *conf->s3.sse_customer_key_file, given = conf->s3.sse_customer_key || file;

    if (conf->s3.sse != CONF_SSE_CUSTOMER) {
        if (!given)
            return 0;
        return conf_set_fail(conf,
                             key_of(file ? "s3.sse_customer_key_file" : "s3.sse_customer_key"), err,
                             "set, expected s3.sse: customer as well");
    }
    if (!given || (conf->s3.sse_customer_key && file))
        return conf_set_fail(conf, key_of("s3.sse"), err,
                             "customer, expected either %s in the environment or "
                             "s3.sse_customer_key_file",
                             "STATEPROXY_S3_SSE_CUSTOMER_KEY");
    if (strncmp(conf->s3.endpoint, "http://", 7) == 0)
        return conf_set_fail(conf, key_of("s3.sse"), err,
                             "customer, but s3.endpoint is http://, expected https://");
    return 0;
}

static int check_sse(const struct conf *conf, struct err *err)
{
    bool kms = conf->s3.sse == CONF_SSE_KMS || conf->s3.sse == CONF_SSE_KMS_DSSE;

    if (*conf->s3.sse_kms_key_id && !kms)
        return conf_set_fail(conf, key_of("s3.sse_kms_key_id"), err,
                             "set, expected s3.sse: kms or kms-dsse as well");
    if (conf->s3.sse_bucket_key != CONF_BUCKET_KEY_AUTO && conf->s3.sse != CONF_SSE_KMS)
        return conf_set_fail(conf, key_of("s3.sse_bucket_key"), err,
                             "set, expected s3.sse: kms as well");
    return check_customer_key(conf, err);
}

int conf_finish(struct conf *conf, char *const *env, struct err *err)
{
    int r = check_faces(conf, err);

    if (r == 0)
        r = check_required(conf, err);
    if (r == 0)
        r = check_bucket(conf, err);
    if (r == 0)
        r = check_credentials(conf, err);
    if (r == 0)
        r = find_out(conf, env, err);
    if (r == 0)
        r = name_at_holder(conf, err);
    if (r == 0)
        r = check_holder(conf, err);
    if (r == 0)
        r = check_fd_socket(conf, err);
    if (r == 0)
        r = check_fd_socket_alone(conf, err);
    if (r == 0)
        r = check_time(conf, "s3.connect_timeout", &conf->s3.connect_timeout_ns, err);
    if (r == 0)
        r = check_time(conf, "s3.attempt_timeout", &conf->s3.attempt_timeout_ns, err);
    if (r == 0)
        r = check_memory(conf, err);
    if (r == 0)
        r = check_outside(conf, "buffer.dir", conf->buffer.dir, err);
    if (r == 0)
        r = check_outside(conf, "control.socket", conf->control.socket, err);
    if (r == 0)
        r = check_outside(conf, "daemon.holder", conf->daemon.holder, err);
    if (r == 0)
        r = check_outside(conf, "connector.socket", conf->connector.socket, err);
    if (r == 0 && strcmp(conf->mount.path, conf->mount.fd_socket) != 0)
        r = check_outside(conf, "mount.fd_socket", conf->mount.fd_socket, err);
    if (r == 0)
        r = check_outside(conf, "metrics.listen", conf->metrics.listen, err);
    if (r == 0)
        r = check_outside(conf, "s3.ca_bundle", conf->s3.ca_bundle, err);
    if (r == 0)
        r = check_outside(conf, "credentials.web_identity_token_file",
                          conf->credentials.web_identity_token_file, err);
    if (r == 0)
        r = check_outside(conf, "credentials.config_file", conf->credentials.config_file, err);
    if (r == 0)
        r = check_outside(conf, "credentials.credentials_file", conf->credentials.credentials_file,
                          err);
    if (r == 0)
        r = check_outside(conf, "credentials.container_token_file",
                          conf->credentials.container_token_file, err);
    if (r == 0)
        r = check_outside(conf, "s3.client_cert", conf->s3.client_cert, err);
    if (r == 0)
        r = check_outside(conf, "s3.client_key", conf->s3.client_key, err);
    if (r == 0)
        r = check_client_cert(conf, err);
    if (r == 0)
        r = check_outside(conf, "s3.sse_customer_key_file", conf->s3.sse_customer_key_file, err);
    if (r == 0)
        r = check_endpoint(conf, err);
    if (r == 0)
        r = check_sse(conf, err);
    return r;
}
