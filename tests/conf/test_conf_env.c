/* The environment: names and their order, unknown names, empty values, what Kubernetes puts
 * there. */
#include "tests/conf/load.h"

#include <errno.h>

#include "conf/conf_env.h"

static void test_get(void **state)
{
    char *env[] = {"AB=1", "A=2", "A=3", "B", "C=", NULL};

    (void)state;
    assert_string_equal(conf_env_get(env, "A"), "2");
    assert_string_equal(conf_env_get(env, "AB"), "1");
    assert_string_equal(conf_env_get(env, "C"), "");
    assert_null(conf_env_get(env, "B"));
    assert_null(conf_env_get(env, "D"));
    assert_null(conf_env_get(NULL, "A"));
}

/* The names that other tools use come before our own, each in the order of the table. */
static void test_order(void **state)
{
    char *env[] = {"STATEPROXY_S3_REGION=own", "AWS_DEFAULT_REGION=second", "AWS_REGION=first",
                   LOAD_BASE_ENV, NULL};
    struct conf *c;

    (void)state;
    assert_int_equal(load_exact(NULL, env, &c, NULL), 0);
    assert_string_equal(c->s3.region, "first");
    assert_string_equal(conf_origin(c, "s3.region"), "env AWS_REGION");
    conf_free(c);
    env[2] = "AWS_REGION="; /* not set, for AWS's tools */
    assert_int_equal(load_exact(NULL, env, &c, NULL), 0);
    assert_string_equal(c->s3.region, "second");
    conf_free(c);
    env[1] = "X=y";
    assert_int_equal(load_exact(NULL, env, &c, NULL), 0);
    assert_string_equal(c->s3.region, "own");
    assert_string_equal(conf_origin(c, "s3.region"), "env STATEPROXY_S3_REGION");
    conf_free(c);
}

static void test_every_seed_name(void **state)
{
    char *env[] = {"STATE_BUCKET=one",
                   "STATE_PREFIX=two/",
                   "STATE_VARIANT=s3-buffered-lww",
                   "STATE_MOUNT=/three",
                   "AWS_ENDPOINT_URL_S3=http://four",
                   "AWS_ENDPOINT_URL=http://not",
                   "AWS_CA_BUNDLE=/five",
                   "AWS_MAX_ATTEMPTS=6",
                   "AWS_ACCESS_KEY_ID=seven",
                   "AWS_SECRET_ACCESS_KEY=eight",
                   "AWS_SESSION_TOKEN=nine",
                   "AWS_DEFAULT_REGION=ten",
                   NULL};
    struct conf *c;

    (void)state;
    assert_int_equal(load_exact(NULL, env, &c, NULL), 0);
    assert_string_equal(c->bucket, "one");
    assert_string_equal(c->prefix, "two");
    assert_string_equal(c->mount.path, "/three");
    assert_string_equal(c->s3.endpoint, "http://four");
    assert_string_equal(c->s3.ca_bundle, "/five");
    assert_int_equal(c->s3.max_attempts, 6);
    assert_string_equal(c->s3.access_key_id, "seven");
    assert_string_equal(c->s3.secret_access_key, "eight");
    assert_string_equal(c->s3.session_token, "nine");
    assert_string_equal(c->s3.region, "ten");
    conf_free(c);
}

static void test_variant_names(void **state)
{
    struct conf *c = load_good(NULL, "ASYA_CONNECTOR=s3_buffered_lww");

    (void)state;
    assert_string_equal(conf_origin(c, "variant"), "env ASYA_CONNECTOR");
    conf_free(c);
    c = load_good(NULL, "ASYA_CONNECTOR=s3_buffered_cas");
    assert_int_equal(c->variant, CONF_S3_BUFFERED_CAS);
    conf_free(c);
    c = load_good(NULL, "ASYA_CONNECTOR=s3_passthrough");
    assert_int_equal(c->variant, CONF_S3_PASSTHROUGH);
    conf_free(c);
    load_bad(NULL, "STATE_VARIANT=", EINVAL,
             "environment STATE_VARIANT: variant: \"\", expected s3-buffered-lww, s3-buffered-cas "
             "or s3-passthrough");
}

