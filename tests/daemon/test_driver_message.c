/* What drivers say, and what none should. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/driver_message.h"

static const char *const one_of_each[] = {
    [CONF_FD_META_FUSE] = "{\"volumeName\": \"v\"}",
    [CONF_FD_GCSFUSE] = "{\"bucketName\": \"b-1\", \"options\": [\"only-dir=a/b\", \"uid=7\"]}",
    [CONF_FD_MOUNTPOINT] =
        "{\"bucketName\": \"b-1\", \"args\": [\"--prefix=a/b/\", \"--region=x\"],"
        " \"env\": [\"AWS_REGION=x\"], \"volumeId\": \"v\"}",
};

static struct conf conf;
static char ignored[DRIVER_IGNORED_MAX];

static int check(enum conf_fd_protocol protocol, const char *text, struct err *err)
{
    conf.bucket = "b-1";
    conf.prefix = "a/b";
    conf.mount.fd_protocol = protocol;
    return driver_message_check(&conf, text, strlen(text), ignored, err);
}

static void assert_refused(enum conf_fd_protocol protocol, const char *text, int code,
                           const char *word)
{
    struct err err = {0};

    assert_int_equal(check(protocol, text, &err), -code);
    if (!strstr(err.text, word))
        fail_msg("%s: %s", text, err.text);
}

static void test_what_drivers_say(void **state)
{
    static const char *const names[] = {"", "", "uid", "region,AWS_REGION"};

    (void)state;
    for (unsigned i = CONF_FD_META_FUSE; i <= CONF_FD_MOUNTPOINT; i++) {
        assert_int_equal(check(i, one_of_each[i], NULL), 0);
        assert_string_equal(ignored, names[i]);
    }
    assert_int_equal(check(CONF_FD_MOUNTPOINT, "{}", NULL), 0);
    assert_int_equal(check(CONF_FD_MOUNTPOINT, "{\"args\": null, \"bucketName\": null}", NULL), 0);
}

/* However it is written, it is compared. */
static void test_ways_to_write_a_prefix(void **state)
{
    static const char *const ways[] = {"--prefix=", "--prefix ",   "prefix:",   "--prefix  =  ",
                                       "prefix: ",  "--prefix\\t", " -prefix /"};
    char text[80];

    (void)state;
    for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
        snprintf(text, sizeof(text), "{\"args\": [\"%sa/b/\"]}", ways[i]);
        assert_int_equal(check(CONF_FD_MOUNTPOINT, text, NULL), 0);
        assert_string_equal(ignored, "");
        snprintf(text, sizeof(text), "{\"args\": [\"%sa/c\"]}", ways[i]);
        assert_refused(CONF_FD_MOUNTPOINT, text, EXDEV, "of prefix \"a/c\"");
    }
    assert_refused(CONF_FD_MOUNTPOINT, "{\"args\": [\"--prefix\", \"a/b\"]}", EINVAL,
                   "the option prefix has no value");
    assert_refused(CONF_FD_GCSFUSE, "{\"options\": [\"only-dir  \"]}", EINVAL,
                   "the option only-dir has no value");
}

/* What is quoted of the message stays one line, and is no sequence for a terminal. */
static void test_control_characters(void **state)
{
    (void)state;
    assert_refused(CONF_FD_GCSFUSE, "{\"bucketName\": \"x\\n\\u001b[1m\"}", EXDEV, "\"x  [1m\"");
    assert_refused(CONF_FD_MOUNTPOINT, "{\"args\": [\"--prefix=x\\n2026 err\"]}", EXDEV,
                   "\"x 2026 err\"");
}

