/* Multipart uploads against a scripted server: what is sent, what answers mean, what may have been
 * carried out. */
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

#define OK_CLOSE "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"
#define CREATED                                                                                    \
    OK_CLOSE "<InitiateMultipartUploadResult><UploadId>u+1/=</UploadId>"                           \
             "</InitiateMultipartUploadResult>"
#define COMPLETED                                                                                  \
    OK_CLOSE " \n<?xml version=\"1.0\"?><CompleteMultipartUploadResult>"                           \
             "<ETag>&quot;e-2&quot;</ETag></CompleteMultipartUploadResult>"
#define COPIED                                                                                     \
    OK_CLOSE "<CopyPartResult><ETag>\"p\"</ETag>"                                                  \
             "<LastModified>2015-08-30T12:36:00Z</LastModified>"                                   \
             "</CopyPartResult>"
#define PART_STORED                                                                                \
    "HTTP/1.1 200 OK\r\nConnection: close\r\nETag: \"p\"\r\nContent-Length: 0\r\n\r\n"
#define IN_A_200(code) OK_CLOSE " \n" ERROR_DOC(code)
#define REFUSED(status, code) "HTTP/1.1 " status " No\r\nConnection: close\r\n\r\n" ERROR_DOC(code)
#define ONE(t)                                                                                     \
    {                                                                                              \
        .text = t, .end = SERVER_CLOSE                                                             \
    }

static const struct s3_part_done two[] = {{.number = 1, .etag = "\"a\""},
                                          {.number = 7, .etag = "\"<&>\""}};

static void wait(struct fixture *f, int started)
{
    assert_int_equal(started, 0);
    assert_int_equal(f->call.done, 0);
    fixture_wait(f, &f->call);
    f->call.done = 0;
    assert_int_equal(s3_in_flight(f->client), 0);
}

static void ended(const struct fixture *f, int error, unsigned attempts, bool maybe)
{
    if (f->call.res.error != -error)
        fail_msg("%d: %s", f->call.res.error, f->call.res.text);
    assert_int_equal(f->call.res.attempts, attempts);
    assert_int_equal(f->call.res.may_have_acted, maybe);
}

static void line_is(const struct fixture *f, unsigned i, const char *line)
{
    const char *head = server_request(f->server, i)->head;

    if (strncmp(head, line, strlen(line)) != 0)
        fail_msg("%.80s", head);
}

static void test_create(void **state)
{
    const struct s3_meta_pair meta = {"mode", "420"};
    struct s3_create c = {.key = "k", .content_type = "text/x", .meta = &meta, .n_meta = 1};
    struct fixture f;

    (void)state;
    fixture_begin(&f, SCRIPT(ONE(CREATED), ONE(IN_A_200("InternalError")),
                             ONE(OK_CLOSE "<InitiateMultipartUploadResult/>"), ONE(CREATED),
                             ONE(REFUSED("403", "AccessDenied"))));
    wait(&f, s3_create(f.client, &c, call_done, &f.call, NULL));
    ended(&f, 0, 1, false);
    assert_string_equal(f.call.res.upload_id, "u+1/=");
    line_is(&f, 0, "POST /bkt/k?uploads= HTTP/1.1\r\n");
    assert_string_equal(server_header(f.server, 0, "content-type"), "text/x");
    assert_string_equal(server_header(f.server, 0, "x-amz-meta-mode"), "420");
    assert_string_equal(server_header(f.server, 0, "content-length"), "0");
    wait(&f, s3_create(f.client, &c, call_done, &f.call, NULL));
    ended(&f, 0, 3, true); /* an upload that nobody knows may be left */
    wait(&f, s3_create(f.client, &c, call_done, &f.call, NULL));
    ended(&f, EACCES, 1, false);
    assert_null(f.call.res.upload_id);
    fixture_end(&f);
}

