/* The file: every form of error with its line and column, and hostile input. */
#include "tests/conf/load.h"

#include <errno.h>
#include <time.h>

#include "conf/conf_yaml.h"

struct row {
    const char *text;
    const char *line;
};

static void check_rows(const struct row *rows, size_t n)
{
    for (size_t i = 0; i < n; i++)
        load_bad(rows[i].text, NULL, EINVAL, rows[i].line);
}

#define CHECK(rows) check_rows((rows), sizeof(rows) / sizeof((rows)[0]))

static void test_unknown_keys(void **state)
{
    static const struct row rows[] = {
        {"s3:\n  regoin: x\n", "c.yaml:2:3: s3.regoin: unknown key, did you mean s3.region?"},
        {"\n\nbuket: x\n", "c.yaml:3:1: buket: unknown key, did you mean bucket?"},
        {"mont: {path: /x}\n", "c.yaml:1:1: mont: unknown key, did you mean mount?"},
        {"region: x\n", "c.yaml:1:1: region: unknown key, did you mean s3.region?"},
        {"s3: {path: /x}\n", "c.yaml:1:6: s3.path: unknown key, did you mean mount.path?"},
        {"s3: {max-attempts: 1}\n", "c.yaml:1:6: s3.max-attempts: unknown key, "
                                    "did you mean s3.max_attempts?"},
        {"Bucket: abc\n", "c.yaml:1:1: Bucket: unknown key, did you mean bucket?"},
        {"version: 1\n", "c.yaml:1:1: version: unknown key, expected one that --help lists"},
        {"<<: {}\n", "c.yaml:1:1: <<: unknown key, expected one that --help lists"},
        {"\"\": 1\n", "c.yaml:1:1: : unknown key, expected one that --help lists"},
        {"s3: {\"\": 1}\n", "c.yaml:1:6: s3.: unknown key, expected one that --help lists"},
        {"\"buc\\0ket\": 1\n", "c.yaml:1:1: buc?: unknown key, expected one that --help lists"},
        {"\"bucket\\0\": 1\n", "c.yaml:1:1: bucket?: unknown key, did you mean bucket?"},
        {"\"a\\nb\\e[1m\": 1\n",
         "c.yaml:1:1: a?b?[1m: unknown key, expected one that --help lists"},
        {"gr\xc3\xbc\xc3\x9f: {k\xc3\xb6: 1}\n",
         "c.yaml:1:1: gr????: unknown key, expected one that --help lists"},
        {"s3: {gr\xc3\xbc\xc3\x9f: a, nokey: b}\n",
         "c.yaml:1:6: s3.gr????: unknown key, expected one that --help lists"},
        {"a234567890123456789012345678901234567890123456789: 1\n",
         "c.yaml:1:1: a2345678901234567890123456789012345678901234...: unknown "
         "key, "
         "expected one that --help lists"},
    };

    (void)state;
    CHECK(rows);
}

static void test_duplicates(void **state)
{
    static const struct row rows[] = {
        {"bucket: abc\nprefix: a\nbucket: abc\n",
         "c.yaml:3:1: bucket: duplicate key, first given at 1:1"},
        {"s3: {region: a}\nlog: {}\ns3:\n  endpoint: \"\"\n",
         "c.yaml:3:1: s3: duplicate key, first given at 1:1"},
        {"s3:\n  region: a\n  region: a\n",
         "c.yaml:3:3: s3.region: duplicate key, first given at 2:3"},
        {"s3.region: a\ns3: {region: b}\n",
         "c.yaml:2:6: s3.region: duplicate key, first given at 1:1"},
        {"s3:\ns3:\n", "c.yaml:2:1: s3: duplicate key, first given at 1:1"},
    };

    (void)state;
    CHECK(rows);
}