static void test_probe_names(void **state)
{
    struct conf *c = load_good(NULL, "STATEPROXY_CAS_PROBE=warn");

    (void)state;
    assert_int_equal(c->cas.probe, CONF_PROBE_WARN);
    conf_free(c);
    c = load_good(NULL, "STATEPROXY_CAS_PROBE=off");
    assert_int_equal(c->cas.probe, CONF_PROBE_OFF);
    conf_free(c);
    load_bad(NULL, "STATEPROXY_CAS_PROBE=never", EINVAL,
             "environment STATEPROXY_CAS_PROBE: cas.probe: \"never\", expected auto, require, "
             "warn or off");
}

static void test_loose_booleans(void **state)
{
    static const char *const yes[] = {"true", "TRUE", "yes", "on", "1"};
    static const char *const no[] = {"false", "No", "off", "0"};
    char text[64];
    struct conf *c;

    (void)state;
    for (size_t i = 0; i < sizeof(yes) / sizeof(yes[0]); i++) {
        snprintf(text, sizeof(text), "STATEPROXY_MOUNT_READ_ONLY=%s", yes[i]);
        c = load_good(NULL, text);
        assert_true(c->mount.read_only);
        conf_free(c);
    }
    for (size_t i = 0; i < sizeof(no) / sizeof(no[0]); i++) {
        snprintf(text, sizeof(text), "STATEPROXY_MOUNT_ALLOW_OTHER=%s", no[i]);
        c = load_good(NULL, text);
        assert_false(c->mount.allow_other);
        conf_free(c);
    }
    load_bad(NULL, "STATEPROXY_MOUNT_READ_ONLY=maybe", EINVAL,
             "environment STATEPROXY_MOUNT_READ_ONLY: mount.read_only: \"maybe\", "
             "expected true or false");
}

static void test_empty_values(void **state)
{
    struct conf *c = load_good("prefix: in-file\n", "STATE_PREFIX=");

    (void)state;
    assert_string_equal(c->prefix, "");
    assert_string_equal(conf_origin(c, "prefix"), "env STATE_PREFIX");
    conf_free(c);
    c = load_good("s3: {endpoint: http://h}\n", "AWS_ENDPOINT_URL=");
    assert_string_equal(c->s3.endpoint, "http://h");
    conf_free(c);
    c = load_good("s3: {endpoint: http://h}\n", "STATEPROXY_S3_ENDPOINT=");
    assert_string_equal(c->s3.endpoint, "");
    conf_free(c);
    load_bad(NULL, "STATEPROXY_S3_MAX_ATTEMPTS=", EINVAL,
             "environment STATEPROXY_S3_MAX_ATTEMPTS: s3.max_attempts: \"\", "
             "expected a "
             "number from 1 to 20");
}

static void test_unknown_names(void **state)
{
    (void)state;
    load_bad(NULL, "STATEPROXY_S3_REGOIN=x", EINVAL,
             "environment STATEPROXY_S3_REGOIN: unknown name, did you mean "
             "STATEPROXY_S3_REGION?");
    load_bad(NULL, "STATEPROXY_BUKET=x", EINVAL,
             "environment STATEPROXY_BUKET: unknown name, did you mean "
             "STATEPROXY_BUCKET?");
    load_bad(NULL, "STATEPROXY_NOTHING_LIKE_IT=hush", EINVAL,
             "environment STATEPROXY_NOTHING_LIKE_IT: unknown name, expected "
             "one that "
             "--help lists");
    load_bad(NULL, "STATEPROXY_=x", EINVAL,
             "environment STATEPROXY_: unknown name, expected one that --help "
             "lists");
    load_bad(NULL,
             "STATEPROXY_"
             "A234567890123456789012345678901234567890123456789012345678901234567"
             "890123456789012345678901234567890123456789012345678901234567890=x",
             EINVAL,
             "environment "
             "STATEPROXY_A2345678901234567890123456789012345678901234567890123"
             "4567890123456789: unknown name, expected one that --help lists");
    conf_free(load_good(NULL, "STATEPROXY=x"));
    conf_free(load_good(NULL, "STATEPROXY_NO_EQUALS_SIGN"));
    conf_free(load_good(NULL, "STATE_BUKET=x"));
}

