/* PUT, DELETE and COPY against a scripted server: bodies, early answers, what may have been
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

#include <sys/mman.h>
#include <unistd.h>

#include "base/fd.h"
#include "client_fixture.h"

#define BIG (20u << 20)
#define MIDDLE (2u << 20)
#define REFUSED_412                                                                                \
    "HTTP/1.1 412 Precondition Failed\r\nContent-Length: 110\r\n"                                  \
    "Connection: close\r\n\r\n" ERROR_DOC("PreconditionFailed")

static char *bytes; /* BIG of them */
static int fd = -1; /* the same in a file */

static uint64_t sum_of(size_t len)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < len; i++)
        sum += (i + 1) * (unsigned char)bytes[i];
    return sum;
}

static void body_came(const struct fixture *f, unsigned i, size_t len)
{
    assert_int_equal(server_request(f->server, i)->body_len, len);
    assert_int_equal(server_request(f->server, i)->body_sum, sum_of(len));
}

static struct s3_put put_of(size_t len, bool file)
{
    return (struct s3_put){.key = "k", .body = {.mem = file ? NULL : bytes, .fd = fd, .len = len}};
}

static void succeeded(const struct fixture *f, unsigned attempts, bool maybe)
{
    if (f->call.res.error)
        fail_msg("%s", f->call.res.text);
    assert_int_equal(f->call.res.attempts, attempts);
    assert_int_equal(f->call.res.may_have_acted, maybe);
    assert_int_equal(s3_in_flight(f->client), 0);
}

static void failed(const struct fixture *f, int error, unsigned attempts, bool maybe)
{
    if (f->call.res.error != -error)
        fail_msg("%d: %s", f->call.res.error, f->call.res.text);
    if (attempts)
        assert_int_equal(f->call.res.attempts, attempts);
    assert_int_equal(f->call.res.may_have_acted, maybe);
    assert_int_equal(s3_in_flight(f->client), 0);
}

static void test_bodies(void **state)
{
    static const size_t lens[] = {0, 1, 1000, 65536, MIDDLE, BIG};
    struct fixture f;
    unsigned n = 0;

    (void)state;
    fixture_begin(&f, &put_ok, 1);
    for (int file = 0; file < 2; file++) {
        for (size_t i = 0; i < 6; i++, n++) {
            struct s3_put put = put_of(lens[i], file);
            char length[32];

            fixture_put(&f, &put);
            succeeded(&f, 1, false);
            assert_string_equal(f.call.res.obj.etag, "\"new\"");
            body_came(&f, n, lens[i]);
            snprintf(length, sizeof(length), "%zu", lens[i]);
            assert_string_equal(server_header(f.server, n, "content-length"), length);
            assert_string_equal(server_header(f.server, n, "expect"), "");
            assert_string_equal(server_header(f.server, n, "transfer-encoding"), "");
        }
    }
    assert_int_equal(server_connections(f.server), 1);
    fixture_end(&f);
}