static void test_wrong_kinds(void **state)
{
    static const struct row rows[] = {
        {"- bucket\n", "c.yaml:1:1: a list, expected keys and values"},
        {"just text\n", "c.yaml:1:1: text, expected keys and values"},
        {"\"\"\n", "c.yaml:1:1: text, expected keys and values"},
        {"s3: text\n", "c.yaml:1:5: s3: text, expected keys and values"},
        {"s3: \"\"\n", "c.yaml:1:5: s3: text, expected keys and values"},
        {"s3: [a]\n", "c.yaml:1:5: s3: a list, expected keys and values"},
        {"s3:\n- region: x\n", "c.yaml:2:1: s3: a list, expected keys and values"},
        {"prefix: {a: b}\n", "c.yaml:1:9: prefix: keys and values, expected a key prefix such as "
                             "models/v2, without empty, . or .. components"},
        {"s3:\n  region: [a, b]\n",
         "c.yaml:2:11: s3.region: a list, expected a region such as us-east-1"},
        {"s3:\n  region: {a: b}\n", "c.yaml:2:11: s3.region: keys and values, "
                                    "expected a region such as us-east-1"},
        {"? {a: b}\n: c\n", "c.yaml:1:3: keys and values, expected a key"},
        {"? [a]\n: c\n", "c.yaml:1:3: a list, expected a key"},
        {"s3: {{a: b}: c}\n", "c.yaml:1:6: s3: keys and values, expected a key"},
        {"prefix:\n", "c.yaml:1:8: prefix: no value, expected a key prefix such as models/v2, "
                      "without empty, . or .. components"},
        {"s3: {region: ~}\n",
         "c.yaml:1:14: s3.region: no value, expected a region such as us-east-1"},
        {"s3: {region: null}\n",
         "c.yaml:1:14: s3.region: no value, expected a region such as us-east-1"},
    };

    (void)state;
    CHECK(rows);
}

static void test_wrong_values(void **state)
{
    static const struct row rows[] = {
        {"s3: {max_attempts: 0}\n",
         "c.yaml:1:20: s3.max_attempts: \"0\", expected a number from 1 to 20"},
        {"s3: {max_attempts: 21}\n", "c.yaml:1:20: s3.max_attempts: \"21\", "
                                     "expected a number from 1 to 20"},
        {"s3: {max_attempts: three}\n",
         "c.yaml:1:20: s3.max_attempts: \"three\", expected a number from 1 to "
         "20"},
        {"s3: {max_attempts: 99999999999999999999}\n",
         "c.yaml:1:20: s3.max_attempts: \"99999999999999999999\", expected a "
         "number "
         "from 1 to 20"},
        {"buffer: {memory: 64M}\n", "c.yaml:1:18: buffer.memory: \"64M\", "
                                    "expected a size from 64Ki to 1Gi, such as 64Mi (B, Ki, Mi, "
                                    "Gi, Ti)"},
        {"buffer: {memory: 2Gi}\n", "c.yaml:1:18: buffer.memory: \"2Gi\", "
                                    "expected a size from 64Ki to 1Gi"},
        {"buffer: {memory: 1}\n",
         "c.yaml:1:18: buffer.memory: \"1\", expected a size from 64Ki to 1Gi"},
        {"buffer: {memory: 99999999Ti}\n",
         "c.yaml:1:18: buffer.memory: \"99999999Ti\", expected a size from "
         "64Ki to 1Gi"},
        {"directories: {ttl: 5}\n", "c.yaml:1:20: directories.ttl: \"5\", "
                                    "expected a duration from 0 to 1h, such as 250ms (ms, s, m, "
                                    "h)"},
        {"directories: {ttl: 2h}\n",
         "c.yaml:1:20: directories.ttl: \"2h\", expected a duration from 0 to 1h"},
        {"mount: {read_only: yes}\n",
         "c.yaml:1:20: mount.read_only: \"yes\", expected true or false"},
        {"mount: {allow_other: 1}\n",
         "c.yaml:1:22: mount.allow_other: \"1\", expected auto, true or false"},
        {"mount: {file_mode: 4755}\n",
         "c.yaml:1:20: mount.file_mode: \"4755\", expected octal permissions such as 0644"},
        {"mount: {uid: 4294967295}\n",
         "c.yaml:1:14: mount.uid: \"4294967295\", expected auto or a number "
         "from 0 to "
         "4294967294"},
        {"log: {level: info}\n", "c.yaml:1:14: log.level: \"info\", expected "
                                 "err, warn, notice or debug"},
        {"variant: s3-buffered\n", "c.yaml:1:10: variant: \"s3-buffered\", expected "
                                   "s3-buffered-lww, s3-buffered-cas or s3-passthrough"},
        {"variant: s3-buffered-lww-x\n", "c.yaml:1:10: variant: \"s3-buffered-lww-x\", expected "
                                         "s3-buffered-lww, s3-buffered-cas or s3-passthrough"},
        {"prefix: a/../b\n", "c.yaml:1:9: prefix: \"a/../b\", expected a key prefix such as "
                             "models/v2, without empty, . or .. components"},
        {"s3: {endpoint: \"127.0.0.1:9000\"}\n",
         "c.yaml:1:16: s3.endpoint: \"127.0.0.1:9000\", expected an http:// or "
         "https:// URL without user, query and fragment"},
        {"s3: {ca_bundle: ca.pem}\n", "c.yaml:1:17: s3.ca_bundle: \"ca.pem\", "
                                      "expected an absolute path without . "
                                      "and .."},
        {"mount: {path: /}\n", "c.yaml:1:15: mount.path: \"/\", expected an "
                               "absolute path of a directory, or "
                               "/dev/fd/N"},
        {"prefix: \"a\\0b\"\n", "c.yaml:1:9: prefix: a NUL character, expected "
                                "a key prefix such as models/v2, without empty, . or .. "
                                "components"},
        {"prefix: |\n  a\n", "c.yaml:1:9: prefix: control character or invalid UTF-8, expected a "
                             "key prefix such as models/v2, without empty, . or .. components"},
        {"prefix: \"\\x1b[31m\"\n",
         "c.yaml:1:9: prefix: control character or invalid UTF-8, expected a key prefix such as "
         "models/v2, without empty, . or .. components"},
        {"s3: {region: "
         "a23456789012345678901234567890123456789012345678901234567890123"
         "45}\n",
         "c.yaml:1:14: s3.region: 65 bytes, expected at most 64"},
    };

    (void)state;
    CHECK(rows);
}

