/* Loading as a whole: defaults, precedence, origins, rules over several keys, secrets. */
#include "tests/conf/load.h"

#include <errno.h>
#include <signal.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "conf/conf_check.h"
#include "conf/conf_yaml.h"

#define MIB (UINT64_C(1) << 20)
#define SEC UINT64_C(1000000000)

static void test_defaults(void **state)
{
    struct conf *c = load_good(NULL, NULL);

    (void)state;
    assert_string_equal(c->bucket, "bkt");
    assert_string_equal(c->prefix, "");
    assert_int_equal(c->variant, CONF_S3_BUFFERED_LWW);
    assert_string_equal(c->s3.region, "us-east-1");
    assert_string_equal(c->s3.endpoint, "");
    assert_string_equal(c->s3.ca_bundle, "");
    assert_int_equal(c->s3.addressing, CONF_ADDRESSING_AUTO);
    assert_int_equal(c->s3.payload_signing, CONF_SIGN_AUTO);
    assert_int_equal(c->s3.connect_timeout_ns, 5 * SEC);
    assert_int_equal(c->s3.attempt_timeout_ns, 20 * SEC);
    assert_int_equal(c->s3.deadline_ns, 60 * SEC);
    assert_int_equal(c->s3.max_attempts, 3);
    assert_int_equal(c->s3.connections, 16);
    assert_string_equal(c->s3.access_key_id, "AKIDTEST");
    assert_string_equal(c->s3.secret_access_key, "sesame");
    assert_null(c->s3.session_token);
    assert_string_equal(c->mount.path, "/mnt/x");
    assert_int_equal(c->mount.fd, -1);
    assert_int_equal(c->mount.allow_other, geteuid() == 0);
    assert_true(c->mount.default_permissions);
    assert_false(c->mount.read_only);
    assert_int_equal(c->mount.uid, getuid());
    assert_int_equal(c->mount.gid, getgid());
    assert_int_equal(c->mount.file_mode, 0644);
    assert_int_equal(c->mount.dir_mode, 0755);
    assert_int_equal(c->mount.read_ahead, MIB);
    assert_int_equal(c->workers.count, 0);
    assert_string_equal(c->workers.user, "");
    assert_int_equal(c->memory.limit, 0);
    assert_int_equal(c->buffer.memory, 4 * MIB);
    assert_string_equal(c->buffer.dir, "/var/tmp");
    assert_int_equal(c->buffer.sessions, 256);
    assert_int_equal(c->read.whole_limit, 8 * MIB);
    assert_int_equal(c->read.part_size, 8 * MIB);
    assert_int_equal(c->lookup.speculate, MIB / 8);
    assert_int_equal(c->cas.probe, CONF_PROBE_AUTO);
    assert_int_equal(c->cache.open_ttl_ns, 0);
    assert_int_equal(c->directories.ttl_ns, SEC);
    assert_true(c->directories.marker);
    assert_int_equal(c->log.level, LOG_NOTICE);
    assert_int_equal(c->daemon.drain_timeout_ns, 25 * SEC);
    assert_string_equal(conf_origin(c, "buffer.memory"), "default");
    assert_string_equal(conf_origin(c, "control.socket"), "default");
    assert_string_equal(conf_origin(c, "s3.session_token"), "default");
    assert_null(conf_origin(c, "buffer"));
    conf_free(c);
    conf_free(NULL);
}

static const char everything[] =
    "bucket: in-file\n"
    "prefix: /models/v2/\n"
    "variant: s3-buffered-lww\n"
    "s3:\n"
    "  region: eu-west-1\n"
    "  endpoint: http://127.0.0.1:9000/\n"
    "  addressing: path\n"
    "  payload_signing: always\n"
    "  ca_bundle: /etc/ca.pem\n"
    "  connect_timeout: 250ms\n"
    "  attempt_timeout: 2s\n"
    "  deadline: 1m\n"
    "  max_attempts: 20\n"
    "  connections: 1\n"
    "mount: {path: /mnt//y/, allow_other: false, default_permissions: false,\n"
    "        read_only: true, uid: 7, gid: 8, file_mode: 0600, dir_mode: "
    "\"700\",\n"
    "        read_ahead: 16Mi}\n"
    "workers: {count: 4, user: nobody}\n"
    "memory: {limit: 64Mi}\n"
    "buffer: {memory: 64Ki, dir: /var/spool, sessions: 1024}\n"
    "read: {whole_limit: 0, part_size: 1Mi}\n"
    "lookup: {speculate: 0}\n"
    "cache: {open_ttl: 10ms}\n"
    "directories: {ttl: 0, marker: false}\n"
    "log: {level: debug}\n"
    "control: {socket: /run/x.sock}\n"
    "daemon: {drain_timeout: 1h}\n";

