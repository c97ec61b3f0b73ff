/* XML answers: right ones in any order and any cut, and hostile ones. */
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

#include "base/buf.h"
#include "s3/s3_xml.h"

#define LIST "<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">"

struct told {
    struct buf text; /* "key|size|etag|seconds\n", "prefix/\n" */
    unsigned n;
    unsigned fail_at; /* this entry (from 1) is refused with -ECANCELED */
};

static int on_entry(void *arg, const struct s3_list_entry *e)
{
    struct told *t = arg;

    assert_int_equal(strlen(e->key), e->key_len);
    if (++t->n == t->fail_at)
        return -ECANCELED;
    if (e->is_prefix) {
        assert_string_equal(e->etag, "");
        assert_int_equal(buf_printf(&t->text, "%s\n", e->key), 0);
    } else {
        assert_int_equal(buf_printf(&t->text, "%s|%lu|%s|%ld\n", e->key, (unsigned long)e->size,
                                    e->etag, (long)(e->mtime_ns / 1000000000)),
                         0);
    }
    return 0;
}

/* Parses `text` in pieces of `piece` bytes. Returns what s3_xml_end says; *ret_xml is to be
 * freed. */
static int parse(const char *text, size_t len, size_t piece, struct told *t,
                 struct s3_xml **ret_xml)
{
    struct s3_xml *xml;
    int r = 0;

    assert_int_equal(s3_xml_new(on_entry, t, &xml), 0);
    for (size_t at = 0; at < len; at += piece) {
        r = s3_xml_feed(xml, text + at, len - at < piece ? len - at : piece);
        if (r < 0)
            assert_int_equal(s3_xml_feed(xml, "x", 1), r); /* it sticks */
    }
    r = s3_xml_end(xml);
    assert_int_equal(s3_xml_end(xml), r);
    *ret_xml = xml;
    return r;
}

static void told_init(struct told *t)
{
    *t = (struct told){0};
    buf_init(&t->text, 16 << 20);
}

/* Parses as a whole, byte by byte and in odd pieces: the same comes out. */
static void list_is(const char *text, const char *want, struct s3_xml_doc *ret_doc)
{
    static const size_t pieces[] = {1, 2, 7, 100, 1 << 20};

    for (size_t i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++) {
        struct told t;
        struct s3_xml *xml;

        told_init(&t);
        assert_int_equal(parse(text, strlen(text), pieces[i], &t, &xml), 0);
        assert_int_equal(s3_xml_doc(xml)->kind, S3_XML_LIST);
        assert_string_equal(t.text.data ? t.text.data : "", want);
        if (ret_doc)
            *ret_doc = *s3_xml_doc(xml);
        s3_xml_free(xml);
        buf_done(&t.text);
    }
}

static void refused(const char *text, size_t len)
{
    static const size_t pieces[] = {1 << 20, 1000, 1};

    for (size_t i = 0; i < (len > 100000 ? 1 : 3); i++) {
        struct told t;
        struct s3_xml *xml;

        told_init(&t);
        assert_int_equal(parse(text, len, pieces[i], &t, &xml), -EBADMSG);
        s3_xml_free(xml);
        buf_done(&t.text);
    }
}

static void refused_text(const char *text)
{
    refused(text, strlen(text));
}

/* ---- right ones ---- */

#define PAGE                                                                                       \
    "<Contents><Key>a%2Fb+c%25</Key><LastModified>2015-08-30T12:36:00.000Z"                        \
    "</LastModified><ETag>&quot;abc&quot;</ETag><Size>42</Size><Owner><ID>x"                       \
    "</ID></Owner><StorageClass>STANDARD</StorageClass></Contents>"                                \
    "<Contents><Size>0</Size><Key>plain</Key></Contents>"                                          \
    "<CommonPrefixes><Prefix>d%20/</Prefix></CommonPrefixes>"

