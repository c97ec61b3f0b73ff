/* AWS's endpoints by partition, region and variant; access points; what cannot be; a region that
 * the server tells. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "s3/s3_endpoint.h"

#define AUTO S3_ADDRESSING_AUTO
#define PATH S3_ADDRESSING_PATH
#define VIRTUAL S3_ADDRESSING_VIRTUAL
#define POINT "arn:aws:s3:us-west-2:123456789012:accesspoint/my-point"

static void assert_resolves(const struct s3_endpoint *e, const char *url_text, const char *region)
{
    struct s3_url url;
    struct err err = {0};
    char text[1200];

    if (s3_endpoint_resolve(e, &url, &err) < 0)
        fail_msg("%s %s %s: %s", e->url ? e->url : "AWS", e->region, e->bucket, err.text);
    snprintf(text, sizeof(text), "%s://%s%s", url.tls ? "https" : "http", url.authority, url.base);
    assert_string_equal(text, url_text);
    assert_string_equal(url.region, region);
}

static void test_aws(void **state)
{
    static const struct {
        struct s3_endpoint e;
        const char *url;
    } rows[] = {
        {{.region = "eu-central-1", .bucket = "bkt"}, "https://bkt.s3.eu-central-1.amazonaws.com"},
        {{.region = "us-gov-west-1", .bucket = "bkt"},
         "https://bkt.s3.us-gov-west-1.amazonaws.com"},
        {{.region = "cn-northwest-1", .bucket = "bkt"},
         "https://bkt.s3.cn-northwest-1.amazonaws.com.cn"},
        {{.region = "us-iso-east-1", .bucket = "bkt"}, "https://bkt.s3.us-iso-east-1.c2s.ic.gov"},
        {{.region = "us-isob-east-1", .bucket = "bkt"},
         "https://bkt.s3.us-isob-east-1.sc2s.sgov.gov"},
        {{.region = "eusc-de-east-1", .bucket = "bkt"},
         "https://bkt.s3.eusc-de-east-1.amazonaws.eu"},
        {{.region = "us-east-1", .bucket = "bkt", .dualstack = true},
         "https://bkt.s3.dualstack.us-east-1.amazonaws.com"},
        {{.region = "cn-north-1", .bucket = "bkt", .dualstack = true},
         "https://bkt.s3.dualstack.cn-north-1.amazonaws.com.cn"},
        {{.region = "us-east-1", .bucket = "bkt", .fips = true},
         "https://bkt.s3-fips.us-east-1.amazonaws.com"},
        {{.region = "us-gov-east-1", .bucket = "bkt", .fips = true, .dualstack = true},
         "https://bkt.s3-fips.dualstack.us-gov-east-1.amazonaws.com"},
        {{.region = "us-west-2", .bucket = "bkt", .accelerate = true},
         "https://bkt.s3-accelerate.amazonaws.com"},
        {{.region = "us-west-2", .bucket = "bkt", .accelerate = true, .dualstack = true},
         "https://bkt.s3-accelerate.dualstack.amazonaws.com"},
        {{.region = "us-west-2", .bucket = "my.bkt"}, "https://s3.us-west-2.amazonaws.com/my.bkt"},
        {{.region = "us-west-2", .bucket = "my.bkt", .dualstack = true},
         "https://s3.dualstack.us-west-2.amazonaws.com/my.bkt"},
        {{.region = "us-west-2", .bucket = "my.bkt", .addressing = VIRTUAL},
         "https://my.bkt.s3.us-west-2.amazonaws.com"},
        {{.region = "us-west-2", .bucket = "bkt", .addressing = PATH, .fips = true},
         "https://s3-fips.us-west-2.amazonaws.com/bkt"},
        {{.region = "us-west-2", .bucket = "point-hrzrlukc5m36ft7okagglf3gmwluqusw1b-s3alias"},
         "https://point-hrzrlukc5m36ft7okagglf3gmwluqusw1b-s3alias.s3.us-west-2.amazonaws.com"},
        {{.url = "https://s3.eu-west-3.amazonaws.com", .region = "eu-west-3", .bucket = "bkt"},
         "https://bkt.s3.eu-west-3.amazonaws.com"},
        {{.url = "https://bucket.vpce-1a2b-5e6f.s3.us-east-1.vpce.amazonaws.com",
          .region = "us-east-1",
          .bucket = "bkt"},
         "https://bkt.bucket.vpce-1a2b-5e6f.s3.us-east-1.vpce.amazonaws.com"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        assert_resolves(&rows[i].e, rows[i].url, rows[i].e.region);
}

static void test_regions(void **state)
{
    static const struct {
        const char *url, *region, *signed_for;
    } rows[] = {
        {NULL, "auto", "us-east-1"},
        {NULL, "", "us-east-1"},
        {"https://s3.amazonaws.com", "auto", "us-east-1"},
        {"https://0123456789abcdef.r2.cloudflarestorage.com", "auto", "auto"},
        {"http://minio:9000", "", "us-east-1"},
        {"http://minio:9000", "my_region-1", "my_region-1"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct s3_endpoint e = {.url = rows[i].url, .region = rows[i].region, .bucket = "bkt"};
        struct s3_url url;

        assert_int_equal(s3_endpoint_resolve(&e, &url, NULL), 0);
        assert_string_equal(url.region, rows[i].signed_for);
    }
}

static void test_access_points(void **state)
{
    static const struct {
        struct s3_endpoint e;
        const char *url;
    } rows[] = {
        {{.region = "us-west-2", .bucket = POINT},
         "https://my-point-123456789012.s3-accesspoint.us-west-2.amazonaws.com"},
        /* the ARN's region counts */
        {{.region = "eu-west-1", .bucket = POINT},
         "https://my-point-123456789012.s3-accesspoint.us-west-2.amazonaws.com"},
        {{.region = "us-west-2", .bucket = POINT, .fips = true},
         "https://my-point-123456789012.s3-accesspoint-fips.us-west-2.amazonaws.com"},
        {{.region = "us-west-2", .bucket = POINT, .dualstack = true},
         "https://my-point-123456789012.s3-accesspoint.dualstack.us-west-2.amazonaws.com"},
        {{.region = "us-west-2", .bucket = POINT, .dualstack = true, .fips = true},
         "https://my-point-123456789012.s3-accesspoint-fips.dualstack.us-west-2.amazonaws.com"},
        {{.url = "https://gateway.example:8443/base", .region = "us-west-2", .bucket = POINT},
         "https://my-point-123456789012.gateway.example:8443/base"},
    };
    static const struct s3_endpoint colon = {
        .region = "x", .bucket = "arn:aws-cn:s3:cn-north-1:123456789012:accesspoint:my-point"};
    struct s3_url url;

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        assert_resolves(&rows[i].e, rows[i].url, "us-west-2");
    assert_resolves(&colon,
                    "https://my-point-123456789012.s3-accesspoint.cn-north-1.amazonaws.com.cn",
                    "cn-north-1");
    assert_int_equal(s3_endpoint_resolve(&rows[0].e, &url, NULL), 0);
    assert_string_equal(url.source, POINT "/object");
}