static void test_part(void **state)
{
    struct s3_part p = {.key = "k",
                        .upload_id = "u+1/=",
                        .number = 12,
                        .body = {.mem = "xabc", .fd = -1, .off = 1, .len = 3}};
    struct fixture f;

    (void)state;
    fixture_begin(&f, SCRIPT({.text = NULL, .end = SERVER_RESET}, put_ok,
                             ONE(REFUSED("404", "NoSuchUpload"))));
    wait(&f, s3_part(f.client, &p, call_done, &f.call, NULL));
    assert_int_equal(f.call.res.error, 0);
    assert_string_equal(f.call.res.obj.etag, "\"new\"");
    line_is(&f, 1, "PUT /bkt/k?uploadId=u%2B1%2F%3D&partNumber=12 HTTP/1.1\r\n");
    assert_int_equal(server_request(f.server, 1)->body_len, 3);
    assert_int_equal(server_request(f.server, 1)->body_sum, 'a' + 2 * 'b' + 3 * 'c');
    wait(&f, s3_part(f.client, &p, call_done, &f.call, NULL));
    ended(&f, ESTALE, 1, false);
    assert_string_equal(f.call.res.code, "NoSuchUpload");
    fixture_end(&f);
}

static void test_part_copy(void **state)
{
    struct s3_part_copy c = {
        .key = "k", .upload_id = "u", .number = 1, .from_key = "a b", .if_source_match = "\"s\""};
    struct fixture f;

    (void)state;
    fixture_begin(&f, SCRIPT(ONE(COPIED), ONE(IN_A_200("SlowDown")), ONE(COPIED),
                             ONE(REFUSED("412", "PreconditionFailed"))));
    wait(&f, s3_part_copy(f.client, &c, call_done, &f.call, NULL));
    ended(&f, 0, 1, false);
    assert_string_equal(f.call.res.obj.etag, "\"p\"");
    assert_int_equal(f.call.res.obj.mtime_ns / 1000000000, 1440938160);
    assert_string_equal(server_header(f.server, 0, "x-amz-copy-source"), "/bkt/a%20b");
    assert_string_equal(server_header(f.server, 0, "x-amz-copy-source-if-match"), "\"s\"");
    assert_string_equal(server_header(f.server, 0, "x-amz-copy-source-range"), "");
    c.off = 5, c.len = 10;
    wait(&f, s3_part_copy(f.client, &c, call_done, &f.call, NULL));
    ended(&f, 0, 2, false);
    assert_string_equal(server_header(f.server, 2, "x-amz-copy-source-range"), "bytes=5-14");
    wait(&f, s3_part_copy(f.client, &c, call_done, &f.call, NULL));
    ended(&f, ESTALE, 1, false);
    fixture_end(&f);
}

static void test_complete(void **state)
{
    static const char list[] =
        "<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">"
        "<Part><PartNumber>1</PartNumber><ETag>\"a\"</ETag></Part>"
        "<Part><PartNumber>7</PartNumber><ETag>\"&lt;&amp;&gt;\"</ETag></Part>"
        "</CompleteMultipartUpload>";
    struct s3_complete c = {
        .key = "k", .upload_id = "u", .parts = two, .n_parts = 2, .if_match = "\"e\""};
    uint64_t sum = 0;
    struct fixture f;

    (void)state;
    for (size_t i = 0; i < strlen(list); i++)
        sum += (i + 1) * (unsigned char)list[i];
    fixture_begin(&f, SCRIPT(ONE(COMPLETED), ONE(REFUSED("412", "PreconditionFailed")),
                             ONE(REFUSED("404", "NoSuchKey")),
                             ONE(REFUSED("409", "ConditionalRequestConflict"))));
    wait(&f, s3_complete(f.client, &c, call_done, &f.call, NULL));
    ended(&f, 0, 1, false);
    assert_string_equal(f.call.res.obj.etag, "\"e-2\"");
    line_is(&f, 0, "POST /bkt/k?uploadId=u HTTP/1.1\r\n");
    assert_string_equal(server_header(f.server, 0, "if-match"), "\"e\"");
    assert_string_equal(server_header(f.server, 0, "content-type"), "application/xml");
    assert_int_equal(server_request(f.server, 0)->body_len, strlen(list));
    assert_int_equal(server_request(f.server, 0)->body_sum, sum);
    wait(&f, s3_complete(f.client, &c, call_done, &f.call, NULL));
    ended(&f, EEXIST, 1, false);
    assert_string_equal(f.call.res.code, "PreconditionFailed");
    wait(&f, s3_complete(f.client, &c, call_done, &f.call, NULL));
    ended(&f, ENOENT, 1, false); /* what it was to replace is gone */
    c.if_match = NULL;
    c.if_none_match = "*";
    wait(&f, s3_complete(f.client, &c, call_done, &f.call, NULL));
    ended(&f, EBUSY, 1, false); /* no second attempt of the same upload */
    assert_string_equal(server_header(f.server, 3, "if-none-match"), "*");
    fixture_end(&f);
}