static void test_file(void **state)
{
    char *env[] = {"AWS_ACCESS_KEY_ID=a", "AWS_SECRET_ACCESS_KEY=b", "AWS_SESSION_TOKEN=c", NULL};
    struct err err = {0};
    struct conf *c;

    (void)state;
    if (load_exact(everything, env, &c, &err) < 0)
        fail_msg("%s", err.text);
    assert_string_equal(c->bucket, "in-file");
    assert_string_equal(c->prefix, "models/v2");
    assert_string_equal(c->s3.region, "eu-west-1");
    assert_string_equal(c->s3.endpoint, "http://127.0.0.1:9000");
    assert_int_equal(c->s3.addressing, CONF_ADDRESSING_PATH);
    assert_int_equal(c->s3.payload_signing, CONF_SIGN_ALWAYS);
    assert_string_equal(c->s3.ca_bundle, "/etc/ca.pem");
    assert_int_equal(c->s3.connect_timeout_ns, SEC / 4);
    assert_int_equal(c->s3.attempt_timeout_ns, 2 * SEC);
    assert_int_equal(c->s3.deadline_ns, 60 * SEC);
    assert_int_equal(c->s3.max_attempts, 20);
    assert_int_equal(c->s3.connections, 1);
    assert_string_equal(c->s3.session_token, "c");
    assert_string_equal(c->mount.path, "/mnt/y");
    assert_false(c->mount.allow_other);
    assert_false(c->mount.default_permissions);
    assert_true(c->mount.read_only);
    assert_int_equal(c->mount.uid, 7);
    assert_int_equal(c->mount.gid, 8);
    assert_int_equal(c->mount.file_mode, 0600);
    assert_int_equal(c->mount.dir_mode, 0700);
    assert_int_equal(c->mount.read_ahead, 16 * MIB);
    assert_int_equal(c->workers.count, 4);
    assert_string_equal(c->workers.user, "nobody");
    assert_int_equal(c->memory.limit, 64 * MIB);
    assert_int_equal(c->buffer.memory, MIB / 16);
    assert_string_equal(c->buffer.dir, "/var/spool");
    assert_int_equal(c->buffer.sessions, 1024);
    assert_int_equal(c->read.whole_limit, 0);
    assert_int_equal(c->read.part_size, MIB);
    assert_int_equal(c->lookup.speculate, 0);
    assert_int_equal(c->cache.open_ttl_ns, SEC / 100);
    assert_int_equal(c->directories.ttl_ns, 0);
    assert_false(c->directories.marker);
    assert_int_equal(c->log.level, LOG_DEBUG);
    assert_string_equal(c->control.socket, "/run/x.sock");
    assert_int_equal(c->daemon.drain_timeout_ns, 3600 * SEC);
    assert_string_equal(conf_origin(c, "bucket"), "c.yaml:1:9");
    assert_string_equal(conf_origin(c, "s3.region"), "c.yaml:5:11");
    assert_string_equal(conf_origin(c, "mount.dir_mode"), "c.yaml:16:69");
    assert_string_equal(conf_origin(c, "s3.session_token"), "env AWS_SESSION_TOKEN");
    conf_free(c);
}

static void test_environment_beats_file(void **state)
{
    struct conf *c = load_good("bucket: in-file\nlog: {level: warn}\n", NULL);

    (void)state;
    assert_string_equal(c->bucket, "bkt");
    assert_string_equal(conf_origin(c, "bucket"), "env STATE_BUCKET");
    assert_int_equal(c->log.level, LOG_WARN);
    assert_string_equal(conf_origin(c, "log.level"), "c.yaml:2:14");
    conf_free(c);

    c = load_good("log: {level: warn}\n", "STATEPROXY_LOG_LEVEL=err");
    assert_int_equal(c->log.level, LOG_ERR);
    assert_string_equal(conf_origin(c, "log.level"), "env STATEPROXY_LOG_LEVEL");
    conf_free(c);
}