/* A secret is refused in a file, and nothing that may be one is repeated. */
static void test_secrets(void **state)
{
    static const struct row rows[] = {
        {"s3: {access_key_id: AKID}\n",
         "c.yaml:1:6: s3.access_key_id: secrets are not read from a file, expected the "
         "environment variable AWS_ACCESS_KEY_ID"},
        {"s3:\n  secret_access_key: hush\n",
         "c.yaml:2:3: s3.secret_access_key: secrets are not read from a file, expected the "
         "environment variable AWS_SECRET_ACCESS_KEY"},
        {"s3: {session_token: }\n",
         "c.yaml:1:6: s3.session_token: secrets are not read from a file, expected the "
         "environment variable AWS_SESSION_TOKEN"},
        {"secret_access_key: hush\n", "c.yaml:1:1: secret_access_key: unknown key, did "
                                      "you mean s3.secret_access_key?"},
        {"s3: {endpoint: \"https://me:hush@h\"}\n",
         "c.yaml:1:16: s3.endpoint: bad value, expected an http:// or https:// "
         "URL "
         "without user, query and fragment"},
    };

    (void)state;
    CHECK(rows);
}

static void test_refused_yaml(void **state)
{
    static const struct row rows[] = {
        {"bucket: &a abc\n", "c.yaml:1:9: bucket: an anchor, expected a bucket name: 3 "
                             "to 63 lower-case letters, digits, dots and hyphens"},
        {"prefix: *a\n", "c.yaml:1:9: prefix: an alias, expected a key prefix such as models/v2, "
                         "without empty, . or .. components"},
        {"s3: &a {region: x}\n", "c.yaml:1:5: s3: an anchor, expected keys and values"},
        {"s3: *a\n", "c.yaml:1:5: s3: an alias, expected keys and values"},
        {"&a bucket: abc\n", "c.yaml:1:1: an anchor, expected a key"},
        {"*a : abc\n", "c.yaml:1:1: an alias, expected a key"},
        {"&a {bucket: abc}\n", "c.yaml:1:1: an anchor, expected keys and values"},
        {"!!map {bucket: abc}\n", "c.yaml:1:1: a tag, expected keys and values"},
        {"s3: {region: !!str x}\n",
         "c.yaml:1:14: s3.region: a tag, expected a region such as us-east-1"},
        {"s3: {region: ! x}\n",
         "c.yaml:1:14: s3.region: a tag, expected a region such as us-east-1"},
        {"s3: !x {region: x}\n", "c.yaml:1:5: s3: a tag, expected keys and values"},
        {"%TAG ! tag:x,2000:\n---\nbucket: abc\n",
         "c.yaml:1:1: a %TAG directive, expected keys and values"},
        {"bucket: abc\n---\nbucket: abc\n", "c.yaml:2:1: a second document, expected one"},
        {"bucket: abc\n...\n---\n", "c.yaml:3:1: a second document, expected one"},
        {"--- \n---\n", "c.yaml:2:1: a second document, expected one"},
        {"bucket: abc: b\n", "c.yaml:1:12: not YAML: mapping values are not "
                             "allowed in this context"},
        {"s3:\n\tregion: x\n", "c.yaml:2:1: not YAML: found character that cannot start any token"},
        {"s3: {region: x\n", "c.yaml:2:1: not YAML: did not find expected ',' or '}'"},
        {"prefix: \"a\n", "c.yaml:2:1: not YAML: found unexpected end of stream"},
        {"prefix: a\n bucket: x\n", "c.yaml:2:8: not YAML: mapping values "
                                    "are not allowed in this context"},
        {"prefix: \"\\q\"\n", "c.yaml:1:10: not YAML: found unknown escape character"},
        {"%YAML 3.0\n---\n", "c.yaml:1:1: not YAML: found incompatible YAML document"},
        {"prefix: a\n# \xc3\xbc \xff\n", "c.yaml:2:5: not UTF-8 text: invalid leading UTF-8 octet"},
        {"prefix: a\x01\n", "c.yaml:1:10: not UTF-8 text: control "
                            "characters are not allowed"},
        {"\xff\xfe", "c.yaml:1:1: not UTF-8 text: invalid leading UTF-8 octet"},
        {"\xc3", "c.yaml:1:1: not UTF-8 text: incomplete UTF-8 octet sequence"},
    };

    (void)state;
    CHECK(rows);
}

