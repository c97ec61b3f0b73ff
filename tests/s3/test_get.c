/* GET against a scripted server: ranges, conditions, answers that break off or lie. */
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

#define OBJECT "Last-Modified: Sun, 30 Aug 2015 12:36:00 GMT\r\nETag: \"e1\"\r\n"
#define DIGITS "0123456789"
#define D100 DIGITS DIGITS DIGITS DIGITS DIGITS DIGITS DIGITS DIGITS DIGITS DIGITS
#define WHOLE "HTTP/1.1 200 OK\r\n" OBJECT "Content-Length: 100\r\n\r\n"
#define PART(range, length)                                                                        \
    "HTTP/1.1 206 Partial Content\r\n" OBJECT "Content-Range: bytes " range                        \
    "\r\nContent-Length: " length "\r\n\r\n"

static const struct s3_get plain = {.key = "a/b c"};

static void succeeded(const struct fixture *f, const char *data)
{
    if (f->call.res.error)
        fail_msg("%s", f->call.res.text);
    assert_int_equal(f->call.res.fail, S3_FAIL_NONE);
    assert_int_equal(f->call.heads, 1);
    assert_string_equal(f->call.data.data ? f->call.data.data : "", data);
    assert_int_equal(s3_in_flight(f->client), 0);
}

static void failed(const struct fixture *f, int error, unsigned attempts)
{
    if (f->call.res.error != -error)
        fail_msg("%d: %s", f->call.res.error, f->call.res.text);
    assert_true(*f->call.res.text);
    assert_int_equal(f->call.res.attempts, attempts);
    assert_int_equal(s3_in_flight(f->client), 0);
}

static void test_whole(void **state)
{
    struct fixture f;
    const struct s3_object *o = &f.call.head;

    (void)state;
    fixture_begin(&f, SCRIPT({.text = "HTTP/1.1 200 OK\r\n" OBJECT "X-Amz-Meta-Mode: 33188\r\n"
                                      "x-amz-meta-Empty:\r\n"
                                      "x-amz-version-id: v 1\r\n" /* no id */
                                      "x-amz-version-id: v1\r\n"
                                      "X-Amz-Storage-Class: GLACIER_IR\r\n"
                                      "Content-Length: 10\r\n\r\n" DIGITS}));
    fixture_get(&f, &plain);
    succeeded(&f, DIGITS);
    assert_int_equal(o->size, 10);
    assert_int_equal(o->mtime_ns / 1000000000, 1440938160);
    assert_string_equal(o->etag, "\"e1\"");
    assert_string_equal(s3_object_meta(o, "mode"), "33188");
    assert_string_equal(s3_object_meta(o, "empty"), "");
    assert_null(s3_object_meta(o, "other"));
    assert_string_equal(o->version, "v1");
    assert_string_equal(o->storage_class, "GLACIER_IR");
    assert_memory_equal(o, &f.call.res.obj, sizeof(*o));
    assert_int_equal(f.call.res.http_status, 200);
    assert_int_equal(f.call.res.attempts, 1);
    assert_non_null(strstr(server_request(f.server, 0)->head, "GET /bkt/a/b%20c HTTP/1.1\r\n"));
    assert_string_equal(server_header(f.server, 0, "range"), "");
    assert_string_equal(server_header(f.server, 0, "host"), f.endpoint + 7);
    assert_string_equal(server_header(f.server, 0, "x-amz-security-token"), "token");
    assert_string_equal(server_header(f.server, 0, "accept"), "");
    /* the connection is used again */
    fixture_get(&f, &plain);
    succeeded(&f, DIGITS);
    assert_int_equal(server_connections(f.server), 1);
    fixture_end(&f);
}

static void test_ranges(void **state)
{
    struct fixture f;
    struct s3_get get = plain;

    (void)state;
    fixture_begin(&f,
                  SCRIPT({.text = PART("2-5/10", "4") "2345"}, {.text = PART("8-9/10", "2") "89"},
                         {.text = PART("5-9/10", "5") "56789"}));
    get.off = 2, get.len = 4;
    fixture_get(&f, &get);
    succeeded(&f, "2345");
    assert_string_equal(server_header(f.server, 0, "range"), "bytes=2-5");
    assert_int_equal(f.call.head.size, 10);
    assert_int_equal(f.call.next_off, 6);
    get.off = 8, get.len = 92; /* reaches beyond the end */
    fixture_get(&f, &get);
    succeeded(&f, "89");
    assert_string_equal(server_header(f.server, 1, "range"), "bytes=8-99");
    get.off = 5, get.len = 0;
    fixture_get(&f, &get);
    succeeded(&f, "56789");
    assert_string_equal(server_header(f.server, 2, "range"), "bytes=5-");
    fixture_end(&f);
}