/* A file that is wrong is told even where the environment would have overridden it. */
static void test_wrong_file_under_good_environment(void **state)
{
    (void)state;
    load_bad("bucket: B\n", NULL, EINVAL,
             "c.yaml:1:9: bucket: \"B\", expected a bucket name: 3 to 63 lower-case "
             "letters, digits, dots and hyphens");
}

/* Capitals, "_" and a tenant are for other servers than AWS. */
static void test_buckets_of_others(void **state)
{
    static const char *const good[] = {"tenant:My_bucket", "BKT", "a_b", "bkt"};
    static const char *const bad[] = {"ab", "a..b", "-ab", "ab:", "a/b", "1.2.3.4", "a b"};
    char text[32];

    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        snprintf(text, sizeof(text), "%s", good[i]);
        assert_true(conf_check_bucket(text));
        assert_int_equal(conf_is_aws_bucket(text), i == 3);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        snprintf(text, sizeof(text), "%s", bad[i]);
        assert_false(conf_check_bucket(text));
    }
}

static void test_automatic_words(void **state)
{
    struct conf *c = load_good("mount: {allow_other: auto, uid: auto, gid: 0}\n"
                               "workers: {count: 0}\nmemory: {limit: auto}\n"
                               "control: {socket: auto}\n",
                               NULL);

    (void)state;
    assert_int_equal(c->mount.allow_other, geteuid() == 0);
    assert_int_equal(c->mount.uid, getuid());
    assert_int_equal(c->mount.gid, 0);
    assert_int_equal(c->workers.count, 0);
    assert_int_equal(c->memory.limit, 0);
    assert_non_null(strstr(c->control.socket, "/mnt-x.sock"));
    assert_string_equal(conf_origin(c, "control.socket"), "c.yaml:4:19");
    assert_string_equal(conf_origin(c, "mount.uid"), "c.yaml:1:33");
    conf_free(c);

    /* An automatic value over one that was written. */
    c = load_good("control: {socket: /run/a.sock}\nworkers: {count: 3}\n",
                  "STATEPROXY_CONTROL_SOCKET=auto");
    assert_non_null(strstr(c->control.socket, "/mnt-x.sock"));
    assert_int_equal(c->workers.count, 3);
    conf_free(c);
    load_bad("buffer: {sessions: auto}\n", NULL, EINVAL,
             "c.yaml:1:20: buffer.sessions: \"auto\", expected a number from 1 "
             "to 1024");
}

static void test_descriptor(void **state)
{
    struct conf *c = load_good("buffer: {dir: /dev/fd/3/x}\n", "STATE_MOUNT_IGNORED=1");
    struct err err;
    char *env[] = {"STATE_BUCKET=bkt", "STATE_MOUNT=/dev/fd/17", "AWS_ACCESS_KEY_ID=a",
                   "AWS_SECRET_ACCESS_KEY=b", NULL};

    (void)state;
    conf_free(c);
    assert_int_equal(load_exact("buffer: {dir: /dev/fd/17/x}\n", env, &c, &err), 0);
    assert_string_equal(c->mount.path, "/dev/fd/17");
    assert_int_equal(c->mount.fd, 17);
    assert_non_null(strstr(c->control.socket, "/dev-fd-17.sock"));
    conf_free(c);
}

/* A driver's socket: what is mounted needs no place then, but has a name. */
static void test_fd_socket(void **state)
{
    char *env[] = {"STATE_BUCKET=bkt", "STATEPROXY_MOUNT_FD_SOCKET=/f/s",
                   "STATEPROXY_MOUNT_FD_PROTOCOL=gcsfuse", NULL};
    struct conf *c;
    struct err err;

    (void)state;
    assert_int_equal(load_exact("", env, &c, &err), 0);
    assert_string_equal(c->mount.path, "/f/s");
    assert_string_equal(c->mount.fd_socket, "/f/s");
    assert_int_equal(c->mount.fd_protocol, CONF_FD_GCSFUSE);
    assert_int_equal(c->mount.fd, -1);
    assert_non_null(strstr(c->control.socket, "/f-s.sock"));
    conf_free(c);
    c = load_good("mount: {fd_socket: /f/s, fd_protocol: meta-fuse}\n", NULL);
    assert_string_equal(c->mount.path, "/mnt/x");
    conf_free(c);
    load_bad("mount: {fd_socket: /f/s}\n", NULL, EINVAL,
             "c.yaml:1:20: mount.fd_socket: set, expected mount.fd_protocol as well: meta-fuse, "
             "gcsfuse or mountpoint");
    load_bad("mount: {fd_protocol: mountpoint}\n", NULL, EINVAL,
             "c.yaml:1:22: mount.fd_protocol: mountpoint, expected mount.fd_socket as well");
    load_bad("mount: {fd_protocol: csi}\n", NULL, EINVAL,
             "c.yaml:1:22: mount.fd_protocol: \"csi\", expected none, meta-fuse, gcsfuse or "
             "mountpoint");
    assert_int_equal(load_exact("mount: {path: /dev/fd/5}\n", env, &c, &err), -EINVAL);
    assert_string_equal(err.text, "environment STATEPROXY_MOUNT_FD_SOCKET: mount.fd_socket: set, "
                                  "but mount.path is /dev/fd/5, expected one of them");
    load_bad("mount: {fd_socket: /mnt/x/s, fd_protocol: gcsfuse}\n", NULL, EINVAL,
             "c.yaml:1:20: mount.fd_socket: a path inside mount.path, expected one outside");
}