#define PAGE_DECODED "a/b c%|42|\"abc\"|1440938160\nplain|0||0\nd /\n"
#define PAGE_RAW "a%2Fb+c%25|42|\"abc\"|1440938160\nplain|0||0\nd%20/\n"

static void test_order(void **state)
{
    struct s3_xml_doc doc;

    (void)state;
    list_is("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n" LIST
            "<EncodingType>url</EncodingType><IsTruncated>true</IsTruncated>"
            "<NextContinuationToken>1/a+b&amp;=</NextContinuationToken>" PAGE
            "</ListBucketResult>\n",
            PAGE_DECODED, &doc);
    assert_true(doc.truncated);
    assert_string_equal(doc.next_token, "1/a+b&=");
    assert_int_equal(doc.n_entries, 3);
    list_is(LIST PAGE "<EncodingType>url</EncodingType></ListBucketResult>", PAGE_DECODED, &doc);
    assert_false(doc.truncated);
    list_is(LIST PAGE "</ListBucketResult>", PAGE_RAW, NULL);
    list_is(LIST "<EncodingType></EncodingType>" PAGE "</ListBucketResult>", PAGE_RAW, NULL);
    list_is(LIST "<Contents><Key>one</Key></Contents>" PAGE "<Contents><Key>two</Key></Contents>"
                 "<EncodingType>url</EncodingType>"
                 "<Contents><Key>%C3%BC</Key></Contents></ListBucketResult>",
            "one|0||0\n" PAGE_DECODED "two|0||0\n\xc3\xbc|0||0\n", NULL);
}

/* Keys that read the same either way do not wait for the end. */
static void test_streams(void **state)
{
    static const char begin[] = LIST "<Contents><Key>a</Key></Contents>"
                                     "<Contents><Key>b</Key></Contents>";
    struct told t;
    struct s3_xml *xml;

    (void)state;
    told_init(&t);
    assert_int_equal(s3_xml_new(on_entry, &t, &xml), 0);
    assert_int_equal(s3_xml_feed(xml, begin, strlen(begin)), 0);
    assert_int_equal(t.n, 2);
    assert_int_equal(s3_xml_end(xml), -EBADMSG); /* cut */
    s3_xml_free(xml);
    buf_done(&t.text);
}

static void test_odd_ones(void **state)
{
    struct s3_xml_doc doc;

    (void)state;
    list_is(LIST "</ListBucketResult>", "", NULL);
    list_is("<ListBucketResult/>", "", NULL);
    /* several prefixes in one element; names of ours where they mean nothing */
    list_is(LIST "<Prefix>p</Prefix><Key>k</Key><CommonPrefixes><Prefix>a/"
                 "</Prefix><Prefix>b/</Prefix></CommonPrefixes><X><Contents>"
                 "<Key>no</Key></Contents></X></ListBucketResult>",
            "a/\nb/\n", NULL);
    /* CDATA, comments, character references, a namespace prefix */
    list_is("<s:ListBucketResult xmlns:s=\"u\"><s:Contents><s:Key><![CDATA[a<]]>"
            "<!-- c -->b&#x41;&#229;&lt;</s:Key></s:Contents>"
            "</s:ListBucketResult>",
            "a<bA\xc3\xa5<|0||0\n", NULL);
    /* Latin-1 */
    list_is("<?xml version='1.0' encoding='ISO-8859-1'?><ListBucketResult>"
            "<Contents><Key>\xfc</Key></Contents></ListBucketResult>",
            "\xc3\xbc|0||0\n", NULL);
    /* an ETag that does not fit is none */
    list_is(LIST "<Contents><Key>k</Key><ETag>"
                 "0123456789012345678901234567890123456789012345678901234567890"
                 "12345678901</ETag></Contents></ListBucketResult>",
            "k|0||0\n", NULL);
    /* keys that nobody could use */
    list_is(LIST "<EncodingType>url</EncodingType><Contents><Key>a%00b</Key>"
                 "</Contents><Contents><Key></Key></Contents><Contents>"
                 "</Contents><Contents><Key>k</Key></Contents>"
                 "</ListBucketResult>",
            "k|0||0\n", &doc);
    assert_int_equal(doc.n_left_out, 3);
    assert_int_equal(doc.n_entries, 1);
}

