/* What is printed: the sample equals the file in the tree, the configuration reads back as it
 * was, and no secret is in either. */
#include "tests/conf/load.h"

#include "conf/conf_keys.h"

#define TEXT_MAX (64 * 1024)

static char tree_sample[TEXT_MAX]; /* etc/stateproxy.yaml */

static int setup(void **state)
{
    const char *src = getenv("srcdir");
    char path[4096];
    FILE *f;

    snprintf(path, sizeof(path), "%s/etc/stateproxy.yaml", src ? src : ".");
    f = fopen(path, "r");
    if (f) {
        size_t n = fread(tree_sample, 1, sizeof(tree_sample) - 1, f);

        tree_sample[n] = '\0';
        fclose(f);
    }
    return load_setup(state);
}

/* Everything that `print` wrote; the caller frees. */
static char *printed(void (*print)(FILE *))
{
    char *text = NULL;
    size_t len;
    FILE *f = open_memstream(&text, &len);

    assert_non_null(f);
    print(f);
    assert_int_equal(fclose(f), 0);
    return text;
}

static char *printed_conf(const struct conf *c)
{
    char *text = NULL;
    size_t len;
    FILE *f = open_memstream(&text, &len);

    assert_non_null(f);
    conf_print(c, f);
    assert_int_equal(fclose(f), 0);
    return text;
}

static void test_sample_is_in_the_tree(void **state)
{
    char *text = printed(conf_print_sample);

    (void)state;
    if (strcmp(text, tree_sample) != 0)
        fail_msg("etc/stateproxy.yaml is not what stateproxyd --print-sample "
                 "prints: write it anew");
    free(text);
}

static void check_is_default(const struct conf *c, const struct conf *d, const struct conf_key *key,
                             const char *origin)
{
    const char *a = (const char *)c + key->offset;
    const char *b = (const char *)d + key->offset;
    bool number = key->type == CONF_SIZE || key->type == CONF_DURATION;

    if (key->type == CONF_STRING)
        assert_string_equal(*(const char *const *)a, *(const char *const *)b);
    else if (key->type != CONF_SECRET)
        assert_memory_equal(a, b, number ? 8 : key->type == CONF_BOOL ? 1 : 4);
    if (key->type != CONF_SECRET)
        assert_string_equal(conf_origin(c, key->name), origin);
}

/* The sample loads as it is, and shows every default truly: with each # before a key taken away
 * it still means the same. */
static void test_sample_loads(void **state)
{
    char *env[] = {"AWS_ACCESS_KEY_ID=a", "AWS_SECRET_ACCESS_KEY=b", NULL};
    char *text = printed(conf_print_sample), *to = text;
    struct conf *c, *d;
    struct err err;

    (void)state;
    if (load_exact(text, env, &d, &err) < 0)
        fail_msg("%s", err.text);
    for (size_t i = 0; i < conf_n_keys; i++) {
        if (!conf_keys[i].required)
            check_is_default(d, d, &conf_keys[i], "default");
    }
    for (const char *from = text; *from; from++) {
        if (from[0] != '#' || from[1] < 'a' || from[1] > 'z')
            *to++ = *from;
    }
    *to = '\0';
    if (load_exact(text, env, &c, &err) < 0)
        fail_msg("%s", err.text);
    for (size_t i = 0; i < conf_n_keys; i++) {
        const char *origin = conf_origin(c, conf_keys[i].name);

        if (conf_keys[i].type == CONF_SECRET)
            continue;
        assert_true(strncmp(origin, "c.yaml:", 7) == 0);
        check_is_default(c, d, &conf_keys[i], origin);
    }
    conf_free(c);
    conf_free(d);
    free(text);
}

/* A copy with the line breaks taken out that manual_wrap makes: `begin` is what a line begins
 * with, spaces before it aside. */
static char *unwrapped(const char *text, const char *begin)
{
    char *copy = malloc(strlen(text) + 1), *to = copy;

    assert_non_null(copy);
    while (*text) {
        const char *next = text + 1 + strspn(text + 1, " ");

        if (*text == '\n' && strncmp(next, begin, strlen(begin)) == 0) {
            *to++ = ' ';
            text = next + strlen(begin);
        } else {
            *to++ = *text++;
        }
    }
    *to = '\0';
    return copy;
}

static void test_sample_has_every_key(void **state)
{
    char *sample = unwrapped(tree_sample, "# ");

    (void)state;
    for (size_t i = 0; i < conf_n_keys; i++) {
        char own[CONF_ENV_NAME_MAX];
        const char *name;

        assert_non_null(strstr(sample, conf_keys[i].doc));
        for (unsigned n = 0; (name = conf_key_env(&conf_keys[i], n, own)); n++)
            assert_non_null(strstr(tree_sample, name));
    }
    assert_non_null(strstr(tree_sample, "# secret_access_key: only from the environment"));
    free(sample);
}

static void test_help_has_every_key(void **state)
{
    char *text = printed(conf_print_keys);
    char *flat = unwrapped(text, "");

    (void)state;
    for (size_t i = 0; i < conf_n_keys; i++) {
        char expected[CONF_EXPECTED_MAX], own[CONF_ENV_NAME_MAX];

        conf_key_expected(&conf_keys[i], expected);
        conf_key_own_env(&conf_keys[i], own);
        assert_non_null(strstr(text, conf_keys[i].name));
        assert_non_null(strstr(flat, conf_keys[i].doc));
        assert_non_null(strstr(flat, expected));
        assert_non_null(strstr(text, own));
    }
    assert_non_null(strstr(text, "  s3.max_attempts\n"
                                 "      attempts per request, 1 = no retry\n"
                                 "      a number from 1 to 20; default 3\n"
                                 "      AWS_MAX_ATTEMPTS, STATEPROXY_S3_MAX_ATTEMPTS\n"));
    free(flat);
    free(text);
}