/* What a holder calls it, and what does not go together. */
static void test_holder(void **state)
{
    char path[CONF_HOLDER_NAME_MAX + 20] = "STATE_MOUNT=/";
    char *env[] = {path, "STATE_BUCKET=bkt", NULL};
    struct err err;
    struct conf *c = load_good("", NULL);

    (void)state;
    assert_string_equal(c->daemon.holder, "");
    assert_string_equal(c->daemon.holder_name, "/mnt/x");
    conf_free(c);
    c = load_good("daemon: {holder: /h/s, holder_name: \"pod \\u00e4\"}\n", NULL);
    assert_string_equal(c->daemon.holder, "/h/s");
    assert_string_equal(c->daemon.holder_name, "pod \xc3\xa4");
    conf_free(c);
    load_bad("daemon: {holder: /h/s, fdstore: true}\n", NULL, EINVAL,
             "c.yaml:1:18: daemon.holder: set, and daemon.fdstore is true, expected one of them");
    load_bad("daemon: {holder: /mnt/x/s}\n", NULL, EINVAL,
             "c.yaml:1:18: daemon.holder: a path inside mount.path, expected one outside");
    memset(path + strlen(path), 'n', CONF_HOLDER_NAME_MAX - 1);
    assert_int_equal(load_exact("daemon: {holder: /h/s}\n", env, &c, &err), -EINVAL);
    assert_string_equal(err.text, "c.yaml:1:18: daemon.holder: set, and the path of the mount is "
                                  "too long for a name, expected daemon.holder_name as well");
}

/* No two listen at the same path. */
static void test_fd_socket_alone(void **state)
{
    static const char *const others[][2] = {
        {"connector", "socket"}, {"metrics", "listen"}, {"control", "socket"}};
    char yaml[200], want[200];

    (void)state;
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        snprintf(yaml, sizeof(yaml),
                 "mount: {fd_socket: /f//s, fd_protocol: mountpoint}\n%s: {%s: /f/s/}\n",
                 others[i][0], others[i][1]);
        snprintf(want, sizeof(want),
                 "c.yaml:1:20: mount.fd_socket: the same path as %s.%s, expected one of its own",
                 others[i][0], others[i][1]);
        load_bad(yaml, NULL, EINVAL, want);
    }
    conf_free(load_good("mount: {fd_socket: /f/s, fd_protocol: mountpoint}\n"
                        "metrics: {listen: /f/m}\n",
                        NULL));
}

static void check_env(char *const *env, const char *line)
{
    struct conf *c;
    struct err err = {0};

    assert_true(conf_load(NULL, env, &c, &err) < 0);
    assert_string_equal(err.text, line);
}

static void test_required(void **state)
{
    char *no_bucket[] = {"STATE_MOUNT=/m", NULL};
    char *no_mount[] = {"STATE_BUCKET=bkt", NULL};

    (void)state;
    check_env(NULL, "bucket: not set, expected it in the file or as STATE_BUCKET in "
                    "the environment");
    check_env(no_bucket, "bucket: not set, expected it in the file or as STATE_BUCKET "
                         "in the environment");
    check_env(no_mount, "mount.path: not set, expected it in the file or as "
                        "STATE_MOUNT in the environment");
}