/* Each part with its own, the object with what follows from them. */
static void test_checksums(void **state)
{
    struct s3_create create = {.key = "k", .checksum = true};
    struct s3_part part = {
        .key = "k", .upload_id = "u", .number = 1, .body = {.mem = "12345", .fd = -1, .len = 5}};
    struct s3_part_done parts[2] = {{.number = 1, .etag = "\"a\"", .len = 5},
                                    {.number = 2, .etag = "\"b\"", .len = 4}};
    struct s3_complete c = {.key = "k", .upload_id = "u", .parts = parts, .n_parts = 2};
    struct fixture f;

    (void)state;
    fixture_begin(&f, SCRIPT(ONE(CREATED), ONE(PART_STORED), ONE(PART_STORED), ONE(COMPLETED)));
    f.conf.checksum = S3_CRC_64NVME;
    fixture_client(&f);
    wait(&f, s3_create(f.client, &create, call_done, &f.call, NULL));
    ended(&f, 0, 1, false);
    assert_string_equal(server_header(f.server, 0, "x-amz-checksum-algorithm"), "CRC64NVME");
    assert_string_equal(server_header(f.server, 0, "x-amz-checksum-type"), "FULL_OBJECT");
    part.checksum = c.checksum = f.call.res.checksum;
    assert_int_equal(c.checksum, S3_CRC_64NVME);
    wait(&f, s3_part(f.client, &part, call_done, &f.call, NULL));
    parts[0].crc = f.call.res.crc;
    part.number = 2;
    part.body = (struct s3_body){.mem = "6789", .fd = -1, .len = 4};
    wait(&f, s3_part(f.client, &part, call_done, &f.call, NULL));
    parts[1].crc = f.call.res.crc;
    assert_true(*server_header(f.server, 1, "x-amz-checksum-crc64nvme"));
    wait(&f, s3_complete(f.client, &c, call_done, &f.call, NULL));
    ended(&f, 0, 1, false);
    assert_string_equal(server_header(f.server, 3, "x-amz-checksum-crc64nvme"), "rosUhgp5mIg=");
    assert_string_equal(server_header(f.server, 3, "x-amz-checksum-type"), "FULL_OBJECT");
    fixture_end(&f);
}

/* A success that turns out to be none, or gets lost, is asked again; that the upload is over then
 * proves nothing, and the caller is told so. */
static void test_complete_in_doubt(void **state)
{
    struct s3_complete c = {.key = "k", .upload_id = "u", .parts = two, .n_parts = 2};
    const struct server_answer ways[] = {
        ONE(IN_A_200("InternalError")),
        ONE(OK_CLOSE),
        {.text = NULL, .end = SERVER_CLOSE},
        ONE(REFUSED("500", "InternalError")),
    };
    struct fixture f;

    (void)state;
    fixture_begin(&f, &put_ok, 1);
    for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
        server_script(f.server, SCRIPT(ways[i], ONE(COMPLETED)));
        wait(&f, s3_complete(f.client, &c, call_done, &f.call, NULL));
        ended(&f, 0, 2, true);
        server_script(f.server, SCRIPT(ways[i], ONE(REFUSED("404", "NoSuchUpload"))));
        wait(&f, s3_complete(f.client, &c, call_done, &f.call, NULL));
        ended(&f, ESTALE, 2, true);
    }
    fixture_end(&f);
}

static void test_abort(void **state)
{
    struct fixture f;

    (void)state;
    fixture_begin(&f, SCRIPT({.text = "HTTP/1.1 204 No Content\r\n\r\n"},
                             ONE(REFUSED("404", "NoSuchUpload"))));
    wait(&f, s3_abort(f.client, "k", "u", call_done, &f.call, NULL));
    ended(&f, 0, 1, false);
    line_is(&f, 0, "DELETE /bkt/k?uploadId=u HTTP/1.1\r\n");
    wait(&f, s3_abort(f.client, "k", "u", call_done, &f.call, NULL));
    ended(&f, ESTALE, 1, false);
    fixture_end(&f);
}