static void test_conditions(void **state)
{
    struct fixture f;
    struct s3_get get = plain;

    (void)state;
    fixture_begin(&f, SCRIPT({.text = "HTTP/1.1 304 Not Modified\r\n\r\n"},
                             {.text = "HTTP/1.1 412 Precondition Failed\r\n"
                                      "Content-Length: 0\r\n\r\n"}));
    get.if_none_match = "\"e1\"";
    fixture_get(&f, &get);
    assert_int_equal(f.call.res.error, 0);
    assert_true(f.call.res.not_modified);
    assert_int_equal(f.call.heads, 0);
    assert_string_equal(server_header(f.server, 0, "if-none-match"), "\"e1\"");
    get.if_none_match = NULL;
    get.if_match = "\"e2\"";
    fixture_get(&f, &get);
    failed(&f, ESTALE, 1);
    assert_false(f.call.res.not_modified);
    assert_string_equal(server_header(f.server, 1, "if-match"), "\"e2\"");
    fixture_end(&f);
}

/* A 304 that nobody asked for is no success. */
static void test_stray_304(void **state)
{
    struct fixture f;

    (void)state;
    fixture_begin(&f, SCRIPT({.text = "HTTP/1.1 304 Not Modified\r\n\r\n"}));
    fixture_get(&f, &plain);
    failed(&f, EIO, 1);
    fixture_end(&f);
}

static void test_resume(void **state)
{
    static const enum server_end ends[] = {SERVER_CLOSE, SERVER_RESET};
    static const char cut[] = WHOLE DIGITS DIGITS DIGITS DIGITS;

    (void)state;
    for (int i = 0; i < 2; i++) {
        struct fixture f;

        fixture_begin(&f,
                      SCRIPT({.text = cut, .end = ends[i]},
                             {.text = PART("40-99/100", "60") DIGITS, .end = ends[i]},
                             {.text = NULL, .end = ends[i]},
                             {.text = PART("50-99/100", "50") DIGITS DIGITS DIGITS DIGITS DIGITS}));
        fixture_get(&f, &plain);
        succeeded(&f, D100);
        assert_int_equal(f.call.res.attempts, 4);
        assert_string_equal(server_header(f.server, 1, "range"), "bytes=40-99");
        assert_string_equal(server_header(f.server, 1, "if-match"), "\"e1\"");
        assert_string_equal(server_header(f.server, 3, "range"), "bytes=50-99");
        fixture_end(&f);
    }
}

/* A ranged GET resumes within its range. */
static void test_resume_range(void **state)
{
    struct fixture f;
    struct s3_get get = plain;

    (void)state;
    fixture_begin(&f, SCRIPT({.text = PART("10-29/100", "20") DIGITS, .end = SERVER_CLOSE},
                             {.text = PART("20-29/100", "10") DIGITS}));
    get.off = 10, get.len = 20;
    fixture_get(&f, &get);
    succeeded(&f, DIGITS DIGITS);
    assert_string_equal(server_header(f.server, 1, "range"), "bytes=20-29");
    fixture_end(&f);
}

/* A version that is named: in each attempt, beside the conditions. */
static void test_version(void **state)
{
    static const char gone[] = "HTTP/1.1 404 Not Found\r\nContent-Length: 42\r\n\r\n"
                               "<Error><Code>NoSuchVersion</Code></Error> ";
    struct fixture f;
    struct s3_get get = plain;

    (void)state;
    fixture_begin(&f, SCRIPT({.text = PART("10-29/100", "20") DIGITS, .end = SERVER_CLOSE},
                             {.text = PART("20-29/100", "10") DIGITS}, {.text = gone},
                             {.text = WHOLE D100}));
    get.off = 10, get.len = 20, get.if_match = "\"e1\"", get.version = "a+b/c=&d";
    fixture_get(&f, &get);
    succeeded(&f, DIGITS DIGITS);
    for (unsigned i = 0; i < 2; i++) {
        assert_non_null(strstr(server_request(f.server, i)->head,
                               "GET /bkt/a/b%20c?versionId=a%2Bb%2Fc%3D%26d HTTP/1.1\r\n"));
        assert_string_equal(server_header(f.server, i, "if-match"), "\"e1\"");
    }
    fixture_get(&f, &get);
    failed(&f, ESTALE, 1);
    assert_string_equal(f.call.res.code, "NoSuchVersion");
    get = plain, get.version = "";
    fixture_get(&f, &get);
    succeeded(&f, D100);
    assert_non_null(strstr(server_request(f.server, 3)->head, "GET /bkt/a/b%20c HTTP/1.1\r\n"));
    fixture_end(&f);
}