/* Columns count characters, not bytes. */
static void test_columns(void **state)
{
    (void)state;
    load_bad("s3: {ca_bundle: \"/\xc3\xbc\xc3\xbc\", max_attempts: 0}\n", NULL, EINVAL,
             "c.yaml:1:38: s3.max_attempts: \"0\", expected a number from 1 to 20");
}

static void test_harmless_forms(void **state)
{
    static const char *const texts[] = {
        "",
        "\n\n",
        "# nothing\n",
        "---\n",
        "---\n...\n",
        "{}\n",
        "null\n",
        "~\n",
        "s3:\n",
        "s3: {}\n",
        "s3:\n  # region: x\nlog:\n",
        "s3: ~\n",
        "%YAML 1.1\n---\nlog: {level: debug}\n",
        "\xef\xbb\xbflog: {level: debug}\n",
        "log:\r\n  level: debug\r\n",
        "\"log\": {'level': \"debug\"}\n",
        "log.level: debug\n",
        "mount: {read_only: \"true\", file_mode: \"0600\"}\n",
        "prefix: \"\"\n",
        "prefix: >-\n  a\n",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        conf_free(load_good(texts[i], NULL));
}

static void test_values_as_written(void **state)
{
    struct conf *c = load_good("prefix: 'it''s #1: \"a\"/~/null'\n", NULL);

    (void)state;
    assert_string_equal(c->prefix, "it's #1: \"a\"/~/null");
    conf_free(c);
    c = load_good("prefix: 0x10\n", NULL);
    assert_string_equal(c->prefix, "0x10");
    conf_free(c);
    c = load_good("prefix: \"gr\\xFC\\xDF\\u20AC\"\n", NULL);
    assert_string_equal(c->prefix, "gr\xc3\xbc\xc3\x9f\xe2\x82\xac");
    conf_free(c);
}

/* Any bytes up to the size limit end soon, in an error or not. */
static void check_soon(const char *what, const char *text, size_t len)
{
    char *env[] = {LOAD_BASE_ENV, NULL};
    struct timespec from, to;
    struct conf *c = NULL;
    struct err err;

    load_write(text, len);
    clock_gettime(CLOCK_MONOTONIC, &from);
    if (conf_load(LOAD_FILE, env, &c, &err) == 0)
        conf_free(c);
    clock_gettime(CLOCK_MONOTONIC, &to);
    if (to.tv_sec - from.tv_sec > 20)
        fail_msg("%s took %ld s", what, (long)(to.tv_sec - from.tv_sec));
}

static void test_hostile(void **state)
{
    static const char *const pieces[] = {
        "[",        "{",           "- ",  "? ",       "a: ",          "{a: ",  "[[a]: ",
        "&a ",      "*a ",         "!a ", "!<a> ",    "\"",           "'",     "|\n",
        "#",        "\n",          " ",   "\t",       "---\n",        "...\n", "%a b\n",
        "\r",       "\\",          "a,",  "[a,b]: [", "bucket: |\n ", "\"\\x", "<<: *a\n",
        "\xc2\x85", "a:\n a:\n  ",
    };
    char *text = malloc(CONF_FILE_MAX);

    (void)state;
    assert_non_null(text);
    for (size_t i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++) {
        size_t n = strlen(pieces[i]);

        for (size_t off = 0; off < CONF_FILE_MAX; off++)
            text[off] = pieces[i][off % n];
        check_soon(pieces[i], text, CONF_FILE_MAX);
    }
    memset(text, 0, CONF_FILE_MAX);
    check_soon("NUL", text, CONF_FILE_MAX);
    free(text);
}

/* Every cut and every changed byte of a good file: no crash, and an error is a line. */
static void test_broken_files(void **state)
{
    static const char good[] = "bucket: abc # c\nprefix: \"a\\u00e9/b\"\n"
                               "s3: {region: x, endpoint: 'http://h:1/b'}\n"
                               "mount:\n  path: /mnt/y\n  file_mode: 0600\n"
                               "buffer:\n  memory: 1Mi\n...\n";
    static const char bytes[] = "\0\n\t\"'{}[]:#&*!|>%@`-,? \x80\xff\xc3";
    char *env[] = {LOAD_BASE_ENV, NULL};
    char text[sizeof(good)];

    (void)state;
    for (size_t i = 0; i < sizeof(good) - 1; i++) {
        for (size_t j = 0; j < sizeof(bytes); j++) {
            size_t len = j + 1 < sizeof(bytes) ? sizeof(good) - 1 : i;
            struct err err = {0};
            struct conf *c;

            memcpy(text, good, sizeof(good));
            text[i] = bytes[j];
            load_write(text, len);
            if (conf_load(LOAD_FILE, env, &c, &err) == 0)
                conf_free(c);
            else if (strncmp(err.text, "c.yaml:", 7) != 0 || strchr(err.text, '\n'))
                fail_msg("%s", err.text);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_unknown_keys),      cmocka_unit_test(test_duplicates),
        cmocka_unit_test(test_wrong_kinds),       cmocka_unit_test(test_wrong_values),
        cmocka_unit_test(test_secrets),           cmocka_unit_test(test_refused_yaml),
        cmocka_unit_test(test_columns),           cmocka_unit_test(test_harmless_forms),
        cmocka_unit_test(test_values_as_written), cmocka_unit_test(test_hostile),
        cmocka_unit_test(test_broken_files),
    };

    return cmocka_run_group_tests(tests, load_setup, load_teardown);
}