static void test_what_cannot_be(void **state)
{
    static const struct {
        struct s3_endpoint e;
        const char *says;
    } rows[] = {
        {{.region = "cn-north-1", .bucket = "bkt", .fips = true}, "s3.fips"},
        {{.region = "us-east-1", .bucket = "bkt", .fips = true, .accelerate = true}, "FIPS"},
        {{.region = "cn-north-1", .bucket = "bkt", .accelerate = true}, "aws-cn"},
        {{.region = "us-east-1", .bucket = "my.bkt", .accelerate = true}, "dots"},
        {{.region = "us-east-1", .bucket = "bkt", .accelerate = true, .addressing = PATH}, "path"},
        {{.region = "us-east-1", .bucket = POINT, .accelerate = true}, "access points"},
        {{.region = "us-east-1", .bucket = POINT, .addressing = PATH}, "path"},
        {{.url = "http://h", .region = "r", .bucket = "bkt", .dualstack = true}, "s3.dualstack"},
        {{.url = "http://h", .region = "r", .bucket = "bkt", .fips = true}, "s3.fips"},
        {{.url = "http://h", .region = "r", .bucket = "bkt", .accelerate = true}, "s3.accelerate"},
        {{.url = "http://127.0.0.1", .region = "r", .bucket = POINT}, "IP address"},
        {{.region = "us-east-1", .bucket = "bkt--use1-az4--x-s3"}, "directory bucket"},
        {{.region = "us-east-1", .bucket = "arn:aws:s3:::bkt"}, "the bucket's name alone"},
        {{.region = "us-east-1", .bucket = "arn:aws:s3"}, "expected"},
        {{.region = "us-east-1", .bucket = "arn:aws:s3::123456789012:accesspoint/a.mrap"},
         "SigV4A"},
        {{.region = "us-east-1",
          .bucket = "arn:aws:s3-outposts:us-east-1:123456789012:outpost/op-1/accesspoint/p"},
         "s3-outposts"},
        {{.region = "us-east-1",
          .bucket = "arn:aws:s3-object-lambda:us-east-1:123456789012:accesspoint/p"},
         "s3-object-lambda"},
        {{.region = "us-east-1", .bucket = "arn:aws-cn:s3:us-east-1:123456789012:accesspoint/ppp"},
         "partition"},
        {{.region = "us-east-1", .bucket = "arn:aws:s3:us-east-1:12345678901:accesspoint/ppp"},
         "expected"},
        {{.region = "us-east-1", .bucket = "arn:aws:s3:us-east-1:123456789012:accesspoint/p_p"},
         "expected"},
        {{.region = "us-east-1", .bucket = "arn:aws:iam:us-east-1:123456789012:role/ppp"}, "iam"},
        {{.region = "us east", .bucket = "bkt"}, "not a region"},
        {{.region = "evil.example/", .bucket = "bkt"}, "not a region"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct s3_url url = {.authority = "untouched"};
        struct err err = {0};

        if (s3_endpoint_resolve(&rows[i].e, &url, &err) == 0)
            fail_msg("row %zu resolves to %s", i, url.authority);
        assert_int_equal(err.code, EINVAL);
        if (!strstr(err.text, rows[i].says))
            fail_msg("\"%s\" does not say %s", err.text, rows[i].says);
        assert_string_equal(url.authority, "untouched");
    }
}

static void test_moves(void **state)
{
    static const struct {
        struct s3_endpoint e;
        const char *to;
        const char *authority; /* NULL: it does not move */
    } rows[] = {
        {{.region = "us-east-1", .bucket = "bkt"}, "eu-west-1", "bkt.s3.eu-west-1.amazonaws.com"},
        {{.region = "auto", .bucket = "bkt", .dualstack = true},
         "ap-south-1",
         "bkt.s3.dualstack.ap-south-1.amazonaws.com"},
        {{.region = "us-east-1", .bucket = "bkt", .accelerate = true},
         "eu-west-1",
         "bkt.s3-accelerate.amazonaws.com"},
        {{.url = "http://h:9000", .region = "us-east-1", .bucket = "bkt"}, "home-1", "h:9000"},
        {{.url = "https://s3.us-east-1.amazonaws.com", .region = "us-east-1", .bucket = "bkt"},
         "eu-west-1",
         "bkt.s3.us-east-1.amazonaws.com"},
        {{.region = "us-east-1", .bucket = "bkt"}, "us-east-1", NULL},
        {{.region = "us-east-1", .bucket = "bkt"}, "cn-north-1", NULL},
        {{.region = "us-east-1", .bucket = "bkt"}, "us-gov-west-1", NULL},
        {{.region = "us-east-1", .bucket = "bkt"}, "x.evil.example", NULL},
        {{.region = "us-east-1", .bucket = "bkt"}, "", NULL},
        {{.region = "us-west-2", .bucket = POINT}, "eu-west-1", NULL},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct s3_url url, was;

        assert_int_equal(s3_endpoint_resolve(&rows[i].e, &url, NULL), 0);
        was = url;
        assert_int_equal(s3_endpoint_move(&rows[i].e, rows[i].to, &url),
                         rows[i].authority ? 0 : -EINVAL);
        assert_string_equal(url.authority, rows[i].authority ? rows[i].authority : was.authority);
        assert_string_equal(url.region, rows[i].authority ? rows[i].to : was.region);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_aws),           cmocka_unit_test(test_regions),
        cmocka_unit_test(test_access_points), cmocka_unit_test(test_what_cannot_be),
        cmocka_unit_test(test_moves),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