/* Never bytes of two versions. */
static void test_replaced(void **state)
{
    static const char *const second[] = {
        "HTTP/1.1 412 Precondition Failed\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 206 Partial Content\r\nETag: \"e2\"\r\nContent-Range: bytes "
        "10-99/100\r\nContent-Length: 90\r\n\r\n" DIGITS,
        "HTTP/1.1 206 Partial Content\r\nETag: \"e1\"\r\nContent-Range: bytes "
        "10-99/101\r\nContent-Length: 90\r\n\r\n" DIGITS,
        "HTTP/1.1 416 Requested Range Not Satisfiable\r\nContent-Length: 0\r\n\r\n",
    };

    (void)state;
    for (int i = 0; i < 4; i++) {
        struct fixture f;

        fixture_begin(&f, SCRIPT({.text = WHOLE DIGITS, .end = SERVER_CLOSE}, {.text = second[i]}));
        fixture_get(&f, &plain);
        failed(&f, ESTALE, 2);
        assert_string_equal(f.call.data.data, DIGITS);
        fixture_end(&f);
    }
}

static void test_lies(void **state)
{
    static const char *const lies[] = {
        PART("3-5/10", "3") "345",
        PART("2-6/10", "5") "23456",
        PART("2-5/10", "3") "234",
        PART("2-4/10", "3") "234",
        PART("2-5/4", "4") "2345",
        PART("5-2/10", "4") "2345",
        PART("2-5/*", "4") "2345",
        PART("2-5/99999999999999999999", "4") "2345",
        "HTTP/1.1 206 Partial Content\r\n" OBJECT "Content-Length: 4\r\n\r\n"
        "2345",
        "HTTP/1.1 206 Partial Content\r\n" OBJECT
        "Content-Range: bytes 2-6/10\r\nTransfer-Encoding: chunked\r\n\r\n"
        "5\r\n23456\r\n0\r\n\r\n",
        "HTTP/1.1 204 No Content\r\n\r\n",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
        struct fixture f;
        struct s3_get get = {.key = "k", .off = 2, .len = 4};

        fixture_begin(&f, SCRIPT({.text = lies[i]}));
        fixture_get(&f, &get);
        failed(&f, EIO, 3);
        assert_int_equal(f.call.data.len, 0);
        assert_int_equal(f.call.res.fail, S3_FAIL_PROTOCOL);
        fixture_end(&f);
    }
}

#define CHUNKED "Transfer-Encoding: chunked\r\n\r\n"

/* The range tells the size; of what has none a range is asked for, from then on. */
static void test_without_length(void **state)
{
    struct fixture f;
    struct s3_get get = {.key = "k", .off = 2, .len = 4};

    (void)state;
    fixture_begin(
        &f, SCRIPT({.text = "HTTP/1.1 206 Partial Content\r\n" OBJECT
                            "Content-Range: bytes 2-5/10\r\n" CHUNKED "4\r\n2345\r\n0\r\n\r\n"}));
    fixture_get(&f, &get);
    succeeded(&f, "2345");
    assert_int_equal(f.call.head.size, 10);
    fixture_end(&f);
    fixture_begin(
        &f, SCRIPT({.text = "HTTP/1.1 200 OK\r\n" OBJECT CHUNKED "3\r\n234\r\n0\r\n\r\n"},
                   {.text = "HTTP/1.1 206 Partial Content\r\n" OBJECT
                            "Content-Range: bytes 0-2/3\r\n" CHUNKED "3\r\n234\r\n0\r\n\r\n"}));
    get = (struct s3_get){.key = "k"};
    fixture_get(&f, &get);
    succeeded(&f, "234");
    assert_int_equal(f.call.head.size, 3);
    fixture_end(&f);
}

