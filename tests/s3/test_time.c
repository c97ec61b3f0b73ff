/* Times as S3 writes them. */
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
#include "s3/s3_time.h"

static void test_amz(void **state)
{
    char text[S3_TIME_AMZ_MAX];

    (void)state;
    s3_time_amz(UINT64_C(1440938160) * NS_PER_S + 999999999, text);
    assert_string_equal(text, "20150830T123600Z");
    s3_time_amz(0, text);
    assert_string_equal(text, "19700101T000000Z");
    s3_time_amz(UINT64_MAX, text); /* year 2554 */
    assert_int_equal(strlen(text), 16);
}

static void test_iso(void **state)
{
    static const char *const bad[] = {
        "",
        "2015-08-30",
        "2015-08-30T12:36:00",
        "2015-08-30 12:36:00Z",
        "2015-13-30T12:36:00Z",
        "2015-00-30T12:36:00Z",
        "2015-08-32T12:36:00Z",
        "2015-08-00T12:36:00Z",
        "2015-08-30T24:36:00Z",
        "2015-08-30T12:60:00Z",
        "2015-08-30T12:36:61Z",
        "2015-08-30T12:36:00Zx",
        "1969-08-30T12:36:00Z",
        "9999-08-30T12:36:00Z",
        "-015-08-30T12:36:00Z",
    };
    int64_t ns = 7;

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_false(s3_time_parse_iso(bad[i], &ns));
        assert_int_equal(ns, 7);
    }
    assert_true(s3_time_parse_iso("2015-08-30T12:36:00Z", &ns));
    assert_int_equal(ns, 1440938160 * (int64_t)NS_PER_S);
    assert_true(s3_time_parse_iso("2015-08-30T12:36:00.250Z", &ns));
    assert_int_equal(ns, 1440938160 * (int64_t)NS_PER_S + 250000000);
    assert_true(s3_time_parse_iso("2015-08-30T12:36:00.1234567891Z", &ns));
    assert_int_equal(ns, 1440938160 * (int64_t)NS_PER_S + 123456789);
    assert_true(s3_time_parse_iso("2015-08-30T12:36:00+00:00", &ns));
}

static void test_http(void **state)
{
    static const char *const bad[] = {
        "",
        "Sun, 30 Aug 2015 12:36:00",
        "Sun, 30 Aug 2015 12:36:00 UTC",
        "Sunday, 30-Aug-15 12:36:00 GMT",
        "Sun, 3 Aug 2015 12:36:00 GMT",
        "Sun, 30 Avg 2015 12:36:00 GMT",
        "Sun, 30 anF 2015 12:36:00 GMT",
        "Sun, 30 ",
        "Sun,",
        "Sun, 30 Au",
    };
    int64_t ns = 7;

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_false(s3_time_parse_http(bad[i], &ns));
        assert_int_equal(ns, 7);
    }
    assert_true(s3_time_parse_http("Sun, 30 Aug 2015 12:36:00 GMT", &ns));
    assert_int_equal(ns, 1440938160 * (int64_t)NS_PER_S);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_amz),
        cmocka_unit_test(test_iso),
        cmocka_unit_test(test_http),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
