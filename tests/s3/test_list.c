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
    assert_int_equal(s3_list(f->client, &with, call_done, &f->call, NULL), 0);
    fixture_wait(f, &f->call);
}

static void test_page(void **state)
{
    struct s3_list l = {
        .prefix = "a b/", .delimiter = "/", .start_after = "a b/\xc3\xbc", .max_keys = 7};
    struct fixture f;

    (void)state;
    fixture_begin(&f, SCRIPT({.text = OK "<ListBucketResult><EncodingType>url"
                                         "</EncodingType><IsTruncated>true</IsTruncated>"
                                         "<NextContinuationToken>n&amp;1"
                                         "</NextContinuationToken>" ENTRY(
                                             "a+b%2F%C3%BDx") "<CommonPrefixes><Prefix>p/</"
                                                              "Prefix></CommonPrefixes>"
                                                              "</ListBucketResult>",
                              .end = SERVER_CLOSE}));
    list(&f, &l);
    assert_int_equal(f.call.res.error, 0);
    assert_string_equal(f.call.data.data, "a b/\xc3\xbdx\np/\n");
    assert_true(f.call.res.truncated);
    assert_string_equal(f.call.res.next_token, "n&1");
    assert_int_equal(f.call.res.n_entries, 2);
    assert_non_null(strstr(server_request(f.server, 0)->head,
                           "GET /bkt?list-type=2&encoding-type=url&max-keys=7&prefix=a%20b%2F&"
                           "delimiter=%2F&start-after=a%20b%2F%C3%BC HTTP/1.1\r\n"));
    l.max_keys = 1001;
    assert_int_equal(s3_list(f.client, &l, call_done, &f.call, NULL), -EINVAL);
    fixture_end(&f);
}

static void test_last_page(void **state)
{
    struct fixture f;

    (void)state;
    fixture_begin(&f, SCRIPT({.text = OK "<ListBucketResult>" ENTRY("a%") "</ListBucketResult>",
                              .end = SERVER_CLOSE}));
    list(&f, &(struct s3_list){0});
    assert_int_equal(f.call.res.error, 0);
    assert_string_equal(f.call.data.data, "a%\n");
    assert_false(f.call.res.truncated);
    assert_null(f.call.res.next_token);
    assert_non_null(strstr(server_request(f.server, 0)->head,
                           "GET /bkt?list-type=2&encoding-type=url&max-keys=1000&prefix= "));
    fixture_end(&f);
}