#define PART_200(range, len)                                                                       \
    "HTTP/1.1 200 OK\r\n" OBJECT "Content-Range: bytes " range "\r\nContent-Length: " len "\r\n\r" \
    "\n"

/* A part that calls itself whole; and a whole one that tells its range. */
static void test_part_with_status_200(void **state)
{
    static const char *const lies[] = {PART_200("0-4/10", "3") "234", PART_200("x", "4") "2345",
                                       PART_200("2-5/*", "4") "2345"};
    struct s3_get get = {.key = "k", .off = 2, .len = 4};
    struct fixture f;

    (void)state;
    fixture_begin(&f, SCRIPT({.text = PART_200("2-5/10", "4") "2345"}));
    fixture_get(&f, &get);
    succeeded(&f, "2345");
    assert_int_equal(f.call.head.size, 10);
    fixture_end(&f);
    for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
        fixture_begin(&f, SCRIPT({.text = lies[i]}));
        fixture_get(&f, &get);
        failed(&f, EIO, 3);
        fixture_end(&f);
    }
    get = (struct s3_get){.key = "k"};
    fixture_begin(&f, SCRIPT({.text = PART_200("0-2/3", "3") "234"}));
    fixture_get(&f, &get);
    succeeded(&f, "234");
    fixture_end(&f);
}

/* A server that does not know Range: fine from 0, where the rest can be left; else it is said. */
static void test_range_ignored(void **state)
{
    struct fixture f;
    struct s3_get get = {.key = "k", .len = 10};

    (void)state;
    fixture_begin(&f, SCRIPT({.text = WHOLE D100}));
    fixture_get(&f, &get);
    succeeded(&f, DIGITS);
    assert_int_equal(f.call.head.size, 100);
    get.off = 10;
    fixture_get(&f, &get);
    failed(&f, EIO, 3);
    assert_non_null(strstr(f.call.res.text, "Range"));
    fixture_end(&f);
}

#define EMPTY_416 "HTTP/1.1 416 Range Not Satisfiable\r\nContent-Length: 0\r\n\r\n"

static void test_empty(void **state)
{
    struct fixture f;
    struct s3_get get = {.key = "k", .len = 100};

    (void)state;
    fixture_begin(&f, SCRIPT({.text = EMPTY_416},
                             {.text = "HTTP/1.1 200 OK\r\n" OBJECT "Content-Length: 0\r\n\r\n"}));
    fixture_get(&f, &get);
    succeeded(&f, "");
    assert_int_equal(f.call.head.size, 0);
    assert_string_equal(f.call.head.etag, "\"e1\"");
    assert_memory_equal(server_request(f.server, 1)->head, "HEAD ", 5);
    /* without a range it is an answer like any other */
    get.len = 0;
    fixture_get(&f, &get);
    succeeded(&f, "");
    /* not from 0: beyond the end */
    server_script(f.server, SCRIPT({.text = EMPTY_416}));
    get.off = 5;
    fixture_get(&f, &get);
    failed(&f, ERANGE, 1);
    fixture_end(&f);
}

/* Between the 416 and the HEAD somebody wrote: the GET is made again. */
static void test_empty_no_more(void **state)
{
    struct fixture f;
    struct s3_get get = {.key = "k", .len = 10};

    (void)state;
    fixture_begin(
        &f, SCRIPT({.text = EMPTY_416}, {.text = WHOLE}, {.text = PART("0-9/100", "10") DIGITS}));
    fixture_get(&f, &get);
    succeeded(&f, DIGITS);
    assert_memory_equal(server_request(f.server, 2)->head, "GET ", 4);
    fixture_end(&f);
}

/* ---- held against the ETag ---- */

/* MD5 of "abc", of "xyz" and of nothing. */
#define E_ABC "\"900150983cd24fb0d6963f7d28e17f72\""
#define E_XYZ "\"d16fb36f0911f878998c136191af705e\""
#define E_NONE "\"d41d8cd98f00b204e9800998ecf8427e\""
#define ANSWER(etag, more, length, body)                                                           \
    "HTTP/1.1 200 OK\r\nETag: " etag "\r\n" more "Content-Length: " length "\r\n\r\n" body

static const struct s3_get checked = {.key = "a/b c", .on_restart = call_on_restart};