static void test_error(void **state)
{
    static const char text[] = "<?xml version=\"1.0\"?>\n<Error><Code>AuthorizationHeaderMalformed"
                               "</Code><Message>The region is wrong</Message><Region>eu-west-1"
                               "</Region><RequestId>1</RequestId></Error>";
    struct told t;
    struct s3_xml *xml;

    (void)state;
    told_init(&t);
    assert_int_equal(parse(text, strlen(text), 3, &t, &xml), 0);
    assert_int_equal(s3_xml_doc(xml)->kind, S3_XML_ERROR);
    assert_string_equal(s3_xml_doc(xml)->code, "AuthorizationHeaderMalformed");
    assert_string_equal(s3_xml_doc(xml)->message, "The region is wrong");
    assert_string_equal(s3_xml_doc(xml)->region, "eu-west-1");
    s3_xml_free(xml);
    /* cut after the code: it is known */
    assert_int_equal(parse(text, 75, 3, &t, &xml), -EBADMSG);
    assert_string_equal(s3_xml_doc(xml)->code, "AuthorizationHeaderMalformed");
    s3_xml_free(xml);
}

/* Blanks keep a slow copy's connection alive before the document begins. */
static void test_copy(void **state)
{
    static const char text[] = " \n \r\n<?xml version=\"1.0\"?><CopyObjectResult><LastModified>"
                               "2015-08-30T12:36:00.000Z</LastModified><ETag>&#34;e&#34;</ETag>"
                               "</CopyObjectResult>";
    struct told t;
    struct s3_xml *xml;

    (void)state;
    told_init(&t);
    assert_int_equal(parse(text, strlen(text), 1, &t, &xml), 0);
    assert_int_equal(s3_xml_doc(xml)->kind, S3_XML_COPY);
    assert_string_equal(s3_xml_doc(xml)->etag, "\"e\"");
    assert_int_equal(s3_xml_doc(xml)->mtime_ns / 1000000000, 1440938160);
    s3_xml_free(xml);
}

#define CREATED(id)                                                                                \
    "<InitiateMultipartUploadResult xmlns=\"x\"><Bucket>b</Bucket><Key>k</Key>"                    \
    "<UploadId>" id "</UploadId></InitiateMultipartUploadResult>"
#define ID_16 "0123456789abcdef"
#define ID_128 ID_16 ID_16 ID_16 ID_16 ID_16 ID_16 ID_16 ID_16
#define ID_1024 ID_128 ID_128 ID_128 ID_128 ID_128 ID_128 ID_128 ID_128

/* One of an upload's answers is of this kind and says so. */
static void upload_is(const char *text, enum s3_xml_kind kind, const char *id, const char *etag)
{
    struct told t;
    struct s3_xml *xml;

    told_init(&t);
    assert_int_equal(parse(text, strlen(text), 3, &t, &xml), 0);
    assert_int_equal(s3_xml_doc(xml)->kind, kind);
    assert_string_equal(s3_xml_doc(xml)->upload_id, id);
    assert_string_equal(s3_xml_doc(xml)->etag, etag);
    s3_xml_free(xml);
}