/* Of `env`, "name=meant" for each doubt. */
static void expect_doubts(char *const *env, const char *const *doubts)
{
    struct conf_env_doubt d;
    char text[CONF_ENV_SHOWN * 2];

    for (; conf_env_next_doubt(&env, &d); doubts++) {
        snprintf(text, sizeof(text), "%s=%s", d.name, d.meant);
        assert_non_null(*doubts);
        assert_string_equal(text, *doubts);
    }
    assert_null(*doubts);
}

static void test_doubts(void **state)
{
    static char *const env[] = {"STATE_BUKET=x",  "STATE_BUCKET=y",       "STATE_PREFIXES=a",
                                "STATE_PATH=x",   "ASYA_CONECTOR=x",      "AWS_REGOIN=x",
                                "STATE_=x",       "STATEPROXY_BUKET=x",   "STATE_PRESIGN_TLL=1",
                                "STATE_PREFX",    "NO_PREFIX=STATE_BUKE", "=STATE_BUKET=x",
                                "state_bucket=x", "STATE_VARIAN=x",       NULL};
    static char long_name[200] = "STATE_", *const cut[] = {long_name, NULL};
    static char *const none[] = {NULL};
    static const char *const doubts[] = {
        "STATE_BUKET=STATE_BUCKET",     "STATE_PREFIXES=STATE_PREFIX",
        "ASYA_CONECTOR=ASYA_CONNECTOR", "STATE_PRESIGN_TLL=STATE_PRESIGN_TTL",
        "STATE_VARIAN=STATE_VARIANT",   NULL};

    (void)state;
    memset(long_name + strlen("STATE_"), 'B', 100);
    strcat(long_name, "=x");
    expect_doubts(env, doubts);
    expect_doubts(cut, doubts + 5);
    expect_doubts(none, doubts + 5);
}

/* A service called stateproxy or stateproxy-metrics in the namespace. */
static void test_service_links(void **state)
{
    static const char *const links[] = {
        "STATEPROXY_SERVICE_HOST=10.0.0.1",
        "STATEPROXY_SERVICE_PORT=80",
        "STATEPROXY_SERVICE_PORT_HTTP=80",
        "STATEPROXY_PORT=tcp://10.0.0.1:80",
        "STATEPROXY_PORT_80_TCP=tcp://10.0.0.1:80",
        "STATEPROXY_PORT_80_TCP_PROTO=tcp",
        "STATEPROXY_PORT_80_TCP_PORT=80",
        "STATEPROXY_PORT_80_TCP_ADDR=10.0.0.1",
        "STATEPROXY_METRICS_PORT_53_UDP=udp://10.0.0.1:53",
        "STATEPROXY_METRICS_PORT_9_SCTP_ADDR=10.0.0.1",
        "STATEPROXY_METRICS_PORT=tcp://10.0.0.1:80",
        "STATEPROXY_A_PORT_B_PORT_80_TCP_ADDR=10.0.0.1",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(links) / sizeof(links[0]); i++)
        conf_free(load_good(NULL, links[i]));
    load_bad(NULL, "STATEPROXY_PORT=80", EINVAL,
             "environment STATEPROXY_PORT: unknown name, expected one that --help "
             "lists");
    load_bad(NULL, "STATEPROXY_PORT_HTTP=80", EINVAL,
             "environment STATEPROXY_PORT_HTTP: unknown name, expected one "
             "that --help "
             "lists");
}