static void test_only_a_socket(void **state)
{
    char *env[] = {"STATE_BUCKET=bkt",
                   "CONNECTOR_SOCKET=/run/c.sock",
                   "STATE_PRESIGN_TTL=60",
                   "QUERY_MAX_FETCH_BYTES=268435456",
                   "ASYA_CONNECTOR=s3_buffered_cas",
                   NULL};
    struct conf *c;
    struct err err = {0};

    (void)state;
    assert_int_equal(conf_load(NULL, env, &c, &err), 0);
    assert_string_equal(c->mount.path, "");
    assert_string_equal(c->connector.socket, "/run/c.sock");
    assert_int_equal(c->connector.mode, 0666);
    assert_int_equal(c->connector.presign_ttl, 60);
    assert_int_equal(c->query.max_fetch_bytes, 268435456);
    assert_int_equal(c->variant, CONF_S3_BUFFERED_CAS);
    assert_non_null(strstr(c->control.socket, "/run-c.sock.sock"));
    conf_free(c);
}

static void check_none(char *const *env)
{
    struct conf *c;
    struct err err = {0};

    assert_int_equal(conf_load(NULL, env, &c, &err), 0);
    assert_null(c->s3.access_key_id);
    assert_null(c->s3.secret_access_key);
    conf_free(c);
}

static void test_credentials(void **state)
{
    char *none[] = {"STATE_BUCKET=bkt", "STATE_MOUNT=/m", NULL};
    char *empty[] = {"STATE_BUCKET=bkt", "STATE_MOUNT=/m",
                     "AWS_ACCESS_KEY_ID=", "AWS_SECRET_ACCESS_KEY=", NULL};
    char *id[] = {"STATE_BUCKET=bkt", "STATE_MOUNT=/m", "AWS_ACCESS_KEY_ID=a", NULL};
    char *secret[] = {"STATE_BUCKET=bkt", "STATE_MOUNT=/m", "STATEPROXY_S3_SECRET_ACCESS_KEY=b",
                      NULL};
    char *token[] = {"STATE_BUCKET=bkt", "STATE_MOUNT=/m", "AWS_SESSION_TOKEN=t", NULL};

    (void)state;
    check_none(none); /* another source may have them */
    check_none(empty);
    check_env(id,
              "environment AWS_ACCESS_KEY_ID: s3.access_key_id: set without a secret key, expected "
              "AWS_SECRET_ACCESS_KEY as well");
    check_env(secret, "environment STATEPROXY_S3_SECRET_ACCESS_KEY: "
                      "s3.secret_access_key: set without a key ID, expected AWS_ACCESS_KEY_ID as "
                      "well");
    check_env(token, "environment AWS_SESSION_TOKEN: s3.session_token: set without keys, expected "
                     "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY as well");
}

static void test_times_fit(void **state)
{
    (void)state;
    load_bad("s3: {attempt_timeout: 2m}\n", NULL, EINVAL,
             "c.yaml:1:23: s3.attempt_timeout: 2m, expected at most the 1m of "
             "s3.deadline");
    load_bad("s3: {deadline: 10s, attempt_timeout: 9s}\n", "STATEPROXY_S3_CONNECT_TIMEOUT=11s",
             EINVAL,
             "environment STATEPROXY_S3_CONNECT_TIMEOUT: s3.connect_timeout: 11s, "
             "expected at most the 10s of s3.deadline");
    conf_free(load_good("s3: {deadline: 10s, attempt_timeout: 10s}\n", NULL));

    /* A default gives way. */
    struct conf *c = load_good("s3: {deadline: 3s}\n", NULL);

    assert_int_equal(c->s3.attempt_timeout_ns, 3 * NS_PER_S);
    assert_int_equal(c->s3.connect_timeout_ns, 3 * NS_PER_S);
    conf_free(c);
}

static void test_memory_fits(void **state)
{
    (void)state;
    load_bad("memory: {limit: 64Mi}\nbuffer: {memory: 65Mi}\n", NULL, EINVAL,
             "c.yaml:2:18: buffer.memory: 65Mi, expected at most the 64Mi of "
             "memory.limit");
    conf_free(load_good("memory: {limit: 64Mi}\nbuffer: {memory: 64Mi}\n", NULL));
}