static void test_headers(void **state)
{
    const struct s3_meta_pair meta[] = {{"mode", "33188"}, {"none", ""}};
    struct s3_put put = put_of(3, false);
    struct fixture f;

    (void)state;
    fixture_begin(&f, &put_ok, 1);
    put.meta = meta;
    put.n_meta = 2;
    put.content_type = "text/plain";
    put.if_match = "\"old\"";
    put.body = (struct s3_body){.mem = "xxabc", .fd = -1, .off = 2, .len = 3};
    fixture_put(&f, &put);
    succeeded(&f, 1, false);
    assert_string_equal(server_header(f.server, 0, "x-amz-meta-mode"), "33188");
    assert_non_null(strcasestr(server_request(f.server, 0)->head, "\r\nx-amz-meta-none:\r\n"));
    assert_string_equal(server_header(f.server, 0, "content-type"), "text/plain");
    assert_string_equal(server_header(f.server, 0, "if-match"), "\"old\"");
    assert_string_equal(server_header(f.server, 0, "x-amz-content-sha256"),
                        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_non_null(strstr(server_header(f.server, 0, "authorization"),
                           "x-amz-meta-mode;x-amz-meta-none;"
                           "x-amz-security-token, Signature="));
    f.conf.payload_signing = S3_SIGN_NEVER;
    fixture_client(&f);
    fixture_put(&f, &put);
    assert_string_equal(server_header(f.server, 1, "x-amz-content-sha256"), "UNSIGNED-PAYLOAD");
    fixture_end(&f);
}

static void start_is(struct fixture *f, const struct s3_put *put, int want)
{
    assert_int_equal(s3_put(f->client, put, call_done, &f->call, NULL), want);
}

static void test_bad_starts(void **state)
{
    char longer[S3_META_MAX + 1], name[1100];
    struct s3_meta_pair meta = {"a", longer};
    struct s3_put put = put_of(3, false), bad = put;
    struct fixture f;

    (void)state;
    fixture_begin(&f, &put_ok, 1);
    memset(longer, 'x', sizeof(longer));
    longer[S3_META_MAX] = '\0';
    memset(name, 'n', sizeof(name));
    name[1099] = '\0';
    bad.key = "a/../b";
    start_is(&f, &bad, -EINVAL);
    bad.key = name;
    start_is(&f, &bad, -ENAMETOOLONG);
    bad = put;
    bad.body.len = S3_PUT_MAX + 1;
    start_is(&f, &bad, -EFBIG);
    bad = put;
    bad.if_match = "*";
    start_is(&f, &bad, -EINVAL);
    bad = put;
    bad.if_none_match = "\"e\"";
    start_is(&f, &bad, -EINVAL);
    bad = put;
    bad.meta = &meta;
    bad.n_meta = 1;
    start_is(&f, &bad, -E2BIG);
    meta.name = name;
    meta.value = "";
    start_is(&f, &bad, -E2BIG);
    meta.name = "a";
    meta.value = "a\r\nb: c";
    start_is(&f, &bad, -EINVAL);
    meta.value = "\xc3\xbc";
    start_is(&f, &bad, -EINVAL);
    meta.name = "a b";
    meta.value = "";
    start_is(&f, &bad, -EINVAL);
    bad = put;
    bad.content_type = "a\nb";
    start_is(&f, &bad, -EINVAL);
    assert_int_equal(s3_in_flight(f.client), 0);
    fixture_turn(&f, 10 * NS_PER_MS);
    assert_int_equal(f.call.done, 0);
    fixture_end(&f);
}

/* The answer comes while the body is being sent, and a reset after it. */
static void test_early(void **state)
{
    static const enum server_end ends[] = {SERVER_CLOSE, SERVER_RESET, SERVER_KEEP};
    struct s3_put put = put_of(BIG, true);

    (void)state;
    for (int i = 0; i < 60; i++) {
        struct fixture f;

        fixture_begin(&f, SCRIPT({.text = REFUSED_412, .early = true, .end = ends[i % 3]}));
        f.conf.payload_signing = S3_SIGN_NEVER;
        fixture_client(&f);
        fixture_put(&f, &put);
        failed(&f, EEXIST, 1, false);
        assert_int_equal(f.call.res.http_status, 412);
        fixture_end(&f);
    }
}

static void test_expect(void **state)
{
    struct s3_put put = put_of(MIDDLE, true);
    struct fixture f;
    uint64_t begin;

    (void)state;
    put.if_none_match = "*";
    fixture_begin(&f, SCRIPT({.text = REFUSED_412, .early = true},
                             {.text = put_ok.text, .continues = 1},
                             {.text = put_ok.text, .continues = 2}, {.text = put_ok.text},
                             {.text = "HTTP/1.1 417 Expectation Failed\r\n"
                                      "Content-Length: 0\r\n\r\n",
                              .early = true,
                              .end = SERVER_CLOSE},
                             {.text = put_ok.text}));
    f.conf.attempt_timeout_ns = 3 * NS_PER_S;
    fixture_client(&f);
    /* refused before the body */
    fixture_put(&f, &put);
    failed(&f, EEXIST, 1, false);
    assert_int_equal(server_request(f.server, 0)->body_len, 0);
    assert_string_equal(server_header(f.server, 0, "expect"), "100-continue");
    /* asked for once, and twice */
    for (unsigned i = 1; i < 3; i++) {
        fixture_put(&f, &put);
        succeeded(&f, 1, false);
        body_came(&f, i, MIDDLE);
    }
    /* a server that says nothing gets the body after a while */
    begin = clock_mono_ns();
    fixture_put(&f, &put);
    succeeded(&f, 1, false);
    assert_in_range(clock_mono_ns() - begin, NS_PER_S / 2, 2 * NS_PER_S);
    /* one that does not know Expect gets it without (on the connection that this one closes) */
    fixture_put(&f, &put);
    succeeded(&f, 2, false);
    assert_string_equal(server_header(f.server, 5, "expect"), "");
    assert_int_equal(server_count(f.server), 6);
    body_came(&f, 5, MIDDLE);
    fixture_end(&f);
}

/* The connection breaks before the answer, in several ways: again, and it is said that it may
 * have acted; not where the server never got the body. */
static void test_lost_answers(void **state)
{
    static const struct server_answer ways[] = {
        {.text = NULL, .end = SERVER_CLOSE},
        {.text = NULL, .end = SERVER_RESET},
        {.text = NULL, .early = true, .end = SERVER_RESET},
        {.text = "HTTP/1.1 200 OK\r\nETa", .end = SERVER_CLOSE},
        {.text = "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0"
                 "\r\n\r\n"},
        {.text = NULL}, /* silence */
    };

    (void)state;
    for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
        struct s3_put put = put_of(MIDDLE, true);
        bool maybe = !ways[i].early;
        struct fixture f;

        fixture_begin(&f, SCRIPT(ways[i], put_ok));
        fixture_put(&f, &put);
        succeeded(&f, 2, maybe);
        body_came(&f, 1, MIDDLE);
        /* and if it then fails for good */
        server_script(f.server, SCRIPT(ways[i], {.text = REFUSED_412, .end = SERVER_CLOSE}));
        fixture_put(&f, &put);
        failed(&f, EEXIST, 0, maybe); /* curl may resend by itself */
        /* refusals are no doubt */
        server_script(f.server, SCRIPT({.text = "HTTP/1.1 503 Slow\r\nContent-Length: "
                                                "100\r\n\r\n" ERROR_DOC("SlowDown")},
                                       put_ok));
        fixture_put(&f, &put);
        succeeded(&f, 2, false);
        fixture_end(&f);
    }
}

