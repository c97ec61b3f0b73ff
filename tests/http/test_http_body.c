/* Chunked bodies, in pieces of every size; JSON strings. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/json_text.h"
#include "http/http_chunk.h"

/* Decodes with steps of `step` bytes. 1, and the body in `out`; 0: not at its end; -EPROTO. */
static int decode(const char *text, size_t len, size_t step, char *out, size_t *ret_used)
{
    struct http_chunk c;
    size_t at = 0, n = 0;
    int r = 0;

    http_chunk_init(&c);
    while (at < len && r == 0) {
        size_t piece = len - at < step ? len - at : step, used, got;
        const char *data;

        r = http_chunk_take(&c, text + at, piece, &used, &data, &got);
        assert_true(used <= piece && (used > 0 || r < 0));
        memcpy(out + n, data, got);
        n += got;
        at += used;
    }
    out[n] = '\0';
    *ret_used = at;
    return r;
}

static void check_body(const char *text, const char *body, const char *rest)
{
    char out[256];
    size_t used;

    for (size_t step = 1; step <= strlen(text); step++) {
        assert_int_equal(decode(text, strlen(text), step, out, &used), 1);
        assert_string_equal(out, body);
        assert_string_equal(text + used, rest);
    }
}

static void test_bodies(void **state)
{
    (void)state;
    check_body("3\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n", "abc0123456789", "");
    check_body("0\r\n\r\nGET", "", "GET");
    check_body("0003;a=b;c=\"d\"\r\nabc\r\n00;x\r\nX: y\r\nZ: \r\n\r\n", "abc", "");
    check_body("3 \nabc\n0\n\nrest", "abc", "rest");
}

static void test_malformed(void **state)
{
    static const char *const bad[] = {"\r\n",        "x\r\n",   "-1\r\n",  "3\r\nabcd\r\n",
                                      "3\r\nabc\rx", "0x3\r\n", "3,4\r\n", "1000000000000000\r\n"};
    char out[64];
    size_t used;

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(decode(bad[i], strlen(bad[i]), 1, out, &used), -EPROTO);
    assert_int_equal(decode("3\r\nab", 5, 5, out, &used), 0);
}

static void test_json(void **state)
{
    static const struct {
        const char *text, *json;
    } strings[] = {
        {"plain", "\"plain\""},
        {"a\"b\\c\n\x01\x7f", "\"a\\\"b\\\\c\\n\\u0001\\u007f\""},
        {"\xc3\xa9\xe2\x82\xac", "\"\\u00e9\\u20ac\""},
        {"\xf0\x9f\x98\x80", "\"\\ud83d\\ude00\""},
        {"\xff\xc3", "\"\\ufffd\\ufffd\""},
        {"\xed\xa0\x80", "\"\\ufffd\\ufffd\\ufffd\""},
        {"", "\"\""},
    };
    struct buf out;

    (void)state;
    for (size_t i = 0; i < sizeof(strings) / sizeof(strings[0]); i++) {
        buf_init(&out, 200);
        assert_int_equal(json_text_put(&out, strings[i].text, strlen(strings[i].text)), 0);
        assert_string_equal(out.data, strings[i].json);
        buf_done(&out);
    }
    buf_init(&out, 3);
    assert_int_equal(json_text_put(&out, "abc", 3), -EMSGSIZE);
    buf_done(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bodies),
        cmocka_unit_test(test_malformed),
        cmocka_unit_test(test_json),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