/* Cut, then whole: what the first answer brought does not count. */
static void test_restart(void **state)
{
    static const char whole[] = OK "<ListBucketResult>" ENTRY("a") ENTRY("b") "</ListBucketResult>";
    struct fixture f;

    (void)state;
    fixture_begin(&f, SCRIPT({.text = "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"
                                      "<ListBucketResult>" ENTRY("a"),
                              .end = SERVER_CLOSE},
                             {.text = "HTTP/1.1 500 X\r\nContent-Length: 0\r\n\r\n"},
                             {.text = whole, .end = SERVER_CLOSE}));
    list(&f, &(struct s3_list){0});
    assert_int_equal(f.call.res.error, 0);
    assert_string_equal(f.call.data.data, "a\nb\n");
    assert_int_equal(f.call.res.n_entries, 2);
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
        {"HTTP/1.1 404 X\r\nContent-Length: 104\r\n\r\n" ERROR_DOC("NoSuchBucket"), EIO, 1},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct fixture f;

        fixture_begin(&f, SCRIPT({.text = cases[i].text, .end = SERVER_CLOSE}));
        list(&f, &(struct s3_list){0});
        if (f.call.res.error != -cases[i].error || f.call.res.attempts != cases[i].attempts)
            fail_msg("%zu: %d after %u: %s", i, f.call.res.error, f.call.res.attempts,
                     f.call.res.text);
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

/* ---- the order of what comes, and how much of it ---- */

#define PREFIX(key) "<CommonPrefixes><Prefix>" key "</Prefix></CommonPrefixes>"
#define CUT "<IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken>"

struct told {
    const char *body; /* in ListBucketResult */
    struct s3_list list;
    const char *want; /* entries, each with a newline */
    bool truncated, token;
};

static void check_told(const struct told *t)
{
    struct fixture f;
    char text[4096];

    snprintf(text, sizeof(text), OK "<ListBucketResult>%s</ListBucketResult>", t->body);
    fixture_begin(&f, SCRIPT({.text = text, .end = SERVER_CLOSE}));
    list(&f, &t->list);
    assert_int_equal(f.call.res.error, 0);
    assert_string_equal(f.call.data.data ? f.call.data.data : "", t->want);
    assert_int_equal(f.call.res.truncated, t->truncated);
    assert_int_equal(f.call.res.next_token != NULL, t->token);
    fixture_end(&f);
}

static void test_any_order(void **state)
{
    static const char want[] = "a/\nb\nb/\nc\nd/\n";

    (void)state;
    check_told(&(struct told){
        ENTRY("b") ENTRY("c") PREFIX("a/") PREFIX("b/") PREFIX("d/"), {0}, want, false, false});
    check_told(&(struct told){
        PREFIX("d/") PREFIX("a/") PREFIX("b/") ENTRY("c") ENTRY("b"), {0}, want, false, false});
    /* each once, and of a marker and its prefix the prefix */
    check_told(&(struct told){ENTRY("b") PREFIX("a/") ENTRY("d/") PREFIX("b/") ENTRY("c")
                                  PREFIX("d/") ENTRY("b") PREFIX("a/"),
                              {0},
                              want,
                              false,
                              false});
    /* bytes, not letters of some language; unsigned */
    check_told(&(struct told){ENTRY("\xc3\xa9") ENTRY("a") ENTRY("B") ENTRY("~"),
                              {0},
                              "B\na\n~\n\xc3\xa9\n",
                              false,
                              false});
}

static void test_more_than_asked_for(void **state)
{
    (void)state;
    /* all at once: the smallest, and no token would tell of the rest */
    check_told(&(struct told){ENTRY("e") ENTRY("d") ENTRY("c") ENTRY("b") ENTRY("a") PREFIX("a/"),
                              {.max_keys = 2},
                              "a\na/\n",
                              true,
                              false});
    check_told(&(struct told){CUT ENTRY("e") ENTRY("d") ENTRY("c") ENTRY("b") ENTRY("a"),
                              {.max_keys = 1},
                              "a\n",
                              true,
                              false});
    /* a page that is as it should be */
    check_told(&(struct told){CUT ENTRY("b") PREFIX("a/"), {.max_keys = 2}, "a/\nb\n", true, true});
    check_told(&(struct told){CUT ENTRY("a") PREFIX("b/"), {.max_keys = 2}, "a\nb/\n", true, true});
    /* prefixes that the server has not counted: keys may be missing between them */
    check_told(&(struct told){CUT ENTRY("b") ENTRY("d") PREFIX("a/") PREFIX("e/") PREFIX("g/"),
                              {.max_keys = 4},
                              "a/\nb\nd\n",
                              true,
                              false});
    check_told(&(struct told){
        CUT PREFIX("a/") PREFIX("b/") PREFIX("c/"), {.max_keys = 2}, "a/\nb/\n", true, false});
}

static void test_start_after_is_held(void **state)
{
    (void)state;
    check_told(&(struct told){ENTRY("a") ENTRY("b") ENTRY("c") PREFIX("b/") PREFIX("a/"),
                              {.start_after = "b"},
                              "b/\nc\n",
                              false,
                              false});
    check_told(&(struct told){ENTRY("d") PREFIX("b/") PREFIX("c/"),
                              {.start_after = "b/\xf4\x8f\xbf\xbf"},
                              "c/\nd\n",
                              false,
                              false});
    /* a server that begins with the first again: nothing new, but its token */
    check_told(&(struct told){
        CUT ENTRY("a") ENTRY("b"), {.start_after = "b", .max_keys = 2}, "", true, true});
    check_told(&(struct told){CUT ENTRY("a") ENTRY("b") PREFIX("c/"),
                              {.start_after = "b", .max_keys = 2},
                              "",
                              true,
                              true});
    check_told(&(struct told){CUT, {.start_after = "b"}, "", true, true});
}

static void test_token_instead(void **state)
{
    struct s3_list l = {.start_after = "b", .token = "t+/=", .max_keys = 2};
    struct fixture f;

    (void)state;
    fixture_begin(
        &f, SCRIPT({.text = OK "<ListBucketResult>" ENTRY("b") ENTRY("c") "</ListBucketResult>",
                    .end = SERVER_CLOSE}));
    list(&f, &l);
    assert_string_equal(f.call.data.data, "c\n");
    assert_non_null(strstr(server_request(f.server, 0)->head,
                           "&max-keys=2&prefix=&continuation-token=t%2B%2F%3D HTTP"));
    fixture_end(&f);
}

/* 4,500 entries, shuffled, to a client that asked for 1,000. */
static void test_huge_page(void **state)
{
    static const char entry[] = "<Contents><Key>k%04u</Key><Size>1</Size></Contents>";
    size_t cap = 4500 * sizeof(entry) + 200, len;
    struct fixture f;
    char *text = malloc(cap);

    (void)state;
    assert_non_null(text);
    len = (size_t)snprintf(text, cap, OK "<ListBucketResult>");
    for (unsigned i = 0; i < 4500; i++)
        len += (size_t)snprintf(text + len, cap - len, entry, i * 1999 % 4500);
    snprintf(text + len, cap - len, "</ListBucketResult>");
    fixture_begin(&f, SCRIPT({.text = text, .end = SERVER_CLOSE}));
    list(&f, &(struct s3_list){0});
    assert_int_equal(f.call.res.error, 0);
    assert_int_equal(f.call.res.n_entries, S3_LIST_MAX);
    assert_true(f.call.res.truncated);
    for (unsigned i = 0; i < S3_LIST_MAX; i++) {
        char want[16];

        snprintf(want, sizeof(want), "k%04u\n", i);
        assert_memory_equal(f.call.data.data + 6 * i, want, 6);
    }
    fixture_end(&f);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_page),
        cmocka_unit_test(test_last_page),
        cmocka_unit_test(test_restart),
        cmocka_unit_test(test_no_page),
        cmocka_unit_test(test_callers_no),
        cmocka_unit_test(test_any_order),
        cmocka_unit_test(test_more_than_asked_for),
        cmocka_unit_test(test_start_after_is_held),
        cmocka_unit_test(test_token_instead),
        cmocka_unit_test(test_huge_page),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