/* A kept connection that dies when it is used again: curl resends by itself, and it shows. */
static void test_dead_connection(void **state)
{
    struct s3_put put = put_of(MIDDLE, true);
    struct fixture f;

    (void)state;
    fixture_begin(&f, SCRIPT(put_ok, {.text = NULL, .end = SERVER_CLOSE}, put_ok));
    fixture_put(&f, &put);
    succeeded(&f, 1, false);
    fixture_put(&f, &put);
    assert_int_equal(f.call.res.error, 0);
    assert_true(f.call.res.may_have_acted);
    body_came(&f, 2, MIDDLE);
    /* one that the server closed while it was idle is just not used */
    server_drop_all(f.server);
    fixture_turn(&f, 1500 * NS_PER_MS);
    fixture_put(&f, &put);
    succeeded(&f, 1, false);
    fixture_end(&f);
}

/* Always cut at the same place: it ends, by the deadline. */
static void test_never_through(void **state)
{
    struct s3_put put = put_of(BIG, true);
    struct fixture f;
    uint64_t begin = clock_mono_ns();

    (void)state;
    fixture_begin(&f, SCRIPT({.text = NULL, .early = true, .end = SERVER_RESET}));
    f.conf.deadline_ns = NS_PER_S;
    fixture_client(&f);
    fixture_put(&f, &put);
    failed(&f, ECONNRESET, 0, false);
    assert_true(f.call.res.attempts > 3);
    assert_in_range(clock_mono_ns() - begin, 500 * NS_PER_MS, 3 * NS_PER_S);
    fixture_end(&f);
}

static void test_short_file(void **state)
{
    struct s3_put put = put_of(100, true);
    struct fixture f;

    (void)state;
    fixture_begin(&f, &put_ok, 1);
    put.body.off = BIG - 50;
    for (int sign = 0; sign < 2; sign++) {
        f.conf.payload_signing = sign ? S3_SIGN_ALWAYS : S3_SIGN_NEVER;
        fixture_client(&f);
        fixture_put(&f, &put);
        assert_int_equal(f.call.res.error, -EIO);
        assert_int_equal(f.call.res.fail, S3_FAIL_LOCAL);
        assert_int_equal(f.call.res.attempts, sign ? 0 : 1);
    }
    fixture_end(&f);
}

