/* Fixed credentials: what is taken, what is refused, and that a refusal shows nothing. */
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

#include "s3/s3_cred.h"
#include "s3/s3_sigv4.h"

static void test_static(void **state)
{
    struct s3_cred_source *src = NULL;
    struct s3_cred cred;
    struct s3_sigv4_scope scope = {"us-east-1", "s3", "20150830T123600Z"};

    (void)state;
    assert_int_equal(s3_cred_static_new("AK", "s/+=k", NULL, &src, NULL), 0);
    assert_int_equal(src->ops->get(src, &scope, &cred), 0);
    assert_string_equal(cred.access_key, "AK");
    assert_string_equal(cred.session_token, "");
    assert_false(cred.renewable);
    assert_true(cred.generation != 0);
    assert_null(src->ops->renew);
    s3_cred_free(src);
    assert_int_equal(s3_cred_static_new("AK", "sk", "token", &src, NULL), 0);
    assert_int_equal(src->ops->get(src, &scope, &cred), 0);
    assert_string_equal(cred.session_token, "token");
    s3_cred_free(src);
    s3_cred_free(NULL);
}

/* A key is derived anew for another day, region and service, and kept otherwise. */
static void test_scopes(void **state)
{
    struct s3_cred_source *src = NULL;
    struct s3_sigv4_scope scope = {"r", "s3", "20150830T123600Z"};
    unsigned char want[S3_SIGV4_KEY_LEN];
    struct s3_cred cred;

    (void)state;
    assert_int_equal(s3_cred_static_new("AK", "sk", NULL, &src, NULL), 0);
    for (int i = 0; i < 5; i++) {
        if (i == 1)
            scope.amz_date = "20150831T123600Z";
        if (i == 2)
            scope.region = "q";
        if (i == 3)
            scope.service = "sts";
        assert_int_equal(src->ops->get(src, &scope, &cred), 0);
        assert_int_equal(s3_sigv4_derive("sk", &scope, want), 0);
        assert_memory_equal(cred.key, want, sizeof(want));
    }
    s3_cred_free(src);
}

static void refused(const char *access_key, const char *secret, const char *token)
{
    struct s3_cred_source *src = NULL;
    struct err err = {0};

    assert_int_equal(s3_cred_static_new(access_key, secret, token, &src, &err), -EINVAL);
    assert_null(src);
    assert_true(*err.text);
    assert_null(strstr(err.text, "hunter2"));
}

static void test_refused(void **state)
{
    char longer[S3_SECRET_MAX + 1];

    (void)state;
    memset(longer, 'x', sizeof(longer));
    longer[sizeof(longer) - 1] = '\0';
    refused("", "hunter2", NULL);
    refused(NULL, "hunter2", NULL);
    refused("AK", "", NULL);
    refused("AK", NULL, NULL);
    refused("AK", "hunter2\n", NULL);
    refused("AK", " hunter2", NULL);
    refused("AK", "hunter2\xc3\xbc", NULL);
    refused("A\rK", "hunter2", NULL);
    refused("AK", longer, NULL);
    refused("AK", "hunter2", "tok en");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_static),
        cmocka_unit_test(test_scopes),
        cmocka_unit_test(test_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