static void test_uploads(void **state)
{
    (void)state;
    upload_is(CREATED("a.b_c&amp;d=="), S3_XML_CREATE, "a.b_c&d==", "");
    upload_is(CREATED(""), S3_XML_CREATE, "", "");
    upload_is(CREATED(ID_1024), S3_XML_CREATE, "", ""); /* half of one would be another */
    upload_is("  <CompleteMultipartUploadResult><Location>http://x/</Location>"
              "<UploadId>no</UploadId><ETag>&quot;e-2&quot;</ETag>"
              "</CompleteMultipartUploadResult>",
              S3_XML_COMPLETE, "", "\"e-2\"");
    upload_is("<CopyPartResult><LastModified>2015-08-30T12:36:00.000Z"
              "</LastModified><ETag>\"p\"</ETag></CopyPartResult>",
              S3_XML_COPY, "", "\"p\"");
}

#define TAG(key, value) "<Tag><Key>" key "</Key><Value>" value "</Value></Tag>"
#define TAGGING(tags) "<Tagging xmlns=\"x\"><TagSet>" tags "</TagSet></Tagging>"

/* A piece of any size shows the same tags (NULL: none), or an error. */
static void tags_are(const char *text, int error, const char *tags, bool lost)
{
    for (size_t piece = 1; piece < 64; piece += 13) {
        struct told t;
        struct s3_xml *xml;

        told_init(&t);
        assert_int_equal(parse(text, strlen(text), piece, &t, &xml), error);
        if (error == 0) {
            assert_int_equal(s3_xml_doc(xml)->kind, S3_XML_TAGS);
            assert_int_equal(s3_xml_doc(xml)->tags_lost, lost);
            if (tags)
                assert_string_equal(s3_xml_doc(xml)->tags, tags);
            else
                assert_null(s3_xml_doc(xml)->tags);
        }
        s3_xml_free(xml);
    }
}

static void test_tags(void **state)
{
    static char huge[32 + 3000 * 3 + 64];

    (void)state;
    tags_are(TAGGING(""), 0, NULL, false);
    tags_are(TAGGING(TAG("a", "b")), 0, "a=b", false);
    tags_are(TAGGING(TAG("a b", "&amp;=+/") TAG("c", "") "<Tag><Key>d</Key></Tag>"), 0,
             "a%20b=%26%3D%2B%2F&c=&d=", false);
    tags_are(TAGGING("<Tag><Value>first</Value><Key>k</Key></Tag>"), -EBADMSG, NULL, false);
    tags_are("<Tagging><Tag><Key>elsewhere</Key></Tag></Tagging>", 0, NULL, false);
    strcpy(huge, "<Tagging><TagSet><Tag><Key>");
    memset(huge + strlen(huge), '/', 3000);
    strcat(huge, "</Key></Tag></TagSet></Tagging>");
    tags_are(huge, 0, NULL, true);
}

/* It is sent back in a header. */
static void test_an_etag_that_is_none(void **state)
{
    static const char text[] = "<CopyObjectResult><LastModified>2015-08-30T12:36:00.000Z"
                               "</LastModified><ETag>\"e\"\nX-Other: 1</ETag>"
                               "</CopyObjectResult>";
    struct told t;
    struct s3_xml *xml;

    (void)state;
    told_init(&t);
    assert_int_equal(parse(text, strlen(text), 1, &t, &xml), 0);
    assert_string_equal(s3_xml_doc(xml)->etag, "");
    s3_xml_free(xml);
}

/* ---- wrong and hostile ones ---- */

static void test_cut(void **state)
{
    static const char text[] = LIST PAGE "</ListBucketResult>";

    (void)state;
    for (size_t len = 0; len < strlen(text); len++)
        refused(text, len);
}

static void test_not_xml(void **state)
{
    (void)state;
    refused_text("");
    refused_text("   ");
    refused_text("hello");
    refused_text("<html><body><p>404</body></html>");
    refused_text("{\"a\":1}");
    refused_text(LIST "</Other>");
    refused_text(LIST "</ListBucketResult><More/>");
    refused_text(LIST "<Contents><Key>a\x01</Key></Contents>"
                      "</ListBucketResult>");
    refused_text(LIST "<Contents><Key>a\xff</Key></Contents>"
                      "</ListBucketResult>");
    refused(LIST "<Contents>\0</Contents></ListBucketResult>",
            sizeof(LIST "<Contents>\0</Contents></ListBucketResult>") - 1);
}