static void delete_one(struct fixture *f, const struct s3_delete *del)
{
    f->call.done = 0;
    assert_int_equal(s3_delete(f->client, del, call_done, &f->call, NULL), 0);
    fixture_wait(f, &f->call);
}

static void test_delete(void **state)
{
    struct s3_delete one = {.key = "k", .if_match = "\"e\""};
    struct fixture f;

    (void)state;
    fixture_begin(&f, SCRIPT({.text = "HTTP/1.1 204 No Content\r\n\r\n"},
                             {.text = "HTTP/1.1 404 Not Found\r\n"
                                      "Content-Length: 101\r\n\r\n" ERROR_DOC("NoSuchKey")},
                             {.text = REFUSED_412}));
    delete_one(&f, &(struct s3_delete){.key = "k"});
    succeeded(&f, 1, false);
    assert_memory_equal(server_request(f.server, 0)->head, "DELETE /bkt/k ", 14);
    delete_one(&f, &one);
    failed(&f, ENOENT, 1, false);
    assert_string_equal(server_header(f.server, 1, "if-match"), "\"e\"");
    delete_one(&f, &one);
    failed(&f, EEXIST, 1, false);
    fixture_end(&f);
}

/* A refusal that says that nothing was done is followed by another attempt, what is unclear is not:
 * a 500, a connection that broke, a kept one that turns out to be dead. */
static void test_delete_once(void **state)
{
    struct s3_delete once = {.key = "k", .once = true};
    struct fixture f;

    (void)state;
    fixture_begin(&f, SCRIPT({.text = "HTTP/1.1 503 Slow Down\r\n"
                                      "Content-Length: 100\r\n\r\n" ERROR_DOC("SlowDown")},
                             {.text = "HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n"},
                             {.text = NULL, .end = SERVER_CLOSE},
                             {.text = "HTTP/1.1 204 No Content\r\n\r\n"},
                             {.text = NULL, .end = SERVER_CLOSE},
                             {.text = "HTTP/1.1 204 No Content\r\n\r\n"}));
    delete_one(&f, &once);
    failed(&f, EIO, 2, true);
    delete_one(&f, &once);
    failed(&f, ECONNRESET, 1, true);
    delete_one(&f, &once);
    succeeded(&f, 1, false);
    delete_one(&f, &once); /* on the connection of the last one */
    failed(&f, ECONNRESET, 1, true);
    assert_int_equal(server_count(f.server), 5);
    fixture_end(&f);
}

#define NINE "123456789"
#define NINE_SUM "rosUhgp5mIg="
#define STORED(more) "HTTP/1.1 200 OK\r\nETag: \"new\"\r\n" more "Content-Length: 0\r\n\r\n"

/* A checksum goes with each body, whether it is signed or not, and the server's is compared. */
static void test_checksum(void **state)
{
    struct s3_put put = {.key = "k", .body = {.mem = NINE, .fd = -1, .len = 9}};
    struct fixture f;

    (void)state;
    fixture_begin(&f, SCRIPT({.text = STORED("")},
                             {.text = STORED("x-amz-checksum-crc64nvme: " NINE_SUM "\r\n")},
                             {.text = STORED("x-amz-checksum-crc32c: 4waSgw==\r\n")},
                             {.text = STORED("x-amz-checksum-crc32c: 4waSgQ==\r\n")}));
    f.conf.checksum = S3_CRC_64NVME;
    for (int i = 0; i < 2; i++) {
        f.conf.payload_signing = i ? S3_SIGN_NEVER : S3_SIGN_ALWAYS;
        fixture_client(&f);
        fixture_put(&f, &put);
        succeeded(&f, 1, false);
        assert_string_equal(server_header(f.server, i, "x-amz-checksum-crc64nvme"), NINE_SUM);
        assert_int_equal(f.call.res.checksum, S3_CRC_64NVME);
        assert_true(f.call.res.crc == UINT64_C(0xae8b14860a799888));
    }
    assert_string_equal(server_header(f.server, 1, "x-amz-content-sha256"), "UNSIGNED-PAYLOAD");
    f.conf.checksum = S3_CRC_32C;
    fixture_client(&f);
    fixture_put(&f, &put);
    succeeded(&f, 1, false);
    assert_string_equal(server_header(f.server, 2, "x-amz-checksum-crc32c"), "4waSgw==");
    fixture_put(&f, &put); /* other bytes are stored than were sent */
    failed(&f, EIO, 3, true);
    put.body.len = 0;
    f.conf.checksum = S3_CRC_NONE;
    fixture_client(&f);
    fixture_put(&f, &put);
    assert_string_equal(server_header(f.server, 6, "x-amz-checksum-crc32c"), "");
    fixture_end(&f);
}