static void came(const struct fixture *f, const char *data, const char *etag, unsigned restarts)
{
    if (f->call.res.error)
        fail_msg("%s", f->call.res.text);
    assert_string_equal(f->call.data.data ? f->call.data.data : "", data);
    assert_string_equal(f->call.res.obj.etag, etag);
    assert_int_equal(f->call.restarts, restarts);
    assert_int_equal(f->call.heads, restarts + 1);
    assert_int_equal(f->call.res.attempts, restarts + 1);
    assert_int_equal(s3_in_flight(f->client), 0);
}

/* A server that looked the ETag up before the object was replaced, and opened it after. */
static void test_torn(void **state)
{
    struct fixture f;
    struct s3_get pinned = checked;

    (void)state;
    fixture_begin(
        &f, SCRIPT({.text = ANSWER(E_ABC, "", "3", "xyz")}, {.text = ANSWER(E_XYZ, "", "3", "xyz")},
                   {.text = ANSWER(E_ABC, "", "0", "")}, {.text = ANSWER(E_NONE, "", "0", "")},
                   {.text = ANSWER(E_ABC, "", "3", "xyz")},
                   {.text = "HTTP/1.1 412 Precondition Failed\r\n"
                            "Content-Length: 0\r\n\r\n"}));
    fixture_get(&f, &checked);
    came(&f, "xyz", E_XYZ, 1);
    fixture_get(&f, &checked);
    came(&f, "", E_NONE, 1);
    pinned.if_match = E_ABC;
    fixture_get(&f, &pinned);
    assert_int_equal(f.call.res.error, -ESTALE);
    /* the last piece never came */
    assert_string_equal(f.call.data.data ? f.call.data.data : "", "");
    assert_string_equal(server_header(f.server, 5, "if-match"), E_ABC);
    fixture_end(&f);
}

/* The rest of what broke off is of the next version. */
static void test_torn_in_the_middle(void **state)
{
    struct fixture f;

    (void)state;
    fixture_begin(&f, SCRIPT({.text = ANSWER(E_ABC, "", "3", "a")},
                             {.text = "HTTP/1.1 206 Partial Content\r\nETag: " E_ABC
                                      "\r\nContent-Range: bytes 1-2/3\r\n"
                                      "Content-Length: 2\r\n\r\nyz"},
                             {.text = ANSWER(E_XYZ, "", "3", "xyz")}));
    fixture_get(&f, &checked);
    assert_int_equal(f.call.res.error, 0);
    assert_string_equal(f.call.data.data, "xyz");
    assert_int_equal(f.call.restarts, 1);
    fixture_end(&f);
}

/* It stays so: not told as good. */
static void test_always_torn(void **state)
{
    struct fixture f;

    (void)state;
    fixture_begin(&f, SCRIPT({.text = ANSWER(E_ABC, "", "3", "xyz")},
                             {.text = ANSWER(E_ABC, "", "2", "xy")},
                             {.text = ANSWER(E_ABC, "", "1", "x")}));
    fixture_get(&f, &checked);
    assert_int_equal(f.call.res.error, -EIO);
    assert_non_null(strstr(f.call.res.text, "do not match its ETag"));
    assert_int_equal(f.call.res.attempts, 3);
    fixture_end(&f);
}

/* A server whose ETags are no MD5 is found out once. */
static void test_other_etags(void **state)
{
    struct fixture f;

    (void)state;
    fixture_begin(&f, SCRIPT({.text = ANSWER(E_ABC, "", "3", "xyz")},
                             {.text = ANSWER(E_ABC, "", "3", "xyz")},
                             {.text = ANSWER(E_NONE, "", "3", "abc")}));
    fixture_get(&f, &checked);
    came(&f, "xyz", E_ABC, 1);
    fixture_get(&f, &checked);
    came(&f, "abc", E_NONE, 0);
    fixture_end(&f);
}

/* Where ETags are MD5s, bytes that never match are never delivered. */
static void test_always_corrupt(void **state)
{
    struct fixture f;

    (void)state;
    fixture_begin(
        &f, SCRIPT({.text = ANSWER(E_ABC, "", "3", "abc")}, {.text = ANSWER(E_ABC, "", "3", "xyz")},
                   {.text = ANSWER(E_ABC, "", "3", "xyz")}, {.text = ANSWER(E_ABC, "", "3", "xyz")},
                   {.text = ANSWER(E_XYZ, "", "3", "xyz")}));
    fixture_get(&f, &checked);
    came(&f, "abc", E_ABC, 0);
    fixture_get(&f, &checked);
    failed(&f, EIO, 3);
    assert_int_equal(f.call.data.len, 0);
    fixture_get(&f, &checked);
    came(&f, "xyz", E_XYZ, 0);
    fixture_end(&f);
}