/* Cut at each place, and with each byte changed: an error, or it holds all the same. */
static void test_every_piece(void **state)
{
    char text[200];

    (void)state;
    for (unsigned i = CONF_FD_META_FUSE; i <= CONF_FD_MOUNTPOINT; i++) {
        size_t len = strlen(one_of_each[i]);

        conf.mount.fd_protocol = i;
        assert_true(len < sizeof(text));
        for (size_t cut = 0; cut < len; cut++)
            assert_int_equal(driver_message_check(&conf, one_of_each[i], cut, ignored, NULL),
                             -EINVAL);
        for (size_t at = 0; at < len; at++) {
            memcpy(text, one_of_each[i], len);
            for (int b = 0; b < 256; b++) {
                int r;

                text[at] = (char)b;
                r = driver_message_check(&conf, text, len, ignored, NULL);
                assert_true(r == 0 || r == -EINVAL || r == -EXDEV);
            }
        }
    }
}

static void test_what_contradicts(void **state)
{
    (void)state;
    assert_refused(CONF_FD_GCSFUSE, "{\"bucketName\": \"b-2\"}", EXDEV, "of bucket \"b-2\"");
    assert_refused(CONF_FD_GCSFUSE, "{\"bucketName\": \"_\"}", EXDEV, "STATE_BUCKET");
    assert_refused(CONF_FD_META_FUSE, "{\"bucketName\": \"b-2\"}", EXDEV, "of bucket");
    assert_refused(CONF_FD_GCSFUSE, "{\"options\": [\"only-dir:a/\"]}", EXDEV, "prefix \"a\"");
    assert_refused(CONF_FD_MOUNTPOINT, "{\"args\": [\"--prefix=\"]}", EXDEV, "prefix \"\"");
    assert_refused(CONF_FD_MOUNTPOINT, "{\"args\": [\"--prefix=a/bc\"]}", EXDEV, "a/bc");
    assert_int_equal(check(CONF_FD_MOUNTPOINT, "{\"args\": [\"--prefixes=x\"]}", NULL), 0);
    assert_int_equal(check(CONF_FD_GCSFUSE, "{\"options\": [\"prefix=x\"]}", NULL), 0);
    assert_int_equal(check(CONF_FD_MOUNTPOINT, "{\"env\": [\"prefix=x\"]}", NULL), 0);
}

static void test_what_is_malformed(void **state)
{
    (void)state;
    assert_refused(CONF_FD_META_FUSE, "", EINVAL, "JSON");
    assert_refused(CONF_FD_META_FUSE, "{\"a\": 1, \"a\": 2}", EINVAL, "JSON");
    assert_refused(CONF_FD_META_FUSE, "{\"volumeName\": 1}", EINVAL, "volumeName is not a string");
    assert_refused(CONF_FD_GCSFUSE, "{\"options\": {}}", EINVAL, "options is not a list");
    assert_refused(CONF_FD_MOUNTPOINT, "{\"env\": [null]}", EINVAL, "not a string");
}

/* The names are cut, whatever they are. */
static void test_many_names(void **state)
{
    char text[DRIVER_WORDS_MAX * 16 + 64] = "{\"args\": [\"a\"";

    (void)state;
    for (int i = 1; i < DRIVER_WORDS_MAX; i++)
        snprintf(text + strlen(text), 16, ",\"--word%03d=\"", i);
    strcat(text, "]}");
    assert_int_equal(check(CONF_FD_MOUNTPOINT, text, NULL), 0);
    assert_int_equal(strncmp(ignored, "a,word001,word002,", 18), 0);
    assert_string_equal(ignored + strlen(ignored) - 3, "...");
    assert_true(strlen(ignored) > DRIVER_IGNORED_MAX - 16);
    strcpy(text + strlen(text) - 2, ",\"b\"]}");
    assert_refused(CONF_FD_MOUNTPOINT, text, EINVAL, "more than 256 members");
    assert_int_equal(check(CONF_FD_MOUNTPOINT, "{\"args\": [\"--\", \"\\u001b[1m\"]}", NULL), 0);
    assert_string_equal(ignored, "...");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_drivers_say),   cmocka_unit_test(test_every_piece),
        cmocka_unit_test(test_what_contradicts),   cmocka_unit_test(test_what_is_malformed),
        cmocka_unit_test(test_many_names),         cmocka_unit_test(test_ways_to_write_a_prefix),
        cmocka_unit_test(test_control_characters),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
