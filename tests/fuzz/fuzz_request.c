/* http/: the head of a request, its target, query and range, and a chunked body, as a client may
 * send them; workers/connector/query.c: the body of a query, and a document. */
#include "tests/fuzz/fuzz.h"

#include <stdbool.h>

#include "base/json_text.h"
#include "http/http_chunk.h"
#include "http/http_head.h"
#include "http/http_range.h"
#include "http/http_target.h"
#include "workers/connector/query.h"

static void read_target(const char *text, size_t len)
{
    struct http_target t;
    char prefix[64], delimiter[8], attr[8];

    if (http_target_split(text, len, &t) < 0)
        return;
    fuzz_check(t.path_len > 0 && t.path[0] == '/');
    fuzz_check(t.path_len + t.query_len <= len);
    if (http_target_listing(&t, prefix, sizeof(prefix), delimiter, sizeof(delimiter)) == 0) {
        fuzz_check(strlen(prefix) < sizeof(prefix));
        fuzz_check(*delimiter);
    }
    if (http_target_param(&t, "attr", attr, sizeof(attr)) > 0)
        fuzz_check(*attr);
}

static void read_range(const struct http_head *h)
{
    struct http_range range;
    uint64_t off, len;

    if (!h->range || http_range_parse(h->range, h->range_len, &range) < 0)
        return;
    if (http_range_of(&range, 1000, &off, &len) == 0)
        fuzz_check(len > 0 && off + len <= 1000);
}

static void read_head(const char *text, size_t size)
{
    struct http_head h;
    size_t len;

    if (http_head_parse(text, size, &h, &len) < 0)
        return;
    fuzz_check(len <= size && len <= HTTP_HEAD_MAX);
    fuzz_check(h.target >= text && h.target + h.target_len <= text + len);
    fuzz_check(!(h.chunked && h.has_length));
    read_target(h.target, h.target_len);
    read_range(&h);
}

/* The same body, whole and byte by byte: the same end, the same bytes. */
static int read_body(const char *text, size_t size, size_t step, size_t *ret_used,
                     uint32_t *ret_sum)
{
    struct http_chunk c;
    size_t at = 0;
    int r = 0;

    http_chunk_init(&c);
    *ret_sum = 0;
    while (at < size && r == 0) {
        size_t piece = size - at < step ? size - at : step, used, n;
        const char *data;

        r = http_chunk_take(&c, text + at, piece, &used, &data, &n);
        fuzz_check(used <= piece && data + n <= text + at + piece);
        for (size_t i = 0; i < n; i++)
            *ret_sum = *ret_sum * 31 + (uint8_t)data[i];
        at += used;
        fuzz_check(used > 0 || r != 0);
    }
    *ret_used = at;
    return r;
}

static void read_bodies(const char *text, size_t size)
{
    size_t used, used_slowly;
    uint32_t sum, sum_slowly;
    int r = read_body(text, size, size, &used, &sum);

    fuzz_check(read_body(text, size, 1, &used_slowly, &sum_slowly) == r);
    fuzz_check(r < 0 || (used == used_slowly && sum == sum_slowly));
}

/* The first line is the query, the rest a document. */
static void read_query(const char *text, size_t size)
{
    const char *nl = memchr(text, '\n', size);
    size_t len = nl ? (size_t)(nl - text) : size;
    struct query_rows rows = {0};
    struct query_answer answer;
    struct query q;
    struct err err = {0};
    const char *piece;
    size_t n, sum = 0;

    if (query_parse(text, len, 100, &q, &err) < 0) {
        fuzz_check(*err.text);
        return;
    }
    for (int i = 0; nl && i < 2; i++)
        (void)!query_add(&q, nl + 1, size - len - 1, &rows);
    query_sort(&q, &rows);
    query_answer_begin(&q, &rows, &answer);
    while (query_answer_next(&answer, 7, &piece, &n))
        sum += n;
    fuzz_check(sum == answer.len);
    query_rows_done(&rows);
    query_done(&q);
}

static void write_json(const char *text, size_t size)
{
    struct buf out;

    buf_init(&out, 12 * size + 2);
    fuzz_check(json_text_put(&out, text, size) == 0);
    for (size_t i = 0; i < out.len; i++)
        fuzz_check(out.data[i] >= ' ' && out.data[i] < 127);
    buf_done(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = (char *)fuzz_copy(data, size);

    read_head(text, size);
    read_bodies(text, size);
    read_query(text, size);
    write_json(text, size);
    free(text);
    return 0;
}