static bool has_line(const char *text, const char *line)
{
    const char *p = strstr(text, line);

    return p && (p == text || p[-1] == '\n') && p[strlen(line)] == '\n';
}

static void test_origins(void **state)
{
    struct conf *c = load_good("s3:\n  region: eu-1\nworkers: {count: auto}\n",
                               "STATEPROXY_BUFFER_MEMORY=131072");
    char *text = printed_conf(c);

    (void)state;
    assert_true(has_line(text, "bucket: bkt                                  # env STATE_BUCKET"));
    assert_true(has_line(text, "prefix: \"\"                                   # default"));
    assert_true(has_line(text, "  region: eu-1                               # c.yaml:2:11"));
    assert_true(has_line(text, "  count: auto                                # c.yaml:3:18"));
    assert_true(has_line(text, "  limit: auto                                # default"));
    assert_true(has_line(text, "  memory: 128Ki                              # env "
                               "STATEPROXY_BUFFER_MEMORY"));
    assert_true(has_line(text, "  file_mode: 0644                            # default"));
    assert_true(has_line(text, "  deadline: 1m                               # default"));
    assert_true(has_line(text, "  # access_key_id: redacted                  # env "
                               "AWS_ACCESS_KEY_ID"));
    assert_true(has_line(text, "  # session_token: not set                   # default"));
    free(text);
    conf_free(c);
}

static void test_no_secret_is_printed(void **state)
{
    struct conf *c = load_good(NULL, "AWS_SESSION_TOKEN=tokentokentoken");
    char *text = printed_conf(c);

    (void)state;
    assert_null(strstr(text, "AKIDTEST"));
    assert_null(strstr(text, "sesame"));
    assert_null(strstr(text, "tokentoken"));
    assert_true(has_line(text, "  # session_token: redacted                  # env "
                               "AWS_SESSION_TOKEN"));
    free(text);
    conf_forget_secrets(c);
    text = printed_conf(c);
    assert_non_null(strstr(text, "# secret_access_key: "));
    free(text);
    conf_free(c);
}

/* Prints `c`, reads that, prints again: nothing but origins may differ. */
static void check_reads_back(const struct conf *c)
{
    char *env[] = {"AWS_ACCESS_KEY_ID=a", "AWS_SECRET_ACCESS_KEY=b", NULL};
    char *text = printed_conf(c);
    struct conf *d;
    struct err err;

    if (load_exact(text, env, &d, &err) < 0)
        fail_msg("%s\n%s", err.text, text);
    for (size_t i = 0; i < conf_n_keys; i++) {
        if (conf_keys[i].type != CONF_SECRET)
            check_is_default(d, c, &conf_keys[i], conf_origin(d, conf_keys[i].name));
    }
    conf_free(d);
    free(text);
}

static void test_reads_back(void **state)
{
    static const char *const prefixes[] = {
        "plain/a",
        "null",
        "NULL",
        "~",
        "true",
        "0644",
        "a b",
        " a ",
        "# x",
        "a #x",
        "a: b",
        "- a",
        "-",
        "...",
        "---",
        "'",
        "\"",
        "\\",
        "a\\n",
        "[a",
        "{a}",
        "*a",
        "&a",
        "!a",
        "%a",
        "@a",
        "`a",
        "a:",
        "|",
        ">",
        "?",
        "gr\xc3\xbc\xc3\x9f",
        "\xf0\x9f\x98\x80",
        ",",
        "a,b",
        "\"a\" \\ 'b'",
        "=",
        "<<",
        "\xe2\x80\xa8",
    };
    char env[128];

    (void)state;
    for (size_t i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++) {
        struct conf *c;

        snprintf(env, sizeof(env), "STATE_PREFIX=%s", prefixes[i]);
        c = load_good(NULL, env);
        assert_string_equal(c->prefix, prefixes[i]);
        check_reads_back(c);
        conf_free(c);
    }
}

static void test_everything_reads_back(void **state)
{
    struct conf *c =
        load_good("s3: {region: r, endpoint: \"http://[::1]:9000/b\", addressing: "
                  "virtual,\n"
                  "     payload_signing: never, connect_timeout: 1500ms, deadline: 24h}\n"
                  "mount: {uid: 0, gid: 4294967294, file_mode: \"000\", allow_other: "
                  "false}\n"
                  "workers: {count: 16, user: \"65534\"}\n"
                  "memory: {limit: 1Ti}\n"
                  "read: {whole_limit: 12345}\n"
                  "control: {socket: \"/run/with space: # and \\\"quotes\\\"\"}\n",
                  NULL);

    (void)state;
    check_reads_back(c);
    conf_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sample_is_in_the_tree),
        cmocka_unit_test(test_sample_loads),
        cmocka_unit_test(test_sample_has_every_key),
        cmocka_unit_test(test_help_has_every_key),
        cmocka_unit_test(test_origins),
        cmocka_unit_test(test_no_secret_is_printed),
        cmocka_unit_test(test_reads_back),
        cmocka_unit_test(test_everything_reads_back),
    };

    return cmocka_run_group_tests(tests, setup, load_teardown);
}
