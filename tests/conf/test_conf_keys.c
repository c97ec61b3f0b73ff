/* The table holds together: every default passes its own checks, names and fields are not
 * shared. */
#include "tests/conf/load.h"

#include <ctype.h>

#include "conf/conf_keys.h"

#define EACH_KEY(key)                                                                              \
    const struct conf_key *key = conf_keys;                                                        \
    key < conf_keys + conf_n_keys;                                                                 \
    key++

static void test_names(void **state)
{
    (void)state;
    for (EACH_KEY(key)) {
        size_t len = strlen(key->name);

        assert_true(len < CONF_KEY_NAME_MAX);
        assert_int_equal(strspn(key->name, "abcdefghijklmnopqrstuvwxyz0123456789_."), len);
        assert_ptr_equal(conf_key_find(key->name), key);
        assert_true(*conf_key_last(key) != '\0');
        assert_null(strchr(conf_key_last(key), '.'));
        assert_true(!conf_key_is_section(key->name) || strcmp(key->name, "metadata") == 0);
        assert_int_equal(conf_key_is_dotted(key), strncmp(key->name, "metadata.", 9) == 0);
    }
    assert_null(conf_key_find("s3"));
    assert_null(conf_key_find(""));
    assert_true(conf_key_is_section("s3"));
    assert_false(conf_key_is_section(""));
    assert_false(conf_key_is_section("s"));
    assert_false(conf_key_is_section("s3."));
}

static void test_sections_stand_together(void **state)
{
    (void)state;
    for (size_t i = 1; i < conf_n_keys; i++) {
        size_t len = conf_key_section_len(&conf_keys[i]);
        bool opened = strncmp(conf_keys[i].name, conf_keys[i - 1].name, len + 1) != 0;

        if (len == 0)
            assert_int_equal(conf_key_section_len(&conf_keys[i - 1]), 0);
        for (size_t j = 0; len && opened && j < i; j++)
            assert_true(strncmp(conf_keys[i].name, conf_keys[j].name, len + 1) != 0);
    }
}

/* The endpoint of S3 and of STS, as AWS's own clients take it. */
static bool is_of_all_services(const char *name)
{
    return strcmp(name, "AWS_ENDPOINT_URL") == 0;
}

static void test_env_names(void **state)
{
    char a_own[CONF_ENV_NAME_MAX], b_own[CONF_ENV_NAME_MAX];
    const char *a, *b;

    (void)state;
    for (size_t i = 0; i < conf_n_keys; i++) {
        for (unsigned n = 0; (a = conf_key_env(&conf_keys[i], n, a_own)); n++) {
            for (size_t j = 0; j < i; j++) {
                for (unsigned m = 0; (b = conf_key_env(&conf_keys[j], m, b_own)); m++)
                    assert_true(strcmp(a, b) != 0 || is_of_all_services(a));
            }
        }
        assert_true(conf_keys[i].env[0] || !conf_keys[i].required);
    }
    conf_key_own_env(conf_key_find("s3.max_attempts"), a_own);
    assert_string_equal(a_own, "STATEPROXY_S3_MAX_ATTEMPTS");
    assert_string_equal(conf_key_env(conf_key_find("bucket"), 0, a_own), "STATE_BUCKET");
    assert_string_equal(conf_key_env(conf_key_find("bucket"), 1, a_own), "STATEPROXY_BUCKET");
    assert_null(conf_key_env(conf_key_find("bucket"), 2, a_own));
    assert_string_equal(conf_key_env(conf_key_find("log.level"), 0, a_own), "STATEPROXY_LOG_LEVEL");
}

/* Every key has either a default, a meaning for "auto", or must be set. */
static void test_defaults(void **state)
{
    (void)state;
    for (EACH_KEY(key)) {
        int ways = (key->def != NULL) + (key->automatic != NULL) + key->required +
                   (key->type == CONF_SECRET);

        if (ways != 1)
            fail_msg("%s has %d ways to its value", key->name, ways);
        assert_int_equal(key->required, key->example != NULL);
        assert_int_equal(key->type == CONF_ENUM, key->choices != NULL);
        assert_int_equal(key->type == CONF_STRING || key->type == CONF_SECRET, key->check != NULL);
        assert_int_equal(key->check != NULL, key->expected != NULL);
        assert_true(key->doc &&
                    (islower((unsigned char)*key->doc) || isupper((unsigned char)key->doc[1]) ||
                     strncmp(key->doc, "Unix", 4) == 0));
        assert_true(key->doc[strlen(key->doc) - 1] != '.');
    }
}

static void test_offsets(void **state)
{
    (void)state;
    for (EACH_KEY(a)) {
        assert_true(a->offset < sizeof(struct conf));
        for (const struct conf_key *b = conf_keys; b < a; b++)
            assert_int_not_equal(a->offset, b->offset);
    }
}

static void must_say(const char *name, const char *text, const char *form)
{
    const struct conf_key *key = conf_key_find(name);
    char out[CONF_EXPECTED_MAX];

    conf_key_expected(key, out);
    assert_string_equal(out, text);
    assert_string_equal(conf_key_form(key), form);
}

static void test_expected(void **state)
{
    (void)state;
    must_say("buffer.memory", "a size from 64Ki to 1Gi", ", such as 64Mi (B, Ki, Mi, Gi, Ti)");
    must_say("memory.limit", "auto or a size from 32Mi to 1Ti",
             ", such as 64Mi (B, Ki, Mi, Gi, Ti)");
    must_say("directories.ttl", "a duration from 0 to 1h", ", such as 250ms (ms, s, m, h)");
    must_say("s3.max_attempts", "a number from 1 to 20", "");
    must_say("mount.read_only", "true or false", "");
    must_say("mount.allow_other", "auto, true or false", "");
    must_say("mount.file_mode", "octal permissions such as 0644", "");
    must_say("variant", "s3-buffered-lww, s3-buffered-cas or s3-passthrough", "");
    must_say("s3.addressing", "auto, path or virtual", "");
    must_say("log.level", "err, warn, notice or debug", "");
    for (EACH_KEY(key)) {
        char out[CONF_EXPECTED_MAX];

        conf_key_expected(key, out);
        assert_true(*out && strlen(out) < CONF_EXPECTED_MAX - 1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),     cmocka_unit_test(test_sections_stand_together),
        cmocka_unit_test(test_env_names), cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_offsets),   cmocka_unit_test(test_expected),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