static void test_bad_values(void **state)
{
    static const char *const bad[] = {
        "<Size>-1</Size>",
        "<Size></Size>",
        "<Size>1x</Size>",
        "<Size>9223372036854775808</Size>",
        "<Size>99999999999999999999999999</Size>",
        "<LastModified>yesterday</LastModified>",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char text[512];

        snprintf(text, sizeof(text),
                 "<ListBucketResult><Contents><Key>k</Key>%s</Contents>"
                 "</ListBucketResult>",
                 bad[i]);
        refused_text(text);
    }
}

static void test_entities(void **state)
{
    (void)state;
    refused_text("<?xml version=\"1.0\"?><!DOCTYPE lolz [<!ENTITY a \"lol\"><!ENTITY b "
                 "\"&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;\"><!ENTITY c "
                 "\"&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;\">]><ListBucketResult><Contents><Key>"
                 "&c;</Key></Contents></ListBucketResult>");
    refused_text("<!DOCTYPE ListBucketResult SYSTEM \"http://127.0.0.1:1/x\">"
                 "<ListBucketResult/>");
    refused_text("<!DOCTYPE x [<!ENTITY e SYSTEM \"file:///etc/passwd\">]>"
                 "<Error><Code>&e;</Code></Error>");
    refused_text("<Error><Code>&unknown;</Code></Error>");
}

static char *repeat(const char *part, size_t n, const char *before, const char *after,
                    size_t *ret_len)
{
    size_t len = strlen(part), b = strlen(before), a = strlen(after);
    char *text = malloc(b + len * n + a + 1);

    assert_non_null(text);
    memcpy(text, before, b);
    for (size_t i = 0; i < n; i++)
        memcpy(text + b + i * len, part, len);
    memcpy(text + b + n * len, after, a + 1);
    *ret_len = b + n * len + a;
    return text;
}

static void refused_repeat(const char *part, size_t n, const char *before, const char *after)
{
    size_t len;
    char *text = repeat(part, n, before, after, &len);

    refused(text, len);
    free(text);
}

static void test_huge(void **state)
{
    (void)state;
    refused_repeat("<a>", 100, "", "");
    refused_repeat("<a>", 100000, "", "");
    refused_repeat("x", 10000, LIST "<Contents><Key>",
                   "</Key></Contents>"
                   "</ListBucketResult>");
    refused_repeat("x", 200, "<", "/>");
    refused_repeat("x", 1000000, "<", "/>");
    refused_repeat("x", 1000000, "<a b=\"", "\"/>");
    refused_repeat(" a=\"\"", 300000, "<r", "/>");
    refused_repeat("x", 1000000, "<!--", "--><Error/>");
    refused_repeat("x", 3000, LIST "<NextContinuationToken>",
                   "</NextContinuationToken></ListBucketResult>");
    /* beyond the page's size: nothing but harmless elements */
    refused_repeat("<a>0123456789</a>", 4000000, LIST, "</ListBucketResult>");
    /* more entries than can be held */
    refused_repeat("<Contents><Key>%41</Key></Contents>", 200000, LIST, "</ListBucketResult>");
}

/* A full page of the longest keys, coded, with the encoding said last, fits. */
static void test_full_page(void **state)
{
    char entry[4096], key[S3_KEY_MAX * 3 + 1] = "", *text;
    struct told t;
    struct s3_xml *xml;
    size_t len;

    (void)state;
    for (size_t i = 0; i < S3_KEY_MAX; i++)
        strcat(key, "%41");
    snprintf(entry, sizeof(entry), "<Contents><Key>%s</Key></Contents>", key);
    text = repeat(entry, 1000, LIST, "<EncodingType>url</EncodingType></ListBucketResult>", &len);
    told_init(&t);
    assert_int_equal(parse(text, len, 16384, &t, &xml), 0);
    assert_int_equal(t.n, 1000);
    s3_xml_free(xml);
    buf_done(&t.text);
    free(text);
}

