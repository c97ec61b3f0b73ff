/* LIST against a scripted server: queries, pages, pages that break off. */
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

#include "client_fixture.h"

#define OK "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"
#define ENTRY(key) "<Contents><Key>" key "</Key><Size>1</Size></Contents>"

static void list(struct fixture *f, const struct s3_list *l)
{
    struct s3_list with = *l;

    call_end(&f->call);
    call_init(&f->call);
    with.on_entry = call_on_entry;
    with.on_restart = call_on_restart;
    assert_int_equal(s3_list(f->client, &with, call_done, &f->call, NULL), 0);
    fixture_wait(f, &f->call);
}

static void test_page(void **state)
{
    struct s3_list l = {.prefix = "a b/",
                        .delimiter = "/",
                        .start_after = "a b/\xc3\xbc",
                        .token = "t+/=",
                        .max_keys = 7};
    struct fixture f;

    (void)state;
    fixture_begin(
        &f, SCRIPT({.text = OK "<ListBucketResult><EncodingType>url"
                               "</EncodingType><IsTruncated>true</IsTruncated>"
                               "<NextContinuationToken>n&amp;1"
                               "</NextContinuationToken>" ENTRY(
                                   "a+b%2Fx") "<CommonPrefixes><Prefix>p/</"
                                              "Prefix></CommonPrefixes>"
                                              "</ListBucketResult>",
                    .end = SERVER_CLOSE}));
    list(&f, &l);
    assert_int_equal(f.call.res.error, 0);
    assert_string_equal(f.call.data.data, "a b/x\np/\n");
    assert_true(f.call.res.truncated);
    assert_string_equal(f.call.res.next_token, "n&1");
    assert_int_equal(f.call.res.n_entries, 2);
    assert_int_equal(f.call.restarts, 0);
    assert_non_null(strstr(
        server_request(f.server, 0)->head,
        "GET /bkt?list-type=2&encoding-type=url&max-keys=7&prefix=a%20b%2F&"
        "delimiter=%2F&start-after=a%20b%2F%C3%BC&"
        "continuation-token=t%2B%2F%3D HTTP/1.1\r\n"));
    l.max_keys = 1001;
    assert_int_equal(s3_list(f.client, &l, call_done, &f.call, NULL), -EINVAL);
    fixture_end(&f);
}

static void test_last_page(void **state)
{
    struct fixture f;

    (void)state;
    fixture_begin(&f, SCRIPT({.text = OK "<ListBucketResult>" ENTRY(
                                  "a%") "</ListBucketResult>",
                              .end = SERVER_CLOSE}));
    list(&f, &(struct s3_list){0});
    assert_int_equal(f.call.res.error, 0);
    assert_string_equal(f.call.data.data, "a%\n");
    assert_false(f.call.res.truncated);
    assert_null(f.call.res.next_token);
    assert_non_null(strstr(server_request(f.server, 0)->head,
                           "GET /bkt?list-type=2&encoding-type=url&prefix= "));
    fixture_end(&f);
}

/* Cut, then whole: what was told is taken back. */
static void test_restart(void **state)
{
    static const char whole[] =
        OK "<ListBucketResult>" ENTRY("a") ENTRY("b") "</ListBucketResult>";
    struct fixture f;

    (void)state;
    fixture_begin(
        &f, SCRIPT({.text = "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"
                            "<ListBucketResult>" ENTRY("a"),
                    .end = SERVER_CLOSE},
                   {.text = "HTTP/1.1 500 X\r\nContent-Length: 0\r\n\r\n"},
                   {.text = whole, .end = SERVER_CLOSE}));
    list(&f, &(struct s3_list){0});
    assert_int_equal(f.call.res.error, 0);
    assert_string_equal(f.call.data.data, "a\nb\n");
    assert_int_equal(f.call.restarts, 1);
    assert_int_equal(f.call.res.attempts, 3);
    fixture_end(&f);
}

static void test_no_page(void **state)
{
    static const struct {
        const char *text;
        int error;
        unsigned attempts;
    } cases[] = {
        {OK "<html>hello</html>", EIO, 3},
        {OK "", EIO, 3},
        {OK "<ListBucketResult>" ENTRY("a"), EIO, 3},
        {OK "<ListBucketResult><IsTruncated>true</IsTruncated>"
            "</ListBucketResult>",
         EIO, 3},
        {OK "<ListBucketResult><Contents><Key>k</Key><Size>x</Size></Contents>"
            "</ListBucketResult>",
         EIO, 3},
        {OK ERROR_DOC("AccessDenied"), EACCES, 1},
        {OK ERROR_DOC("InternalError"), EIO, 3},
        {"HTTP/1.1 404 X\r\nContent-Length: 104\r\n\r\n" ERROR_DOC(
             "NoSuchBucket"),
         EIO, 1},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct fixture f;

        fixture_begin(&f, SCRIPT({.text = cases[i].text, .end = SERVER_CLOSE}));
        list(&f, &(struct s3_list){0});
        if (f.call.res.error != -cases[i].error ||
            f.call.res.attempts != cases[i].attempts)
            fail_msg("%zu: %d after %u: %s", i, f.call.res.error,
                     f.call.res.attempts, f.call.res.text);
        fixture_end(&f);
    }
}

/* The caller may end it, also with entries that waited for the end. */
static void test_callers_no(void **state)
{
    static const char *const pages[] = {
        OK "<ListBucketResult>" ENTRY("a") ENTRY("b") "</ListBucketResult>",
        OK "<ListBucketResult>" ENTRY("a%20") "</ListBucketResult>",
    };

    (void)state;
    for (int i = 0; i < 2; i++) {
        struct s3_list l = {.on_entry = call_on_entry};
        struct fixture f;

        fixture_begin(&f, SCRIPT({.text = pages[i], .end = SERVER_CLOSE}));
        f.call.data_result = -ENOMEM;
        assert_int_equal(s3_list(f.client, &l, call_done, &f.call, NULL), 0);
        fixture_wait(&f, &f.call);
        assert_int_equal(f.call.res.error, -ENOMEM);
        assert_int_equal(f.call.res.attempts, 1);
        assert_int_equal(f.call.res.fail, S3_FAIL_LOCAL);
        fixture_end(&f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_page),       cmocka_unit_test(test_last_page),
        cmocka_unit_test(test_restart),    cmocka_unit_test(test_no_page),
        cmocka_unit_test(test_callers_no),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