#define MD5(etag, more) "HTTP/1.1 200 OK\r\nETag: \"" etag "\"\r\n" more "Content-Length: 0\r\n\r\n"
#define NINE_MD5 "25f9e794323b453885f5181f1b624d0b"
#define OTHER_MD5 "25f9e794323b453885f5181f1b624d0c"

/* What has no checksum and no signature is compared with the ETag, where that is an MD5. What other
 * bytes of ours are there is what the next attempt replaces. */
static void test_etag(void **state)
{
    struct s3_put put = {.key = "k", .body = {.mem = NINE, .fd = -1, .len = 9}};
    uint32_t habits = S3_HABIT_NO_CHECKSUMS;
    struct fixture f;

    (void)state;
    fixture_begin(&f, SCRIPT({.text = MD5(OTHER_MD5, "")}, {.text = MD5(NINE_MD5, "")},
                             {.text = MD5(OTHER_MD5, "")}, {.text = MD5(NINE_MD5, "")},
                             {.text = MD5(OTHER_MD5, "x-amz-server-side-encryption: aws:kms\r\n")},
                             {.text = MD5(OTHER_MD5, "")}));
    f.conf.checksum = S3_CRC_64NVME;
    f.conf.payload_signing = S3_SIGN_NEVER;
    f.conf.habits = &habits;
    fixture_client(&f);
    put.if_none_match = "*";
    fixture_put(&f, &put);
    succeeded(&f, 2, true);
    assert_string_equal(server_header(f.server, 0, "if-none-match"), "*");
    assert_string_equal(server_header(f.server, 1, "if-none-match"), "");
    assert_string_equal(server_header(f.server, 1, "if-match"), "\"" OTHER_MD5 "\"");
    assert_true(habits & S3_HABIT_MD5_ETAGS);
    put.if_none_match = NULL;
    put.if_match = "\"old\"";
    fixture_put(&f, &put);
    succeeded(&f, 2, true);
    assert_string_equal(server_header(f.server, 2, "if-match"), "\"old\"");
    assert_string_equal(server_header(f.server, 3, "if-match"), "\"" OTHER_MD5 "\"");
    fixture_put(&f, &put); /* with KMS the ETag is no MD5 */
    succeeded(&f, 1, false);
    fixture_put(&f, &put);
    failed(&f, EIO, 3, true);
    assert_true(f.call.res.stored_other);
    habits = 0; /* a checksum is proof */
    fixture_put(&f, &put);
    succeeded(&f, 1, false);
    fixture_end(&f);
}

/* An ETag that looks like an MD5 and is none, on a server that has had no other: it is asked twice,
 * once. */
static void test_etag_of_another_kind(void **state)
{
    struct s3_put put = {.key = "k", .body = {.mem = NINE, .fd = -1, .len = 9}};
    uint32_t habits = S3_HABIT_NO_CHECKSUMS;
    struct fixture f;

    (void)state;
    fixture_begin(&f, SCRIPT({.text = MD5(OTHER_MD5, "")}));
    f.conf.checksum = S3_CRC_64NVME;
    f.conf.payload_signing = S3_SIGN_NEVER;
    f.conf.habits = &habits;
    fixture_client(&f);
    fixture_put(&f, &put);
    succeeded(&f, 2, true);
    fixture_put(&f, &put);
    succeeded(&f, 1, false);
    fixture_end(&f);
}