/* Secrets with what a mounted secret file often ends with, or of absurd length. */
static void test_bad_secrets(void **state)
{
    char *env[] = {"STATE_BUCKET=bkt", "STATE_MOUNT=/m", "AWS_ACCESS_KEY_ID=a",
                   "AWS_SECRET_ACCESS_KEY=hush\n", NULL};
    char token[8400] = "AWS_SESSION_TOKEN=";
    struct conf *c;
    struct err err;

    (void)state;
    assert_int_equal(conf_load(NULL, env, &c, &err), -EINVAL);
    assert_string_equal(err.text, "environment AWS_SECRET_ACCESS_KEY: s3.secret_access_key: bad "
                                  "value, expected printable ASCII without spaces or line breaks");
    env[3] = "AWS_SECRET_ACCESS_KEY=h\xc3\xa9";
    assert_int_equal(conf_load(NULL, env, &c, &err), -EINVAL);
    assert_null(strstr(err.text, "\xc3"));
    env[3] = token;
    memset(token + strlen(token), 't', 8193);
    assert_int_equal(conf_load(NULL, env, &c, &err), -EINVAL);
    assert_string_equal(err.text, "environment AWS_SESSION_TOKEN: s3.session_token: 8193 "
                                  "bytes, expected at most 8192");
}

static void test_dirty_values(void **state)
{
    (void)state;
    load_bad(NULL, "STATE_PREFIX=a\xff", EINVAL,
             "environment STATE_PREFIX: prefix: control character or invalid UTF-8, "
             "expected a key prefix such as models/v2, without empty, . or .. components");
    load_bad(NULL, "AWS_REGION=us-east-1\r", EINVAL,
             "environment AWS_REGION: s3.region: control character or invalid UTF-8, "
             "expected a region such as us-east-1");
    load_bad(NULL, "AWS_ENDPOINT_URL=http://me:hush@h", EINVAL,
             "environment AWS_ENDPOINT_URL: s3.endpoint: bad value, expected "
             "an http:// "
             "or https:// URL without user, query and fragment");
}

/* Secrets are wiped where they lie, under all their names, and no other variable. */
static void test_wipe(void **state)
{
    char id[] = "AWS_ACCESS_KEY_ID=seven", secret[] = "STATEPROXY_S3_SECRET_ACCESS_KEY=eight";
    char token[] = "AWS_CONTAINER_AUTHORIZATION_TOKEN=nine", path[] = "PATH=/bin";
    char other[] = "AWS_ACCESS_KEY_ID_FILE=ten", last[] = "HOME=/";
    char *env[] = {id, path, secret, token, other, last, NULL};

    (void)state;
    conf_wipe_env(env);
    assert_string_equal(env[0], "PATH=/bin");
    assert_string_equal(env[1], "AWS_ACCESS_KEY_ID_FILE=ten");
    assert_string_equal(env[2], "HOME=/");
    assert_null(env[3]);
    assert_string_equal(secret, "STATEPROXY_S3_SECRET_ACCESS_KEY");
    for (size_t i = strlen(secret); i < sizeof(secret); i++)
        assert_int_equal(secret[i], 0);
    for (size_t i = strlen(token); i < sizeof(token); i++)
        assert_int_equal(token[i], 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_get),
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_every_seed_name),
        cmocka_unit_test(test_variant_names),
        cmocka_unit_test(test_probe_names),
        cmocka_unit_test(test_loose_booleans),
        cmocka_unit_test(test_empty_values),
        cmocka_unit_test(test_unknown_names),
        cmocka_unit_test(test_doubts),
        cmocka_unit_test(test_service_links),
        cmocka_unit_test(test_bad_secrets),
        cmocka_unit_test(test_wipe),
        cmocka_unit_test(test_dirty_values),
    };

    return cmocka_run_group_tests(tests, load_setup, load_teardown);
}
