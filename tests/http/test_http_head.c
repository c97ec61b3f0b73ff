/* Heads of requests: what is accepted, what is refused, and that a head in pieces waits. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "http/http_head.h"

static int parse(const char *text, struct http_head *h)
{
    size_t len = 0;
    int r = http_head_parse(text, strlen(text), h, &len);

    if (r == 0)
        assert_int_equal(len, strlen(text));
    return r;
}

static void test_accepted(void **state)
{
    struct http_head h;

    (void)state;
    assert_int_equal(parse("GET /keys/k?x HTTP/1.1\r\nHost: localhost\r\n\r\n", &h), 0);
    assert_int_equal(h.method, HTTP_GET);
    assert_memory_equal(h.target, "/keys/k?x", h.target_len);
    assert_true(h.keep_alive && !h.chunked && !h.has_length && !h.if_absent && !h.expects);
    assert_int_equal(
        parse("PUT /k HTTP/1.1\r\ncontent-LENGTH:  12\r\nIf-None-Match:*\r\n"
              "Expect: 100-Continue\r\nConnection: a, Close\r\nRange: bytes=1-2 \r\n\r\n",
              &h),
        0);
    assert_true(h.has_length && h.length == 12 && h.if_absent && h.expects && !h.keep_alive);
    assert_int_equal(h.range_len, strlen("bytes=1-2"));
    assert_int_equal(
        parse("\r\nPUT /k HTTP/1.0\nTransfer-Encoding: Chunked\nContent-Length: 3\n\n", &h), 0);
    assert_true(h.chunked && !h.has_length && !h.keep_alive && h.minor == 0);
    assert_int_equal(parse("GET /k HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", &h), 0);
    assert_true(h.keep_alive);
    assert_int_equal(
        parse("PATCH /k HTTP/1.1\r\nContent-Length: 4\r\nContent-Length: 4\r\n\r\n", &h), 0);
    assert_int_equal(h.method, HTTP_OTHER);
}

static void test_refused(void **state)
{
    static const struct {
        const char *text;
        int error;
    } refused[] = {
        {"GET /a b HTTP/1.1\r\n\r\n", -EPROTO},
        {"GET /a HTTP/1.2\r\n\r\n", -EPROTO},
        {"GET /a HTTP/1.1 \r\n\r\n", -EPROTO},
        {"GET  HTTP/1.1\r\n\r\n", -EPROTO},
        {"G@T /a HTTP/1.1\r\n\r\n", -EPROTO},
        {"GET /a\x7f HTTP/1.1\r\n\r\n", -EPROTO},
        {"GET /a HTTP/1.1\r\nno colon\r\n\r\n", -EPROTO},
        {"GET /a HTTP/1.1\r\nName : x\r\n\r\n", -EPROTO},
        {"GET /a HTTP/1.1\r\nA: b\r\n folded\r\n\r\n", -EPROTO},
        {"PUT /a HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", -EPROTO},
        {"PUT /a HTTP/1.1\r\nContent-Length: +1\r\n\r\n", -EPROTO},
        {"PUT /a HTTP/1.1\r\nContent-Length: 9999999999999999999\r\n\r\n", -EPROTO},
        {"PUT /a HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", -EOPNOTSUPP},
        {"PUT /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
         -EOPNOTSUPP},
    };
    struct http_head h;

    (void)state;
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++)
        assert_int_equal(parse(refused[i].text, &h), refused[i].error);
}

static void test_pieces_and_limits(void **state)
{
    static const char text[] = "GET /k HTTP/1.1\r\nA: b\r\n\r\n";
    static char large[HTTP_HEAD_MAX + 100];
    struct http_head h;
    size_t len, n;

    (void)state;
    for (n = 0; n < sizeof(text) - 1; n++)
        assert_int_equal(http_head_parse(text, n, &h, &len), -EAGAIN);
    assert_int_equal(http_head_parse(text, n, &h, &len), 0);
    n = (size_t)snprintf(large, sizeof(large), "GET /k HTTP/1.1\r\nA: ");
    memset(large + n, 'x', sizeof(large) - n);
    assert_int_equal(http_head_parse(large, HTTP_HEAD_MAX - 1, &h, &len), -EAGAIN);
    assert_int_equal(http_head_parse(large, sizeof(large), &h, &len), -EMSGSIZE);
    n = (size_t)snprintf(large, sizeof(large), "GET /k HTTP/1.1\r\n");
    for (int i = 0; i <= HTTP_FIELDS_MAX; i++)
        n += (size_t)snprintf(large + n, sizeof(large) - n, "A: b\r\n");
    n += (size_t)snprintf(large + n, sizeof(large) - n, "\r\n");
    assert_int_equal(http_head_parse(large, n, &h, &len), -EMSGSIZE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_accepted),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_pieces_and_limits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