/* A server that refuses them is found out once; one that took them refuses for another reason. */
static void test_checksum_refused(void **state)
{
    struct s3_put put = {.key = "k", .body = {.mem = NINE, .fd = -1, .len = 9}};
    uint32_t habits = 0;
    struct fixture f;

    (void)state;
    fixture_begin(&f, SCRIPT({.text = "HTTP/1.1 501 Not Implemented\r\nContent-Length: 0\r\n\r\n"},
                             {.text = STORED("")}, {.text = STORED("")}, {.text = STORED("")},
                             {.text = "HTTP/1.1 400 Bad\r\nContent-Length: 0\r\n\r\n"}));
    f.conf.checksum = S3_CRC_64NVME;
    f.conf.habits = &habits;
    fixture_client(&f);
    fixture_put(&f, &put);
    succeeded(&f, 2, false);
    assert_string_equal(server_header(f.server, 0, "x-amz-checksum-crc64nvme"), NINE_SUM);
    assert_string_equal(server_header(f.server, 1, "x-amz-checksum-crc64nvme"), "");
    assert_int_equal(habits & S3_HABIT_NO_CHECKSUMS, S3_HABIT_NO_CHECKSUMS);
    assert_int_equal(f.call.res.checksum, S3_CRC_NONE);
    fixture_put(&f, &put);
    succeeded(&f, 1, false);
    assert_string_equal(server_header(f.server, 2, "x-amz-checksum-crc64nvme"), "");
    habits = 0;
    fixture_put(&f, &put);
    succeeded(&f, 1, false);
    assert_int_equal(habits & S3_HABIT_CHECKSUMS, S3_HABIT_CHECKSUMS);
    fixture_put(&f, &put);
    assert_true(f.call.res.error < 0);
    assert_int_equal(server_count(f.server), 5);
    fixture_end(&f);
}

#define PORTAL                                                                                     \
    "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 28\r\n\r\n"                     \
    "<html><p>Log in</p><br></html"

/* A 2xx that is not S3's: nothing was stored, nothing deleted. Told as unknown, since the request
 * was sent. An XML document that is no error does no harm. */
static void test_success_of_others(void **state)
{
    static const struct {
        const char *text;
        bool early, fine;
    } ways[] = {
        {PORTAL, false, false},
        {"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 7\r\n\r\n<html/>", false,
         false},
        {"HTTP/1.1 202 Accepted\r\nETag: \"new\"\r\nContent-Length: 0\r\n\r\n", false, false},
        {"HTTP/1.1 206 Part\r\nETag: \"new\"\r\nContent-Length: 0\r\n\r\n", false, false},
        {"HTTP/1.1 200 OK\r\nETag: \"new\"\r\nContent-Length: 5\r\n\r\n<Ok/>", false, true},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
        struct s3_put put = put_of(1000, false);
        struct s3_delete del = {.key = "k"};
        struct fixture f;

        fixture_begin(&f, SCRIPT({.text = ways[i].text}));
        fixture_put(&f, &put);
        if (ways[i].fine)
            succeeded(&f, 1, false);
        else
            failed(&f, EIO, 3, true);
        delete_one(&f, &del);
        if (ways[i].fine)
            succeeded(&f, 1, false);
        else
            failed(&f, EIO, 3, true);
        fixture_end(&f);
    }
}

/* "200 OK" after the head of the request: nobody has seen the body. */
static void test_success_too_early(void **state)
{
    struct s3_put put = put_of(BIG, true);
    struct fixture f;

    (void)state;
    fixture_begin(&f, SCRIPT({.text = "HTTP/1.1 200 OK\r\nETag: \"new\"\r\n"
                                      "Content-Length: 0\r\nConnection: close\r\n\r\n",
                              .early = true,
                              .end = SERVER_CLOSE}));
    f.conf.deadline_ns = NS_PER_S;
    fixture_client(&f);
    fixture_put(&f, &put);
    assert_true(f.call.res.error == -EIO || f.call.res.error == -ECONNRESET);
    assert_true(f.call.res.may_have_acted);
    fixture_end(&f);
}