/* MD5 says nothing of an object in parts; its checksum does. One of its parts' checksums, and one
 * of another kind, say nothing. */
static void test_checksum(void **state)
{
#define SUM(value) "x-amz-checksum-crc64nvme: " value "\r\n"
    static const struct {
        const char *more;
        bool right;
    } ways[] = {
        {SUM("rosUhgp5mIg="), true},
        {SUM("AAAAAAAAAAA="), false},
        {"x-amz-checksum-crc32c: 4waSgw==\r\n", true},
        {"x-amz-checksum-crc32c: 4waSgQ==\r\n", false},
        {SUM("rosUhgp5mIg=") "x-amz-checksum-crc32c: 4waSgQ==\r\n", true},
        {"x-amz-checksum-type: COMPOSITE\r\n" SUM("AAAAAAAAAAA="), true},
        {SUM("AAAAAAAAAAA=-3"), true},
        {"x-amz-checksum-sha1: AAAA\r\n", true},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
        struct fixture f;
        char text[512];

        snprintf(text, sizeof(text), ANSWER("\"parts-2\"", "%s", "9", "123456789"), ways[i].more);
        fixture_begin(&f, SCRIPT({.text = text}));
        f.conf.response_checks = true;
        fixture_client(&f);
        fixture_get(&f, &checked);
        if (ways[i].right)
            came(&f, "123456789", "\"parts-2\"", 0);
        else
            failed(&f, EIO, 3);
        assert_string_equal(server_header(f.server, 0, "x-amz-checksum-mode"), "ENABLED");
        f.conf.response_checks = false;
        fixture_client(&f);
        fixture_get(&f, &checked);
        came(&f, "123456789", "\"parts-2\"", 0);
        fixture_end(&f);
    }
}