static void complete_refused(struct fixture *f, struct s3_part_done part, size_t n)
{
    const struct s3_part_done parts[2] = {{.number = 5, .etag = "\"a\""}, part};
    struct s3_complete c = {.key = "k", .upload_id = "u", .parts = parts, .n_parts = n};

    assert_int_equal(s3_complete(f->client, &c, call_done, &f->call, NULL), -EINVAL);
}

static void test_bad_starts(void **state)
{
    static char long_id[S3_UPLOAD_ID_MAX + 1];
    struct s3_part p = {.key = "k", .upload_id = "u", .body = {.mem = "x", .fd = -1}};
    struct s3_part_copy c = {.key = "k", .upload_id = "u", .number = 1, .from_key = "a//b"};
    struct fixture f;

    (void)state;
    fixture_begin(&f, &put_ok, 1);
    assert_int_equal(s3_part(f.client, &p, call_done, &f.call, NULL), -EINVAL);
    p.number = S3_PARTS_MAX + 1;
    assert_int_equal(s3_part(f.client, &p, call_done, &f.call, NULL), -EINVAL);
    p.number = 1;
    p.body.len = S3_PUT_MAX + 1;
    assert_int_equal(s3_part(f.client, &p, call_done, &f.call, NULL), -EFBIG);
    assert_int_equal(s3_part_copy(f.client, &c, call_done, &f.call, NULL), -EINVAL);
    c.from_key = "a";
    c.off = 1; /* from there to the end cannot be said */
    assert_int_equal(s3_part_copy(f.client, &c, call_done, &f.call, NULL), -EINVAL);
    complete_refused(&f, (struct s3_part_done){.number = 6, .etag = "\"b\""}, 0);
    complete_refused(&f, (struct s3_part_done){.number = 6, .etag = "\"b\""}, S3_PARTS_MAX + 1);
    complete_refused(&f, (struct s3_part_done){.number = 5, .etag = "\"b\""}, 2);
    complete_refused(&f, (struct s3_part_done){.number = 6, .etag = "\"b\r\""}, 2);
    complete_refused(&f, (struct s3_part_done){.number = 6, .etag = ""}, 2);
    assert_int_equal(s3_abort(f.client, "k", "", call_done, &f.call, NULL), -EINVAL);
    memset(long_id, 'i', sizeof(long_id) - 1);
    assert_int_equal(s3_abort(f.client, "k", long_id, call_done, &f.call, NULL), -EINVAL);
    assert_int_equal(s3_in_flight(f.client), 0);
    fixture_end(&f);
}

/* The longest list there can be is sent. */
static void test_many_parts(void **state)
{
    struct s3_part_done *parts = calloc(S3_PARTS_MAX, sizeof(*parts));
    struct s3_complete c = {.key = "k", .upload_id = "u", .parts = parts, .n_parts = S3_PARTS_MAX};
    char etag[S3_ETAG_MAX];
    struct fixture f;

    (void)state;
    assert_non_null(parts);
    memset(etag, '&', sizeof(etag) - 1);
    etag[sizeof(etag) - 1] = '\0';
    for (unsigned i = 0; i < S3_PARTS_MAX; i++)
        parts[i] = (struct s3_part_done){.number = i + 1, .etag = etag};
    fixture_begin(&f, SCRIPT(ONE(COMPLETED)));
    wait(&f, s3_complete(f.client, &c, call_done, &f.call, NULL));
    ended(&f, 0, 1, false);
    assert_true(server_request(f.server, 0)->body_len > S3_PARTS_MAX * 400u);
    fixture_end(&f);
    free(parts);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_create),     cmocka_unit_test(test_part),
        cmocka_unit_test(test_part_copy),  cmocka_unit_test(test_complete),
        cmocka_unit_test(test_checksums),  cmocka_unit_test(test_complete_in_doubt),
        cmocka_unit_test(test_abort),      cmocka_unit_test(test_bad_starts),
        cmocka_unit_test(test_many_parts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