static void test_refusing_caller(void **state)
{
    static const char text[] = LIST "<Contents><Key>a</Key></Contents>" PAGE "</ListBucketResult>";

    (void)state;
    for (unsigned at = 1; at <= 4; at++) {
        struct told t;
        struct s3_xml *xml;

        told_init(&t);
        t.fail_at = at;
        assert_int_equal(parse(text, strlen(text), 10, &t, &xml), -ECANCELED);
        assert_int_equal(t.n, at);
        s3_xml_free(xml);
        buf_done(&t.text);
    }
}

/* Random damage never crashes it; the sanitizers look on. */
static void test_damage(void **state)
{
    static const char good[] = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>" LIST
                               "<EncodingType>url</EncodingType>" PAGE "</ListBucketResult>";
    uint64_t seed = 88172645463325252u;

    (void)state;
    for (int i = 0; i < 5000; i++) {
        char text[sizeof(good)];
        struct told t;
        struct s3_xml *xml;

        memcpy(text, good, sizeof(good));
        for (int n = 0; n < 1 + i % 4; n++) {
            seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
            text[seed % (sizeof(good) - 1)] = (char)(seed >> 32);
        }
        told_init(&t);
        (void)parse(text, sizeof(good) - 1, 1 + seed % 300, &t, &xml);
        s3_xml_free(xml);
        buf_done(&t.text);
    }
}

static enum s3_xml_kind kind_of(const char *text, enum s3_xml_kind expected)
{
    struct s3_xml *xml;
    enum s3_xml_kind kind;

    assert_int_equal(s3_xml_new(NULL, NULL, &xml), 0);
    s3_xml_expect(xml, expected);
    assert_int_equal(s3_xml_feed(xml, text, strlen(text)), 0);
    assert_int_equal(s3_xml_end(xml), 0);
    kind = s3_xml_doc(xml)->kind;
    s3_xml_free(xml);
    return kind;
}

/* A root may be called as it likes, if there is something in it that is known. */
static void test_other_roots(void **state)
{
    (void)state;
    assert_int_equal(kind_of("<A><UploadId>x</UploadId></A>", S3_XML_CREATE), S3_XML_CREATE);
    assert_int_equal(kind_of("<A><IsTruncated>false</IsTruncated></A>", S3_XML_LIST), S3_XML_LIST);
    assert_int_equal(kind_of("<A><IsTruncated>false</IsTruncated></A>", S3_XML_NOTHING),
                     S3_XML_OTHER);
    assert_int_equal(kind_of("<html><body>hello</body></html>", S3_XML_LIST), S3_XML_OTHER);
    assert_int_equal(kind_of("<A><b><UploadId>x</UploadId></b></A>", S3_XML_CREATE), S3_XML_OTHER);
    assert_int_equal(kind_of("<Error><Code>x</Code></Error>", S3_XML_COPY), S3_XML_ERROR);
    assert_int_equal(kind_of("<Error/>", S3_XML_COPY), S3_XML_ERROR);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_streams),
        cmocka_unit_test(test_odd_ones),
        cmocka_unit_test(test_error),
        cmocka_unit_test(test_other_roots),
        cmocka_unit_test(test_copy),
        cmocka_unit_test(test_uploads),
        cmocka_unit_test(test_an_etag_that_is_none),
        cmocka_unit_test(test_cut),
        cmocka_unit_test(test_not_xml),
        cmocka_unit_test(test_bad_values),
        cmocka_unit_test(test_entities),
        cmocka_unit_test(test_huge),
        cmocka_unit_test(test_full_page),
        cmocka_unit_test(test_refusing_caller),
        cmocka_unit_test(test_tags),
        cmocka_unit_test(test_damage),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