static void copy(struct fixture *f, const struct s3_copy *c)
{
    f->call.done = 0;
    assert_int_equal(s3_copy(f->client, c, call_done, &f->call, NULL), 0);
    fixture_wait(f, &f->call);
}

#define COPY_OK                                                                                    \
    "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n  \n<?xml version=\"1.0\"?>"                      \
    "<CopyObjectResult><LastModified>2015-08-30T12:36:00Z</LastModified>"                          \
    "<ETag>&quot;c&quot;</ETag></CopyObjectResult>"
#define IN_A_200(code) "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n \n" ERROR_DOC(code)

static void test_copy(void **state)
{
    struct s3_copy c = {.from_key = "a b/\xc3\xbc", .to_key = "to"};
    struct fixture f;

    (void)state;
    fixture_begin(&f, SCRIPT({.text = IN_A_200("InternalError"), .end = SERVER_CLOSE},
                             {.text = COPY_OK, .end = SERVER_CLOSE},
                             {.text = IN_A_200("NoSuchKey"), .end = SERVER_CLOSE},
                             {.text = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"},
                             {.text = COPY_OK, .end = SERVER_CLOSE}));
    copy(&f, &c);
    succeeded(&f, 2, true);
    assert_string_equal(f.call.res.obj.etag, "\"c\"");
    assert_int_equal(f.call.res.obj.mtime_ns / 1000000000, 1440938160);
    assert_string_equal(server_header(f.server, 0, "x-amz-copy-source"), "/bkt/a%20b/%C3%BC");
    assert_string_equal(server_header(f.server, 0, "x-amz-metadata-directive"), "COPY");
    copy(&f, &c);
    failed(&f, ENOENT, 1, false);
    c.replace_meta = true;
    c.if_source_match = "\"s\"";
    c.if_match = "\"t\"";
    copy(&f, &c); /* a 200 without a result is no result */
    succeeded(&f, 2, true);
    assert_string_equal(server_header(f.server, 4, "x-amz-metadata-directive"), "REPLACE");
    assert_string_equal(server_header(f.server, 4, "x-amz-copy-source-if-match"), "\"s\"");
    assert_string_equal(server_header(f.server, 4, "if-match"), "\"t\"");
    c.from_key = "a//b";
    assert_int_equal(s3_copy(f.client, &c, call_done, &f.call, NULL), -EINVAL);
    fixture_end(&f);
}

/* A refusal ends it: no HEAD of the source, nothing is sent without a condition; and a bucket that
 * wants conditions gets those of the caller alone. */
static void test_strict_copy(void **state)
{
    static const char unknown[] = "HTTP/1.1 501 Not Implemented\r\nContent-Length: 0\r\n"
                                  "Connection: close\r\n\r\n";
    struct s3_copy c = {.from_key = "from",
                        .to_key = "to",
                        .if_source_match = "\"s\"",
                        .if_none_match = "*",
                        .strict = true};
    uint32_t habits = S3_HABIT_WANTS_CONDITIONS | S3_HABIT_NO_COPY_TARGET | S3_HABIT_NO_COPY_SOURCE;
    struct fixture f;

    (void)state;
    fixture_begin(&f, SCRIPT({.text = REFUSED_412, .end = SERVER_CLOSE},
                             {.text = unknown, .end = SERVER_CLOSE},
                             {.text = COPY_OK, .end = SERVER_CLOSE}));
    f.conf.habits = &habits;
    fixture_client(&f);
    copy(&f, &c);
    failed(&f, ESTALE, 1, false);
    assert_int_equal(f.call.res.http_status, 412);
    assert_string_equal(server_header(f.server, 0, "if-none-match"), "*");
    assert_string_equal(server_header(f.server, 0, "x-amz-copy-source-if-match"), "\"s\"");
    copy(&f, &c);
    assert_int_equal(f.call.res.attempts, 1);
    assert_true(f.call.res.error && f.call.res.http_status == 501);
    c.if_none_match = NULL;
    c.if_match = "\"t\"";
    copy(&f, &c);
    succeeded(&f, 1, false);
    assert_string_equal(server_header(f.server, 2, "if-match"), "\"t\"");
    assert_string_equal(server_header(f.server, 2, "if-none-match"), "");
    fixture_end(&f);
}

/* ---- the gate ---- */

#define RACERS 4

static void open_when_all(struct s3_gate *gate)
{
    if (gate->held == RACERS)
        gate->open = true; /* s3_gate_open is what lets the others go */
}

static void start_racers(struct fixture *f, struct s3_gate *gate, struct call calls[RACERS])
{
    struct s3_put put = put_of(100000, true);

    put.gate = gate;
    put.if_none_match = "*";
    for (int i = 0; i < RACERS; i++) {
        call_init(&calls[i]);
        assert_int_equal(s3_put(f->client, &put, call_done, &calls[i], NULL), 0);
    }
}

/* All are held, all but the last byte is there, and one step lets all of them go. */
static void test_gate(void **state)
{
    struct s3_gate gate = {.on_held = open_when_all};
    struct call calls[RACERS];
    struct fixture f;

    (void)state;
    fixture_begin(&f, &put_ok, 1);
    start_racers(&f, &gate, calls);
    while (!gate.open)
        assert_int_equal(loop_turn(f.loop), 0);
    fixture_turn(&f, 50 * NS_PER_MS);
    assert_in_range(gate.held, RACERS - 1, RACERS); /* the last to come went on by itself */
    for (unsigned i = 0; i + 1 < RACERS; i++)
        assert_int_equal(server_request(f.server, i)->body_len, 99999);
    s3_gate_open(f.client, &gate);
    for (int i = 0; i < RACERS; i++) {
        fixture_wait(&f, &calls[i]);
        assert_int_equal(calls[i].res.error, 0);
        body_came(&f, (unsigned)i, 100000);
    }
    assert_int_equal(gate.held, 0);
    fixture_end(&f);
}

/* What ends while it is held leaves the gate: a cancelled one, one refused early. */
static void test_gate_left(void **state)
{
    struct s3_put put = put_of(100, true);
    struct s3_gate gate = {0};
    struct s3_req *req;
    struct fixture f;

    (void)state;
    fixture_begin(&f, &put_ok, 1);
    put.gate = &gate;
    assert_int_equal(s3_put(f.client, &put, call_done, &f.call, &req), 0);
    while (!gate.held)
        assert_int_equal(loop_turn(f.loop), 0);
    s3_cancel(req);
    assert_int_equal(gate.held, 0);
    server_script(f.server, SCRIPT({.text = REFUSED_412, .early = true}));
    put.if_match = "\"e\"";
    fixture_put(&f, &put);
    failed(&f, EEXIST, 1, false);
    assert_int_equal(gate.held, 0);
    /* nothing holds what has no byte to hold back */
    server_script(f.server, &put_ok, 1);
    put.body.len = 1;
    fixture_put(&f, &put);
    succeeded(&f, 1, false);
    fixture_end(&f);
}

static int set_up(void **state)
{
    uint64_t seed = 88172645463325252u;

    (void)state;
    bytes = malloc(BIG);
    fd = memfd_create("body", MFD_CLOEXEC);
    if (!bytes || fd < 0)
        return -1;
    for (size_t i = 0; i < BIG; i++) {
        seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
        bytes[i] = (char)seed;
    }
    return fd_pwrite_full(fd, bytes, BIG, 0);
}

static int tear_down(void **state)
{
    (void)state;
    free(bytes);
    close(fd);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bodies),
        cmocka_unit_test(test_headers),
        cmocka_unit_test(test_bad_starts),
        cmocka_unit_test(test_early),
        cmocka_unit_test(test_expect),
        cmocka_unit_test(test_lost_answers),
        cmocka_unit_test(test_dead_connection),
        cmocka_unit_test(test_never_through),
        cmocka_unit_test(test_short_file),
        cmocka_unit_test(test_delete),
        cmocka_unit_test(test_delete_once),
        cmocka_unit_test(test_success_of_others),
        cmocka_unit_test(test_checksum),
        cmocka_unit_test(test_etag),
        cmocka_unit_test(test_etag_of_another_kind),
        cmocka_unit_test(test_checksum_refused),
        cmocka_unit_test(test_success_too_early),
        cmocka_unit_test(test_copy),
        cmocka_unit_test(test_strict_copy),
        cmocka_unit_test(test_gate),
        cmocka_unit_test(test_gate_left),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