/* What the daemon opens itself must not lie behind its own mount. */
static void test_paths_outside(void **state)
{
    char *hide[] = {"STATE_BUCKET=bkt", "STATE_MOUNT=/var", "AWS_ACCESS_KEY_ID=a",
                    "AWS_SECRET_ACCESS_KEY=b", NULL};

    (void)state;
    load_bad("buffer: {dir: /mnt/x/spool}\n", NULL, EINVAL,
             "c.yaml:1:15: buffer.dir: a path inside mount.path, expected one "
             "outside");
    load_bad("buffer: {dir: /mnt/x}\n", NULL, EINVAL,
             "c.yaml:1:15: buffer.dir: a path inside mount.path, expected one "
             "outside");
    load_bad("control: {socket: /mnt/x/s}\n", NULL, EINVAL,
             "c.yaml:1:19: control.socket: a path inside mount.path, expected one "
             "outside");
    load_bad(NULL, "AWS_CA_BUNDLE=/mnt/x/ca.pem", EINVAL,
             "environment AWS_CA_BUNDLE: s3.ca_bundle: a path inside mount.path, "
             "expected one outside");
    check_env(hide, "environment STATE_MOUNT: mount.path: hides /var/tmp, the "
                    "default of buffer.dir, expected separate paths");
    conf_free(load_good("buffer: {dir: /mnt/xy}\n", NULL));
}

static void test_file_trouble(void **state)
{
    char *env[] = {LOAD_BASE_ENV, NULL};
    char *big = malloc(CONF_FILE_MAX + 1);
    char path[300], line[ERR_TEXT_MAX];
    struct conf *c;
    struct err err;

    (void)state;
    assert_int_equal(conf_load("no/such.yaml", env, &c, &err), -ENOENT);
    assert_string_equal(err.text, "no/such.yaml: No such file or directory");
    assert_int_equal(conf_load("/", env, &c, &err), -EISDIR);
    assert_string_equal(err.text, "/: Is a directory");

    assert_non_null(big);
    memset(big, '#', CONF_FILE_MAX + 1);
    load_write(big, CONF_FILE_MAX);
    assert_int_equal(conf_load(LOAD_FILE, env, &c, &err), 0);
    conf_free(c);
    load_write(big, CONF_FILE_MAX + 1);
    assert_int_equal(conf_load(LOAD_FILE, env, &c, &err), -EFBIG);
    assert_string_equal(err.text, "c.yaml: too large, expected at most 64 KiB");
    assert_int_equal(conf_load("/dev/zero", env, &c, &err), -EFBIG);
    free(big);

    /* Of a long name the end is told, and the message always. */
    memset(path, 'd', sizeof(path));
    snprintf(path + 200, sizeof(path) - 200, "/end.yaml");
    assert_int_equal(conf_load(path, env, &c, &err), -ENOENT);
    snprintf(line, sizeof(line), "...%s: No such file or directory", path + strlen(path) - 80);
    assert_string_equal(err.text, line);
    assert_int_equal(conf_load(path, env, &c, NULL), -ENOENT);
}

/* The pages of the secrets are read-only, and gone after conf_forget_secrets. */
static void test_secrets(void **state)
{
    struct conf *c = load_good(NULL, "AWS_SESSION_TOKEN=tok");
    int status;
    pid_t pid;

    (void)state;
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        signal(SIGSEGV, SIG_DFL);
        *(volatile char *)(uintptr_t)c->s3.secret_access_key = 'x';
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);

    conf_forget_secrets(c);
    assert_null(c->s3.access_key_id);
    assert_null(c->s3.secret_access_key);
    assert_null(c->s3.session_token);
    conf_forget_secrets(c);
    conf_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_file),
        cmocka_unit_test(test_environment_beats_file),
        cmocka_unit_test(test_wrong_file_under_good_environment),
        cmocka_unit_test(test_buckets_of_others),
        cmocka_unit_test(test_automatic_words),
        cmocka_unit_test(test_descriptor),
        cmocka_unit_test(test_fd_socket),
        cmocka_unit_test(test_holder),
        cmocka_unit_test(test_fd_socket_alone),
        cmocka_unit_test(test_required),
        cmocka_unit_test(test_only_a_socket),
        cmocka_unit_test(test_credentials),
        cmocka_unit_test(test_times_fit),
        cmocka_unit_test(test_memory_fits),
        cmocka_unit_test(test_paths_outside),
        cmocka_unit_test(test_file_trouble),
        cmocka_unit_test(test_secrets),
    };

    return cmocka_run_group_tests(tests, load_setup, load_teardown);
}
