/* Endpoints, addressing, keys that must not be sent, percent-coding. */
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

#include "s3/s3_endpoint.h"
#include "s3/s3_url.h"

static int resolve(struct s3_url *url, const char *endpoint, const char *region, const char *bucket,
                   enum s3_addressing addressing, struct err *err)
{
    struct s3_endpoint e = {
        .url = endpoint, .region = region, .bucket = bucket, .addressing = addressing};

    return s3_endpoint_resolve(&e, url, err);
}

static void test_addresses(void **state)
{
    static const struct {
        const char *endpoint, *region, *bucket;
        enum s3_addressing addressing;
        bool tls;
        const char *authority, *path; /* of key "k/x y" */
    } cases[] = {
        {"http://127.0.0.1:9000", "r", "bkt", S3_ADDRESSING_AUTO, false, "127.0.0.1:9000",
         "/bkt/k/x%20y"},
        {"https://Minio.Example/s3/", "r", "bkt", S3_ADDRESSING_AUTO, true, "minio.example",
         "/s3/bkt/k/x%20y"},
        {"HTTP://[::1]:81/", "r", "bkt", S3_ADDRESSING_PATH, false, "[::1]:81", "/bkt/k/x%20y"},
        {"http://[::1]", "r", "bkt", S3_ADDRESSING_PATH, false, "[::1]", "/bkt/k/x%20y"},
        {"https://h:443", "r", "bkt", S3_ADDRESSING_AUTO, true, "h", "/bkt/k/x%20y"},
        {"http://h:443", "r", "bkt", S3_ADDRESSING_AUTO, false, "h:443", "/bkt/k/x%20y"},
        {NULL, "eu-west-1", "bkt", S3_ADDRESSING_AUTO, true, "bkt.s3.eu-west-1.amazonaws.com",
         "/k/x%20y"},
        {"", "cn-north-1", "bkt", S3_ADDRESSING_AUTO, true, "bkt.s3.cn-north-1.amazonaws.com.cn",
         "/k/x%20y"},
        {"", "us-east-1", "my.bkt", S3_ADDRESSING_AUTO, true, "s3.us-east-1.amazonaws.com",
         "/my.bkt/k/x%20y"},
        {"", "us-east-1", "Old_Bucket", S3_ADDRESSING_AUTO, true, "s3.us-east-1.amazonaws.com",
         "/Old_Bucket/k/x%20y"},
        {"", "us-east-1", "bkt", S3_ADDRESSING_PATH, true, "s3.us-east-1.amazonaws.com",
         "/bkt/k/x%20y"},
        {"https://s3.example:1/p", "r", "my.bkt", S3_ADDRESSING_VIRTUAL, true,
         "my.bkt.s3.example:1", "/p/k/x%20y"},
        {"https://evilamazonaws.com", "r", "bkt", S3_ADDRESSING_AUTO, true, "evilamazonaws.com",
         "/bkt/k/x%20y"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct s3_url url;
        struct buf path;
        struct err err;

        assert_int_equal(resolve(&url, cases[i].endpoint, cases[i].region, cases[i].bucket,
                                 cases[i].addressing, &err),
                         0);
        assert_string_equal(url.authority, cases[i].authority);
        assert_int_equal(url.tls, cases[i].tls);
        buf_init(&path, 4096);
        assert_int_equal(s3_url_path(&url, "k/x y", &path), 0);
        assert_string_equal(path.data, cases[i].path);
        buf_done(&path);
    }
}

/* The bucket itself is "/bucket", or "/" where its name is in the host. */
static void test_bucket_path(void **state)
{
    struct s3_url url;
    struct buf path;

    (void)state;
    buf_init(&path, 4096);
    assert_int_equal(resolve(&url, "http://h", "r", "bkt", S3_ADDRESSING_PATH, NULL), 0);
    assert_int_equal(s3_url_path(&url, NULL, &path), 0);
    assert_string_equal(path.data, "/bkt");
    buf_reset(&path);
    assert_int_equal(resolve(&url, "http://h", "r", "bkt", S3_ADDRESSING_VIRTUAL, NULL), 0);
    assert_int_equal(s3_url_path(&url, NULL, &path), 0);
    assert_string_equal(path.data, "/");
    buf_done(&path);
}

static void test_bad_endpoints(void **state)
{
    static const char *const bad[] = {
        "h:9000",        "ftp://h",      "http://",        "http:///b",   "http://u:p@h",
        "http://h:0",    "http://h:",    "http://h:65536", "http://h:1x", "http://h?q",
        "http://h/#f",   "http://h/a b", "http://h/%zz",   "http://h\nx", "http://[::1",
        "http://[::1]x", "http://h h",   "http://h:+1",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct s3_url url = {.authority = "untouched"};
        struct err err = {0};

        assert_int_equal(resolve(&url, bad[i], "r", "bkt", S3_ADDRESSING_AUTO, &err), -EINVAL);
        assert_int_equal(err.code, EINVAL);
        assert_true(strlen(err.text) > 10);
        assert_string_equal(url.authority, "untouched");
    }
}

static void test_bad_names(void **state)
{
    struct s3_url url;

    (void)state;
    assert_int_equal(resolve(&url, "", "eu/west", "bkt", S3_ADDRESSING_AUTO, NULL), -EINVAL);
    assert_int_equal(resolve(&url, "http://h", "r", "a/b", S3_ADDRESSING_AUTO, NULL), -EINVAL);
    assert_int_equal(resolve(&url, "http://h", "r", "", S3_ADDRESSING_AUTO, NULL), -EINVAL);
    assert_int_equal(resolve(&url, "http://h", "r", "..", S3_ADDRESSING_AUTO, NULL), -EINVAL);
    assert_int_equal(resolve(&url, "http://127.0.0.1", "r", "bkt", S3_ADDRESSING_VIRTUAL, NULL),
                     -EINVAL);
    assert_int_equal(resolve(&url, "http://h", "r", "Bucket", S3_ADDRESSING_VIRTUAL, NULL),
                     -EINVAL);
}

static void test_keys(void **state)
{
    static const struct {
        const char *key;
        int want;
    } cases[] = {
        {"a", 0},
        {"a/b", 0},
        {"dir/", 0},
        {"...", 0},
        {"a/...b/.c", 0},
        {"\xc3\xbc", 0},
        {"a\x01\x7f", 0},
        {"\xf0\x9f\x98\x80", 0},
        {"", -EINVAL},
        {"/", -EINVAL},
        {"/a", -EINVAL},
        {"a//b", -EINVAL},
        {"a//", -EINVAL},
        {".", -EINVAL},
        {"..", -EINVAL},
        {"./a", -EINVAL},
        {"../a", -EINVAL},
        {"a/./b", -EINVAL},
        {"a/../b", -EINVAL},
        {"a/.", -EINVAL},
        {"a/..", -EINVAL},
        {"a/../", -EINVAL},
        {"\xff", -EINVAL},
        {"a\xc3", -EINVAL},
        {"\xc0\xaf", -EINVAL},
        {"\xed\xa0\x80", -EINVAL},
        {"\xe0\x80\x80", -EINVAL},
        {"\xf4\x90\x80\x80", -EINVAL},
        {"\xf0\x80\x80\x80", -EINVAL},
    };
    char key[1200];

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        assert_int_equal(s3_url_check_key(cases[i].key), cases[i].want);
    memset(key, 'a', sizeof(key)); /* one component: as long as a key */
    key[1024] = '\0';
    assert_int_equal(s3_url_check_key(key), 0);
    key[1024] = 'a', key[1025] = '\0';
    assert_int_equal(s3_url_check_key(key), -ENAMETOOLONG);
    memset(key, 'a', sizeof(key));
    for (size_t i = 200; i < 1024; i += 200)
        key[i] = '/';
    key[1024] = '\0';
    assert_int_equal(s3_url_check_key(key), 0);
    key[1024] = 'a', key[1025] = '\0';
    assert_int_equal(s3_url_check_key(key), -ENAMETOOLONG);
}

static void test_coding(void **state)
{
    struct buf b;
    char all[256];

    (void)state;
    buf_init(&b, 4096);
    assert_int_equal(s3_url_encode(&b, "aZ0-._~/ +%\xc3\xbc&=", 15, false), 0);
    assert_string_equal(b.data, "aZ0-._~%2F%20%2B%25%C3%BC%26%3D");
    buf_reset(&b);
    assert_int_equal(s3_url_encode(&b, "a/b c", 5, true), 0);
    assert_string_equal(b.data, "a/b%20c");
    /* there and back, all bytes */
    for (size_t i = 0; i < sizeof(all); i++)
        all[i] = (char)i;
    buf_reset(&b);
    assert_int_equal(s3_url_encode(&b, all, sizeof(all), false), 0);
    assert_int_equal(s3_url_decode(b.data, b.len, false), sizeof(all));
    assert_memory_equal(b.data, all, sizeof(all));
    buf_done(&b);
    buf_init(&b, 5);
    assert_int_equal(s3_url_encode(&b, "abc d", 5, false), -EMSGSIZE);
    buf_done(&b);
}

static void test_decode(void **state)
{
    static const struct {
        const char *in, *plus, *raw;
    } cases[] = {
        {"a+b", "a b", "a+b"},
        {"%2B+%20", "+  ", "++ "},
        {"%", "%", "%"},
        {"%4", "%4", "%4"},
        {"%4g%g4", "%4g%g4", "%4g%g4"},
        {"%61%62%6C%6c", "abll", "abll"},
        {"%%41", "%A", "%A"},
        {"", "", ""},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char text[64];

        strcpy(text, cases[i].in);
        assert_int_equal(s3_url_decode(text, strlen(text), true), strlen(cases[i].plus));
        assert_string_equal(text, cases[i].plus);
        strcpy(text, cases[i].in);
        (void)s3_url_decode(text, strlen(text), false);
        assert_string_equal(text, cases[i].raw);
    }
}

/* "tenant:bucket" of Ceph, and names that AWS does not take. */
static void test_buckets_of_others(void **state)
{
    struct s3_url url;

    (void)state;
    assert_int_equal(resolve(&url, "http://h", "r", "tenant:My_bkt", S3_ADDRESSING_AUTO, NULL), 0);
    assert_string_equal(url.base, "/tenant%3AMy_bkt");
    assert_false(url.virtual_host);
    assert_int_equal(resolve(&url, "http://h", "r", "tenant:bkt", S3_ADDRESSING_VIRTUAL, NULL),
                     -EINVAL);
    assert_int_equal(resolve(&url, "", "us-east-1", "tenant:bkt", S3_ADDRESSING_AUTO, NULL),
                     -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_bucket_path),
        cmocka_unit_test(test_buckets_of_others),
        cmocka_unit_test(test_bad_endpoints),
        cmocka_unit_test(test_bad_names),
        cmocka_unit_test(test_keys),
        cmocka_unit_test(test_coding),
        cmocka_unit_test(test_decode),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
