/* Answers of STS. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <sodium.h>

#include "base/clock.h"
#include "creds/creds_sts_xml.h"

#define KEYS                                                                                       \
    "<AccessKeyId>a</AccessKeyId><SecretAccessKey>s/+</SecretAccessKey>"                           \
    "<SessionToken>t&amp;u</SessionToken>"
#define TIME "<Expiration>1970-01-01T00:01:00Z</Expiration>"
#define ANSWER(inner)                                                                              \
    "<AssumeRoleResponse "                                                                         \
    "xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><AssumeRoleResult>" inner                 \
    "</AssumeRoleResult></AssumeRoleResponse>"
#define USER                                                                                       \
    "<AssumedRoleUser><Arn>arn:aws:sts::123456789012:assumed-role/r/s</Arn></AssumedRoleUser>"

static struct creds_sts_reply reply;

static int parse(const char *text, struct err *err)
{
    return creds_sts_parse(text, strlen(text), &reply, err);
}

static void test_answer(void **state)
{
    struct err err;

    (void)state;
    assert_int_equal(parse(ANSWER("<Credentials>" KEYS TIME "</Credentials>" USER), &err), 0);
    assert_string_equal(reply.code, "");
    assert_string_equal(reply.creds.access_key, "a");
    assert_string_equal(reply.creds.secret, "s/+");
    assert_string_equal(reply.creds.session_token, "t&u");
    assert_int_equal(reply.creds.expires_ns, 60 * NS_PER_S);
    assert_string_equal(reply.creds.account, "123456789012");
}

static void test_error(void **state)
{
    struct err err;
    char longer[2000];

    (void)state;
    assert_int_equal(parse("<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code>"
                           "<Message>not\n you</Message></Error></ErrorResponse>",
                           &err),
                     0);
    assert_string_equal(reply.code, "AccessDenied");
    assert_string_equal(reply.message, "not  you");
    snprintf(longer, sizeof(longer),
             "<ErrorResponse><Error><Code>X</Code><Message>%01000d</Message></Error>"
             "</ErrorResponse>",
             0);
    assert_int_equal(parse(longer, &err), 0); /* a message is cut */
    assert_int_equal(strlen(reply.message), CREDS_STS_MESSAGE_MAX - 1);
}

static void test_sts_refused(void **state)
{
    static const char *const cases[] = {
        "",
        "hunter2",
        "{}",
        "<html>hunter2</html>",
        ANSWER("<Credentials>" KEYS "</Credentials>"),
        ANSWER("<Credentials>" TIME "</Credentials>"),
        ANSWER("<Other>" KEYS TIME "</Other>"),
        ANSWER("<Credentials>" KEYS "<Expiration>hunter2</Expiration></Credentials>"),
        ANSWER("<Credentials><AccessKeyId>hunter2\n</AccessKeyId>" TIME "</Credentials>"),
        "<AssumeRoleResponse><AssumeRoleResult><Credentials>" KEYS TIME,
        "<!DOCTYPE a [<!ENTITY e \"hunter2\">]>" ANSWER("<Credentials>" KEYS TIME "</Credentials>"),
        "<a><a><a><a><a><a><a><a><a><a><a><a><a><a><a><a><a></a></a></a></a></a></a></a></a></a></"
        "a>"
        "</a></a></a></a></a></a></a>",
    };
    struct err err;

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        err = (struct err){0};
        assert_int_equal(parse(cases[i], &err), -EINVAL);
        assert_true(*err.text);
        assert_null(strstr(err.text, "hunter2"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answer),
        cmocka_unit_test(test_error),
        cmocka_unit_test(test_sts_refused),
    };

    if (sodium_init() < 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
