/* Credentials in JSON: what is taken, what is refused, and that a refusal shows nothing. */
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

#include "base/clock.h"
#include "creds/creds_job.h"
#include "creds/creds_json.h"

static const struct creds_json_names names = {
    .access_key = "A", .secret = "S", .token = "T", .expires = "E", .account = "N"};
static const struct creds_json_names numbers = {.access_key = "A",
                                                .secret = "S",
                                                .token = "T",
                                                .expires = "E",
                                                .expires_ms = true,
                                                .must_expire = true};

static int take(const char *text, const struct creds_json_names *as, struct creds *ret,
                struct err *err)
{
    cleanup_json struct json_t *json = NULL;
    int r = creds_json_parse(text, strlen(text), &json, err);

    memset(ret, 0, sizeof(*ret));
    return r == 0 ? creds_json_take(json, as, ret, err) : r;
}

static void test_taken(void **state)
{
    struct creds c;
    struct err err;

    (void)state;
    assert_int_equal(take("{\"A\":\"a\",\"S\":\"s\"}", &names, &c, &err), 0);
    assert_string_equal(c.access_key, "a");
    assert_string_equal(c.secret, "s");
    assert_string_equal(c.session_token, "");
    assert_int_equal(c.expires_ns, 0);
    assert_int_equal(take("{\"A\":\"a\",\"S\":\"s\",\"T\":\"t\",\"E\":\"1970-01-01T00:01:00Z\","
                          "\"N\":\"123456789012\",\"more\":{\"x\":[1]}}",
                          &names, &c, &err),
                     0);
    assert_string_equal(c.session_token, "t");
    assert_int_equal(c.expires_ns, 60 * NS_PER_S);
    assert_string_equal(c.account, "123456789012");
    assert_int_equal(take("{\"A\":\"a\",\"S\":\"s\",\"T\":\"t\",\"E\":2000}", &numbers, &c, &err),
                     0);
    assert_int_equal(c.expires_ns, 2 * NS_PER_S);
    assert_int_equal(take("{\"A\":\"a\",\"S\":\"s\",\"N\":\"not a number\"}", &names, &c, &err), 0);
    assert_string_equal(c.account, "");
}

static void test_json_refused(void **state)
{
    static const char *const cases[] = {
        "",
        "hunter2",
        "[]",
        "{\"A\":\"a\",\"S\":\"hunter2\"",
        "{\"A\":\"a\",\"A\":\"a\",\"S\":\"hunter2\"}",
        "{\"S\":\"hunter2\"}",
        "{\"A\":\"\",\"S\":\"hunter2\"}",
        "{\"A\":\"a\",\"S\":\"hunter2\\n\"}",
        "{\"A\":\"a\",\"S\":\"hunter2\",\"T\":\"a b\"}",
        "{\"A\":\"a\",\"S\":\"hunter2\",\"E\":\"tomorrow\"}",
        "{\"A\":\"a\",\"S\":\"hunter2\",\"E\":5}",
        "{\"A\":\"hunter2\\u0000\",\"S\":\"s\"}",
        "{\"A\":[[[[[[[[[]]]]]]]]],\"S\":\"hunter2\"}",
    };
    struct creds c;
    struct err err;

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        err = (struct err){0};
        assert_int_equal(take(cases[i], &names, &c, &err), -EINVAL);
        assert_true(*err.text);
        assert_null(strstr(err.text, "hunter2"));
    }
    assert_int_equal(take("{\"A\":\"a\",\"S\":\"s\"}", &numbers, &c, &err), -EINVAL);
    assert_int_equal(take("{\"A\":\"a\",\"S\":\"s\",\"E\":-1}", &numbers, &c, &err), -EINVAL);
    assert_int_equal(
        take("{\"A\":\"a\",\"S\":\"s\",\"E\":9223372036854775807}", &numbers, &c, &err), -EINVAL);
}

static void test_bounds(void **state)
{
    char *text = malloc(CREDS_BODY_MAX + 8);
    struct json_t *json = NULL;
    struct err err;

    (void)state;
    memset(text, ' ', CREDS_BODY_MAX + 1);
    memcpy(text, "{}", 2);
    assert_int_equal(creds_json_parse(text, CREDS_BODY_MAX, &json, &err), 0);
    creds_json_done(&json);
    assert_int_equal(creds_json_parse(text, CREDS_BODY_MAX + 1, &json, &err), -EINVAL);
    memset(text, '[', CREDS_BODY_MAX);
    assert_int_equal(creds_json_parse(text, CREDS_BODY_MAX, &json, &err), -EINVAL);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_taken),
        cmocka_unit_test(test_json_refused),
        cmocka_unit_test(test_bounds),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