/* Headers that say which bytes these are, twice: the same is fine, another value is nonsense. */
static void test_headers_twice(void **state)
{
    static const struct {
        const char *more;
        bool fine;
    } ways[] = {
        {"ETag: " E_ABC "\r\n", true},
        {"Content-Length: 3\r\n", true},
        {"ETag: " E_XYZ "\r\n", false},
        {"Content-Range: bytes 0-2/3\r\nContent-Range: bytes 0-2/3\r\n", true},
        {"Content-Range: bytes 0-2/3\r\nContent-Range: bytes 0-2/9\r\n", false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
        struct fixture f;
        char text[512];

        snprintf(text, sizeof(text), ANSWER(E_ABC, "%s", "3", "abc"), ways[i].more);
        fixture_begin(&f, SCRIPT({.text = text}));
        fixture_get(&f, &checked);
        if (ways[i].fine)
            came(&f, "abc", E_ABC, 0);
        else
            failed(&f, EIO, 3);
        fixture_end(&f);
    }
}

/* What is not held against an ETag: what KMS or the customer encrypts, a part of an object, a
 * request whose caller cannot begin anew, one that may not be repeated. */
static void test_not_looked_at(void **state)
{
    struct fixture f;
    struct s3_get get = checked;

    (void)state;
    fixture_begin(
        &f,
        SCRIPT({.text = ANSWER(E_ABC, "x-amz-server-side-encryption: aws:kms\r\n", "3", "xyz")},
               {.text = ANSWER(E_ABC, "x-amz-server-side-encryption-customer-algorithm: AES256\r\n",
                               "3", "xyz")},
               {.text = ANSWER(E_ABC, "x-amz-server-side-encryption: AES256\r\n", "3", "xyz")},
               {.text = ANSWER(E_XYZ, "x-amz-server-side-encryption: AES256\r\n", "3", "xyz")},
               {.text = PART("0-2/10", "3") "abc"}, {.text = ANSWER(E_ABC, "", "3", "xyz")},
               {.text = ANSWER(E_ABC, "", "3", "xyz")}));
    fixture_get(&f, &checked);
    came(&f, "xyz", E_ABC, 0);
    fixture_get(&f, &checked);
    came(&f, "xyz", E_ABC, 0);
    fixture_get(&f, &checked);
    came(&f, "xyz", E_XYZ, 1);
    get.len = 3;
    fixture_get(&f, &get);
    came(&f, "abc", "\"e1\"", 0);
    fixture_get(&f, &plain);
    came(&f, "xyz", E_ABC, 0);
    f.conf.max_attempts = 1;
    fixture_client(&f);
    fixture_get(&f, &checked);
    came(&f, "xyz", E_ABC, 0);
    fixture_end(&f);
}

static void test_callers_no(void **state)
{
    struct fixture f;
    struct s3_get get = plain;

    (void)state;
    fixture_begin(&f, SCRIPT({.text = WHOLE D100}));
    get.on_head = call_on_head;
    get.on_data = call_on_data;
    for (int i = 0; i < 2; i++) {
        call_end(&f.call);
        call_init(&f.call);
        f.call.head_result = i ? 0 : -ENOSPC;
        f.call.data_result = -ECANCELED;
        assert_int_equal(s3_get(f.client, &get, call_done, &f.call, NULL), 0);
        fixture_wait(&f, &f.call);
        failed(&f, i ? ECANCELED : ENOSPC, 1);
        assert_int_equal(f.call.res.fail, S3_FAIL_LOCAL);
    }
    fixture_end(&f);
}

/* Nothing but a few bytes in each attempt is no progress: the deadline ends it. */
static void test_trickle(void **state)
{
    struct fixture f;
    uint64_t begin = clock_mono_ns();

    (void)state;
    fixture_begin(
        &f, SCRIPT({.text = WHOLE "0", .end = SERVER_CLOSE}, {.text = NULL, .end = SERVER_CLOSE}));
    f.conf.deadline_ns = NS_PER_S;
    fixture_client(&f);
    fixture_get(&f, &plain);
    assert_int_equal(f.call.res.error, -ECONNRESET);
    assert_int_equal(f.call.res.fail, S3_FAIL_BROKEN);
    assert_in_range(clock_mono_ns() - begin, 400 * NS_PER_MS, 1500 * NS_PER_MS);
    fixture_end(&f);
}

static void test_bad_starts(void **state)
{
    static const struct s3_get bad[] = {
        {.key = ""},
        {.key = "a//b"},
        {.key = "../a"},
        {.key = NULL},
        {.key = "k", .off = UINT64_MAX},
        {.key = "k", .len = UINT64_MAX},
    };
    struct fixture f;

    (void)state;
    fixture_begin(&f, SCRIPT({.text = WHOLE D100}));
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(s3_get(f.client, &bad[i], call_done, &f.call, NULL), -EINVAL);
    fixture_turn(&f, 20 * NS_PER_MS);
    assert_int_equal(f.call.done, 0);
    assert_int_equal(server_count(f.server), 0);
    /* a condition with a line's end fails the request, not the header */
    assert_int_equal(s3_get(f.client, &(struct s3_get){.key = "k", .if_match = "a\r\nb: c"},
                            call_done, &f.call, NULL),
                     0);
    fixture_wait(&f, &f.call);
    assert_int_equal(f.call.res.error, -EINVAL);
    assert_int_equal(server_count(f.server), 0);
    fixture_end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whole),
        cmocka_unit_test(test_ranges),
        cmocka_unit_test(test_conditions),
        cmocka_unit_test(test_stray_304),
        cmocka_unit_test(test_resume),
        cmocka_unit_test(test_resume_range),
        cmocka_unit_test(test_version),
        cmocka_unit_test(test_replaced),
        cmocka_unit_test(test_lies),
        cmocka_unit_test(test_without_length),
        cmocka_unit_test(test_part_with_status_200),
        cmocka_unit_test(test_range_ignored),
        cmocka_unit_test(test_empty),
        cmocka_unit_test(test_empty_no_more),
        cmocka_unit_test(test_torn),
        cmocka_unit_test(test_torn_in_the_middle),
        cmocka_unit_test(test_always_torn),
        cmocka_unit_test(test_other_etags),
        cmocka_unit_test(test_always_corrupt),
        cmocka_unit_test(test_headers_twice),
        cmocka_unit_test(test_checksum),
        cmocka_unit_test(test_not_looked_at),
        cmocka_unit_test(test_callers_no),
        cmocka_unit_test(test_trickle),
        cmocka_unit_test(test_bad_starts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
