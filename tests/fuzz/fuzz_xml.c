/* s3/s3_xml.c: an answer of S3, whole and in small pieces. Both must tell the same. The first byte
 * is the size of the pieces. */
#include "tests/fuzz/fuzz.h"

#include <errno.h>

#include "base/fnv.h"
#include "s3/s3_xml.h"

struct told {
    uint64_t sum; /* of all entries, in their order */
    unsigned n;
    int result;
    struct s3_xml_doc doc;
};

static void add(struct told *told, const void *data, size_t len)
{
    told->sum = fnv_add(told->sum, data, len);
}

static int on_entry(void *arg, const struct s3_list_entry *e)
{
    struct told *told = arg;

    fuzz_check(e->key_len > 0 && e->key_len <= S3_KEY_MAX);
    fuzz_check(strlen(e->key) == e->key_len);
    fuzz_check(strlen(e->etag) < S3_ETAG_MAX);
    told->n++;
    add(told, e->key, e->key_len + 1);
    add(told, e->etag, strlen(e->etag) + 1);
    add(told, &e->size, sizeof(e->size));
    add(told, &e->mtime_ns, sizeof(e->mtime_ns));
    add(told, &e->is_prefix, sizeof(e->is_prefix));
    return 0;
}

static void parse(const uint8_t *data, size_t size, size_t piece, struct told *ret)
{
    struct s3_xml *xml;
    int r = 0;

    *ret = (struct told){0};
    fuzz_check(s3_xml_new(on_entry, ret, &xml) == 0);
    for (size_t at = 0; at < size && r == 0; at += piece) {
        size_t len = size - at < piece ? size - at : piece;
        uint8_t *copy = fuzz_copy(data + at, len);

        r = s3_xml_feed(xml, copy, len);
        free(copy);
    }
    ret->result = s3_xml_end(xml);
    fuzz_check(ret->result == 0 || ret->result == -EBADMSG);
    fuzz_check(r == 0 || ret->result == r);
    fuzz_check(s3_xml_end(xml) == ret->result);
    ret->doc = *s3_xml_doc(xml);
    fuzz_check(ret->doc.n_entries == ret->n);
    s3_xml_free(xml);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct told whole, pieces;

    if (size == 0)
        return 0;
    parse(data + 1, size - 1, size, &whole);
    parse(data + 1, size - 1, 1 + data[0] % 64, &pieces);
    fuzz_check(whole.result == pieces.result);
    if (whole.result < 0)
        return 0; /* how much was told before the error may differ */
    fuzz_check(whole.sum == pieces.sum && whole.n == pieces.n);
    fuzz_check(whole.doc.kind == pieces.doc.kind);
    fuzz_check(whole.doc.truncated == pieces.doc.truncated);
    fuzz_check(strcmp(whole.doc.code, pieces.doc.code) == 0);
    fuzz_check(strcmp(whole.doc.next_token, pieces.doc.next_token) == 0);
    return 0;
}
