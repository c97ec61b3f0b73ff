/* What belongs to the server probe, when there is one, and what its answers mean. How it meets
 * servers is tests/integration/test_probe.py. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "workers/op/key.h"
#include "workers/probe/cas_probe_private.h"

static void owns(const char *prefix, const char *key, bool want)
{
    struct conf conf = {.prefix = prefix};

    if (key_is_reserved(&conf, key, strlen(key)) != want)
        fail_msg("prefix %s, key %s", prefix, key);
}

static void test_owns(void **state)
{
    (void)state;
    owns("", ".stateproxy-probe/", true);
    owns("", ".stateproxy-probe/x.put", true);
    owns("", ".stateproxy-probe", false);
    owns("", ".stateproxy-probes/x", false);
    owns("", "a/.stateproxy-probe/x", false);
    owns("a/b", "a/b/.stateproxy-probe/x", true);
    owns("a/b", "a/b/.stateproxy-probe/", true);
    owns("a/b", "a/b.stateproxy-probe/x", false);
    owns("a/b", "a/c/.stateproxy-probe/x", false);
    owns("a/b", ".stateproxy-probe/x", false);
    owns("a/b", "a/b", false);
    owns("a/b", "", false);
}

static void test_wanted(void **state)
{
    struct conf conf = {.variant = CONF_S3_BUFFERED_CAS, .s3.endpoint = "http://localhost:9000"};

    (void)state;
    assert_true(cas_probe_wanted(&conf));
    conf.s3.endpoint = "";
    assert_false(cas_probe_wanted(&conf));
    conf.s3.endpoint = "https://bucket.vpce-1.s3.eu-west-1.vpce.amazonaws.com";
    assert_false(cas_probe_wanted(&conf));
    conf.s3.endpoint = "https://s3.cn-north-1.amazonaws.com.cn:443/";
    assert_false(cas_probe_wanted(&conf));
    conf.s3.endpoint = "https://amazonaws.com.example.org";
    assert_true(cas_probe_wanted(&conf));
    conf.s3.endpoint = "https://not-amazonaws.com";
    assert_true(cas_probe_wanted(&conf));
    conf.s3.endpoint = "";
    conf.cas.probe = CONF_PROBE_REQUIRE;
    assert_true(cas_probe_wanted(&conf));
    conf.cas.probe = CONF_PROBE_WARN;
    assert_true(cas_probe_wanted(&conf));
    conf.mount.read_only = true;
    assert_false(cas_probe_wanted(&conf));
    conf.mount.read_only = false;
    conf.cas.probe = CONF_PROBE_OFF;
    assert_false(cas_probe_wanted(&conf));
    conf.cas.probe = CONF_PROBE_REQUIRE;
    conf.variant = CONF_S3_BUFFERED_LWW;
    assert_false(cas_probe_wanted(&conf));
}

/* How answers to a request that had to succeed, and to one that had to be refused, are judged. */
static const struct row {
    int error;
    enum s3_fail fail;
    int status;
    bool maybe_acted;
    enum cas_outcome act, refuse;
} rows[] = {
    {0, S3_FAIL_NONE, 200, false, CAS_RIGHT, CAS_WRONG},
    {0, S3_FAIL_NONE, 200, true, CAS_RIGHT, CAS_WRONG},
    {-EEXIST, S3_FAIL_ANSWER, 412, false, CAS_WRONG, CAS_RIGHT},
    {-EEXIST, S3_FAIL_ANSWER, 412, true, CAS_UNSURE, CAS_RIGHT},
    {-ENOENT, S3_FAIL_ANSWER, 404, false, CAS_WRONG, CAS_RIGHT},
    {-EOPNOTSUPP, S3_FAIL_ANSWER, 501, false, CAS_WRONG, CAS_WRONG},
    {-EINVAL, S3_FAIL_ANSWER, 400, false, CAS_WRONG, CAS_WRONG},
    {-EACCES, S3_FAIL_ANSWER, 403, false, CAS_DENIED, CAS_DENIED},
    {-EBUSY, S3_FAIL_ANSWER, 409, false, CAS_UNSURE, CAS_UNSURE},
    {-EIO, S3_FAIL_ANSWER, 503, false, CAS_UNSURE, CAS_UNSURE},
    {-EIO, S3_FAIL_ANSWER, 500, true, CAS_UNSURE, CAS_UNSURE},
    {-EIO, S3_FAIL_ANSWER, 429, false, CAS_UNSURE, CAS_UNSURE},
    {-EIO, S3_FAIL_BROKEN, 0, true, CAS_UNSURE, CAS_UNSURE},
    {-ETIMEDOUT, S3_FAIL_STALLED, 0, false, CAS_UNSURE, CAS_UNSURE},
    {-EACCES, S3_FAIL_CREDENTIALS, 0, false, CAS_UNSURE, CAS_UNSURE},
};

static void test_judging(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const struct row *w = &rows[i];
        struct cas_probe p = {.answer = {.error = w->error,
                                         .fail = w->fail,
                                         .status = w->status,
                                         .maybe_acted = w->maybe_acted}};

        if (cas_must_act(&p, 0, "x") != w->act)
            fail_msg("row %zu: must act: %s", i, p.text);
        if (cas_must_refuse(&p, 0, "x", "y") != w->refuse)
            fail_msg("row %zu: must refuse: %s", i, p.text);
    }
}

static void test_what_was_not_sent(void **state)
{
    struct cas_probe p = {0};

    (void)state;
    assert_int_equal(cas_must_act(&p, -ETIME, "x"), CAS_UNSURE);
    assert_string_equal(p.text, CAS_TOO_SLOW);
    assert_int_equal(cas_must_refuse(&p, -ENOMEM, "x", "y"), CAS_UNSURE);
    assert_string_equal(p.text, strerror(ENOMEM));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_owns),
        cmocka_unit_test(test_wanted),
        cmocka_unit_test(test_judging),
        cmocka_unit_test(test_what_was_not_sent),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
