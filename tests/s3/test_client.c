/* The client against a scripted server: trying again, outages, deadlines, garbage, cancelling,
 * HEAD. */
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
#include "s3/s3_time.h"

#define EMPTY(status) "HTTP/1.1 " status "\r\nContent-Length: 0\r\n\r\n"
#define GOT "HTTP/1.1 200 OK\r\nETag: \"e\"\r\nContent-Length: 2\r\n\r\nhi"

static const struct s3_get get_k = {.key = "k"};

static void succeeded(const struct fixture *f, unsigned attempts)
{
    if (f->call.res.error)
        fail_msg("%s", f->call.res.text);
    assert_int_equal(f->call.res.attempts, attempts);
    assert_int_equal(s3_in_flight(f->client), 0);
}

static void failed(const struct fixture *f, int error, unsigned attempts)
{
    if (f->call.res.error != -error)
        fail_msg("%d: %s", f->call.res.error, f->call.res.text);
    assert_true(*f->call.res.text);
    if (attempts)
        assert_int_equal(f->call.res.attempts, attempts);
    assert_int_equal(s3_in_flight(f->client), 0);
}

static void test_answered(void **state)
{
    struct fixture f;

    (void)state;
    fixture_begin(&f, SCRIPT({.text = EMPTY("500 Oops")},
                             {.text = EMPTY("502 Oops"), .end = SERVER_CLOSE}, {.text = GOT},
                             {.text = EMPTY("500 Oops")}));
    fixture_get(&f, &get_k);
    succeeded(&f, 3);
    fixture_get(&f, &get_k);
    failed(&f, EIO, 3);
    assert_int_equal(f.call.res.http_status, 500);
    assert_int_equal(server_count(f.server), 6);
    /* one attempt means one */
    f.conf.max_attempts = 1;
    fixture_client(&f);
    fixture_get(&f, &get_k);
    failed(&f, EIO, 1);
    server_shut(f.server);
    server_drop_all(f.server);
    fixture_get(&f, &get_k);
    failed(&f, ECONNREFUSED, 1);
    assert_int_equal(f.call.res.fail, S3_FAIL_CONNECT);
    fixture_end(&f);
}

static void test_retry_after(void **state)
{
    struct fixture f;
    uint64_t begin = clock_mono_ns();

    (void)state;
    fixture_begin(&f, SCRIPT({.text = "HTTP/1.1 503 Slow\r\nRetry-After: 1\r\n"
                                      "Content-Length: 0\r\n\r\n"},
                             {.text = GOT},
                             {.text = "HTTP/1.1 503 Slow\r\nRetry-After: 60"
                                      "\r\nContent-Length: 0\r\n\r\n"}));
    fixture_get(&f, &get_k);
    succeeded(&f, 2);
    assert_in_range(clock_mono_ns() - begin, NS_PER_S, 2 * NS_PER_S);
    /* longer than the deadline: at once */
    begin = clock_mono_ns();
    fixture_get(&f, &get_k);
    failed(&f, ETIMEDOUT, 1);
    assert_in_range(clock_mono_ns() - begin, 0, NS_PER_S / 2);
    fixture_end(&f);
}

struct outage {
    struct loop_timer timer;
    struct fixture *f;
};

static void outage_over(struct loop_timer *t)
{
    server_open(((struct outage *)t)->f->server);
}

/* Nobody sees an outage that is shorter than the deadline, though it takes more than
 * max_attempts. */
static void test_outage(void **state)
{
    struct fixture f;
    struct outage o = {.timer = {.on_time = outage_over}, .f = &f};

    (void)state;
    fixture_begin(&f, SCRIPT({.text = GOT}));
    server_shut(f.server);
    loop_timer_set(f.loop, &o.timer, 1500 * NS_PER_MS);
    fixture_get(&f, &get_k);
    succeeded(&f, f.call.res.attempts);
    assert_true(f.call.res.attempts > 3);
    /* a longer one */
    server_shut(f.server);
    server_drop_all(f.server);
    f.conf.deadline_ns = NS_PER_S;
    fixture_client(&f);
    fixture_get(&f, &get_k);
    failed(&f, ECONNREFUSED, 0);
    assert_int_equal(f.call.res.fail, S3_FAIL_CONNECT);
    fixture_end(&f);
}

/* Answers that never come: the stall is seen, another connection tried, the deadline ends it. */
static void test_silence(void **state)
{
    struct fixture f;
    uint64_t begin = clock_mono_ns();

    (void)state;
    fixture_begin(&f, SCRIPT({.text = NULL}, {.text = GOT}, {.text = "HTTP/1.1 200 OK\r\n"},
                             {.text = GOT}, {.text = NULL}));
    for (int i = 0; i < 2; i++) {
        fixture_get(&f, &get_k);
        succeeded(&f, 2);
    }
    assert_in_range(clock_mono_ns() - begin, 800 * NS_PER_MS, 2 * NS_PER_S);
    begin = clock_mono_ns();
    fixture_get(&f, &get_k);
    failed(&f, ETIMEDOUT, 0);
    assert_int_equal(f.call.res.fail, S3_FAIL_STALLED);
    assert_in_range(clock_mono_ns() - begin, 2 * NS_PER_S, 4 * NS_PER_S);
    fixture_end(&f);
}

static char *many(const char *part, size_t n, const char *before)
{
    char *text = malloc(strlen(before) + strlen(part) * n + 1);
    char *at = text;

    assert_non_null(text);
    at += sprintf(at, "%s", before);
    for (size_t i = 0; i < n; i++)
        at += sprintf(at, "%s", part);
    return text;
}

static void garbage(const char *text, enum s3_fail fail)
{
    struct fixture f;

    fixture_begin(&f, SCRIPT({.text = text, .end = SERVER_CLOSE}));
    f.conf.deadline_ns = NS_PER_S / 2;
    fixture_client(&f);
    fixture_get(&f, &get_k);
    assert_true(f.call.res.error < 0);
    if (fail && f.call.res.fail != fail)
        fail_msg("%d: %s", f.call.res.fail, f.call.res.text);
    assert_int_equal(f.call.data.len, 0);
    fixture_end(&f);
}

static void test_garbage(void **state)
{
    char *text;

    (void)state;
    garbage("garbage\r\n\r\nmore", S3_FAIL_PROTOCOL);
    garbage("\r\n\r\n", S3_FAIL_NONE);
    garbage("SSH-2.0-OpenSSH_9.2\r\n", S3_FAIL_NONE);
    garbage("HTTP/1.1 abc\r\n\r\n", S3_FAIL_NONE);
    garbage("HTTP/1.1 99999 X\r\n\r\n", S3_FAIL_NONE);
    garbage("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", S3_FAIL_NONE);
    garbage("HTTP/1.1 200 OK\r\nContent-Length: 1x\r\n\r\n1", S3_FAIL_NONE);
    garbage("HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\n", S3_FAIL_NONE);
    garbage("HTTP/1.1 200 OK\r\n\r\nno length", S3_FAIL_PROTOCOL);
    garbage("HTTP/1.1 200 OK\r\nNo colon\r\n\r\n", S3_FAIL_NONE);
    text = many("X-A: b\r\n", 1000, "HTTP/1.1 200 OK\r\n");
    garbage(text, S3_FAIL_PROTOCOL);
    free(text);
    text = many("aaaaaaaaaaaaaaaa", 8192, "HTTP/1.1 200 OK\r\nX: ");
    garbage(text, S3_FAIL_NONE);
    free(text);
    text = many("HTTP/1.1 100 Continue\r\n\r\n", 1000, "");
    garbage(text, S3_FAIL_PROTOCOL);
    free(text);
}

/* Headers that do not fit are left out, not cut, and the answer is good. */
static void test_long_headers(void **state)
{
    char *value = many("v", 3000, ""), *text = malloc(16384);
    struct fixture f;

    (void)state;
    assert_non_null(text);
    snprintf(text, 16384,
             "HTTP/1.1 200 OK\r\nETag: \"%.100s\"\r\nx-amz-meta-a: 1\r\n"
             "x-amz-meta-long: %s\r\nx-amz-meta-b: 2\r\nLast-Modified: never"
             "\r\nX-Long: %s%s\r\nContent-Length: 2\r\n\r\nhi",
             value, value, value, value);
    fixture_begin(&f, SCRIPT({.text = text}));
    fixture_get(&f, &get_k);
    succeeded(&f, 1);
    assert_string_equal(f.call.head.etag, "");
    assert_int_equal(f.call.head.mtime_ns, 0);
    assert_string_equal(s3_object_meta(&f.call.head, "a"), "1");
    assert_string_equal(s3_object_meta(&f.call.head, "b"), "2");
    assert_null(s3_object_meta(&f.call.head, "long"));
    fixture_end(&f);
    free(text);
    free(value);
}

/* A refusal in HTML, of any size, is a refusal. */
static void test_html(void **state)
{
    char *page = many("<p>no</p>", 30000, "<html>"), *text;
    struct fixture f;

    (void)state;
    text = malloc(strlen(page) + 200);
    assert_non_null(text);
    sprintf(text, "HTTP/1.1 403 Forbidden\r\nContent-Length: %zu\r\n\r\n%s", strlen(page), page);
    fixture_begin(&f, SCRIPT({.text = text}));
    fixture_get(&f, &get_k);
    failed(&f, EACCES, 0);
    assert_string_equal(f.call.res.code, "");
    fixture_end(&f);
    free(text);
    free(page);
}

static void test_region(void **state)
{
    struct fixture f;

    (void)state;
    fixture_begin(&f, SCRIPT({.text = "HTTP/1.1 301 Moved Permanently\r\nLocation: "
                                      "http://127.0.0.1:1/\r\nx-amz-bucket-region: "
                                      "eu-west-1\r\nContent-Length: 109\r\n\r\n" ERROR_DOC(
                                          "PermanentRedirect")}));
    fixture_get(&f, &get_k);
    failed(&f, EIO, 1);
    assert_string_equal(f.call.res.region, "eu-west-1");
    assert_string_equal(f.call.res.code, "PermanentRedirect");
    assert_string_equal(f.call.res.text, "GET: 301 PermanentRedirect: because");
    fixture_end(&f);
}

/* Our clock is wrong: the server's is used from then on. */
static void test_skew(void **state)
{
    struct fixture f;
    char today[S3_TIME_AMZ_MAX];

    (void)state;
    fixture_begin(&f, SCRIPT({.text = "HTTP/1.1 403 Forbidden\r\nDate: Sun, 30 Aug 2015 "
                                      "12:36:00 GMT\r\nContent-Length: 112\r\n\r\n" ERROR_DOC(
                                          "RequestTimeTooSkewed")},
                             {.text = GOT}));
    fixture_get(&f, &get_k);
    succeeded(&f, 2);
    s3_time_amz(clock_wall_ns(), today);
    assert_memory_equal(server_header(f.server, 0, "x-amz-date"), today, 8);
    assert_memory_equal(server_header(f.server, 1, "x-amz-date"), "20150830T", 9);
    fixture_get(&f, &get_k);
    succeeded(&f, 1);
    assert_memory_equal(server_header(f.server, 2, "x-amz-date"), "20150830T", 9);
    /* once */
    server_script(f.server, SCRIPT({.text = "HTTP/1.1 403 Forbidden\r\nDate: Sun, 30 Aug "
                                            "2015 14:36:00 GMT\r\nContent-Length: 112"
                                            "\r\n\r\n" ERROR_DOC("RequestTimeTooSkewed")}));
    fixture_get(&f, &get_k);
    failed(&f, EACCES, 2);
    fixture_end(&f);
}

/* ---- HEAD ---- */

static void head(struct fixture *f)
{
    f->call.done = 0;
    assert_int_equal(s3_head(f->client, "k", call_done, &f->call, NULL), 0);
    fixture_wait(f, &f->call);
}

#define NO_SUCH_KEY "HTTP/1.1 404 Not Found\r\nContent-Length: 101\r\n\r\n" ERROR_DOC("NoSuchKey")

static void test_head(void **state)
{
    struct fixture f;

    (void)state;
    fixture_begin(&f, SCRIPT({.text = "HTTP/1.1 200 OK\r\nETag: \"e\"\r\n"
                                      "x-amz-meta-a: b\r\n"
                                      "Content-Length: 12345678901\r\n\r\n"},
                             {.text = EMPTY("404 Not Found")}));
    head(&f);
    succeeded(&f, 1);
    assert_true(f.call.res.obj.size == 12345678901);
    assert_string_equal(f.call.res.obj.etag, "\"e\"");
    assert_string_equal(s3_object_meta(&f.call.res.obj, "a"), "b");
    /* the credentials proved good just now */
    head(&f);
    failed(&f, ENOENT, 1);
    assert_string_equal(f.call.res.code, "NoSuchKey");
    fixture_end(&f);
}

/* A bare 404 before anything succeeded says nothing: it is asked with GET. */
static void test_head_bare_404(void **state)
{
    static const struct {
        const char *second;
        int error;
        unsigned attempts;
        uint64_t size;
    } cases[] = {
        {NO_SUCH_KEY, ENOENT, 2, 0},
        {"HTTP/1.1 404 Not Found\r\nContent-Length: 110\r\n\r\n" ERROR_DOC("XAdminUserNotFound"),
         EACCES, 2, 0},
        {EMPTY("404 Not Found"), EIO, 4, 0},
        {"HTTP/1.1 206 OK\r\nContent-Range: bytes 0-0/77\r\nContent-Length: 1"
         "\r\n\r\nx",
         0, 2, 77},
        {"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nx", 0, 2, 1000000},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct fixture f;

        fixture_begin(&f, SCRIPT({.text = EMPTY("404 Not Found")}, {.text = cases[i].second}));
        head(&f);
        if (cases[i].error)
            failed(&f, cases[i].error, cases[i].attempts);
        else
            succeeded(&f, cases[i].attempts);
        assert_int_equal(f.call.res.obj.size, cases[i].size);
        assert_memory_equal(server_request(f.server, 1)->head, "GET ", 4);
        assert_string_equal(server_header(f.server, 1, "range"), "bytes=0-0");
        fixture_end(&f);
    }
}

/* ---- many at once, and cancelling ---- */

#define MANY 60

static void test_many(void **state)
{
    struct call calls[MANY];
    struct fixture f;

    (void)state;
    fixture_begin(&f, SCRIPT({.text = GOT}));
    for (int i = 0; i < MANY; i++) {
        struct s3_get get = {.key = "k", .on_head = call_on_head, .on_data = call_on_data};

        call_init(&calls[i]);
        assert_int_equal(s3_get(f.client, &get, call_done, &calls[i], NULL), 0);
    }
    assert_int_equal(s3_in_flight(f.client), MANY);
    for (int i = 0; i < MANY; i++) {
        fixture_wait(&f, &calls[i]);
        assert_int_equal(calls[i].res.error, 0);
        assert_string_equal(calls[i].data.data, "hi");
        call_end(&calls[i]);
    }
    assert_in_range(server_most_open(f.server), 2, 4);
    assert_in_range(server_connections(f.server), 2, 4);
    fixture_end(&f);
}

static void test_cancel(void **state)
{
    struct s3_req *reqs[12];
    struct fixture f;

    (void)state;
    fixture_begin(&f, SCRIPT({.text = NULL}));
    for (int i = 0; i < 12; i++)
        assert_int_equal(s3_get(f.client, &get_k, call_done, &f.call, &reqs[i]), 0);
    s3_cancel(reqs[0]); /* was never begun */
    fixture_turn(&f, 50 * NS_PER_MS);
    assert_int_equal(server_count(f.server), 4);
    s3_cancel(reqs[1]);  /* waits for its answer */
    s3_cancel(reqs[11]); /* waits for a connection */
    fixture_turn(&f, 50 * NS_PER_MS);
    assert_int_equal(server_count(f.server), 5);
    fixture_turn(&f, 400 * NS_PER_MS); /* stalled: they wait between attempts */
    for (int i = 2; i < 11; i++)
        s3_cancel(reqs[i]);
    assert_int_equal(s3_in_flight(f.client), 0);
    fixture_turn(&f, 50 * NS_PER_MS);
    assert_int_equal(f.call.done, 0);
    /* and the client still works */
    server_script(f.server, SCRIPT({.text = GOT}));
    fixture_get(&f, &get_k);
    succeeded(&f, 1);
    fixture_end(&f);
}

struct canceller {
    struct call call;
    struct fixture *f;
    struct s3_req *other;
    struct call started; /* by a callback */
};

static int cancel_in_data(void *arg, uint64_t off, const void *data, size_t len)
{
    struct canceller *c = arg;
    struct s3_get get = get_k;

    (void)off, (void)data, (void)len;
    if (c->other)
        s3_cancel(c->other);
    c->other = NULL;
    call_init(&c->started);
    assert_int_equal(s3_get(c->f->client, &get, call_done, &c->started, NULL), 0);
    assert_int_equal(c->started.done, 0);
    return 0;
}

/* From inside a callback of curl: another request, in flight, is cancelled, a third begun. */
static void test_cancel_inside(void **state)
{
    struct s3_get get = {.key = "k", .on_data = cancel_in_data};
    struct fixture f;
    struct canceller c = {.f = &f};

    (void)state;
    call_init(&c.call);
    fixture_begin(&f, SCRIPT({.text = NULL}, {.text = GOT}));
    assert_int_equal(s3_get(f.client, &get_k, call_done, &f.call, &c.other), 0);
    fixture_turn(&f, 50 * NS_PER_MS);
    assert_int_equal(s3_get(f.client, &get, call_done, &c, NULL), 0);
    fixture_wait(&f, &c.call);
    assert_int_equal(c.call.res.error, 0);
    fixture_wait(&f, &c.started);
    assert_int_equal(c.started.res.error, 0);
    assert_int_equal(f.call.done, 0);
    assert_int_equal(s3_in_flight(f.client), 0);
    fixture_end(&f);
}

struct chain {
    struct fixture *f;
    unsigned left;
};

static void chain_done(void *arg, const struct s3_result *res)
{
    struct chain *c = arg;

    assert_int_equal(res->error, 0);
    if (--c->left > 0)
        assert_int_equal(s3_get(c->f->client, &get_k, chain_done, c, NULL), 0);
}

/* Requests begun in `done`; and a client freed with requests in every state. */
static void test_chain_and_free(void **state)
{
    struct fixture f;
    struct chain c = {.f = &f, .left = 20};

    (void)state;
    fixture_begin(&f, SCRIPT({.text = GOT}));
    assert_int_equal(s3_get(f.client, &get_k, chain_done, &c, NULL), 0);
    while (c.left > 0)
        assert_int_equal(loop_turn(f.loop), 0);
    server_script(f.server, SCRIPT({.text = EMPTY("500 Oops")}, {.text = NULL}));
    for (int i = 0; i < 10; i++)
        assert_int_equal(s3_get(f.client, &get_k, call_done, &f.call, NULL), 0);
    fixture_turn(&f, 20 * NS_PER_MS);
    s3_client_free(f.client);
    f.client = NULL;
    fixture_turn(&f, 20 * NS_PER_MS);
    assert_int_equal(f.call.done, 0);
    fixture_end(&f);
}

/* ---- set-up ---- */

static int no_cred(struct s3_cred_source *src, const struct s3_sigv4_scope *scope,
                   struct s3_cred *ret_cred)
{
    (void)src, (void)scope, (void)ret_cred;
    return -ENOKEY;
}

static void test_no_credentials(void **state)
{
    static const struct s3_cred_ops ops = {.get = no_cred};
    struct s3_cred_source none = {&ops}, *good;
    struct fixture f;

    (void)state;
    fixture_begin(&f, SCRIPT({.text = GOT}));
    good = f.creds;
    f.creds = &none;
    fixture_client(&f);
    f.creds = good;
    fixture_get(&f, &get_k);
    failed(&f, EACCES, 0);
    assert_int_equal(f.call.res.fail, S3_FAIL_CREDENTIALS);
    assert_int_equal(server_count(f.server), 0);
    fixture_end(&f);
}

#define DOC(status, doc) "HTTP/1.1 " status "\r\nConnection: close\r\n\r\n" doc

/* Credentials that another process renews: what it is asked for, and when others are there. */
struct renewed {
    struct s3_cred_source source;
    uint64_t generation;
    unsigned looks;       /* renew was called so often */
    unsigned new_at;      /* then others are there; 0 = never */
    unsigned hopeless_at; /* or none will come; 0 = never */
    bool no_day;          /* no key for that day until then */
};

static int renewed_get(struct s3_cred_source *src, const struct s3_sigv4_scope *scope,
                       struct s3_cred *ret_cred)
{
    struct renewed *r = (struct renewed *)src;

    (void)scope;
    if (r->no_day)
        return -EAGAIN;
    *ret_cred = (struct s3_cred){.generation = r->generation, .renewable = true};
    snprintf(ret_cred->access_key, sizeof(ret_cred->access_key), "KEY%d", (int)r->generation);
    return 0;
}

static enum s3_cred_news renewed_renew(struct s3_cred_source *src, uint64_t generation)
{
    struct renewed *r = (struct renewed *)src;

    r->looks++;
    if (r->hopeless_at && r->looks >= r->hopeless_at)
        return S3_CRED_NONE;
    if (r->looks == r->new_at) {
        r->generation++;
        r->no_day = false;
    }
    return generation == r->generation || r->no_day ? S3_CRED_SOON : S3_CRED_NEW;
}

static void renewed_begin(struct fixture *f, struct renewed *r)
{
    static const struct s3_cred_ops ops = {.get = renewed_get, .renew = renewed_renew};
    struct s3_cred_source *good = f->creds;

    r->source.ops = &ops;
    r->generation = 1;
    f->creds = &r->source;
    fixture_client(f);
    f->creds = good;
}

/* An expired token: the same request again with what came meanwhile, once. */
static void test_renewed(void **state)
{
    static const char *const codes[] = {"ExpiredToken", "InvalidToken", "InvalidAccessKeyId",
                                        "TokenRefreshRequired"};
    static const struct server_answer expired[] = {
        {.text = DOC("400 Bad Request", ERROR_DOC("ExpiredToken")), .end = SERVER_CLOSE},
        {.text = DOC("400 Bad Request", ERROR_DOC("InvalidToken")), .end = SERVER_CLOSE},
        {.text = DOC("403 Forbidden", ERROR_DOC("InvalidAccessKeyId")), .end = SERVER_CLOSE},
        {.text = DOC("400 Bad Request", ERROR_DOC("TokenRefreshRequired")), .end = SERVER_CLOSE},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(expired) / sizeof(expired[0]); i++) {
        struct renewed r = {.new_at = 3};
        struct fixture f;

        fixture_begin(&f, SCRIPT(expired[i], {.text = GOT}));
        renewed_begin(&f, &r);
        fixture_get(&f, &get_k);
        assert_int_equal(f.call.res.error, 0);
        assert_int_equal(f.call.res.attempts, 2);
        assert_non_null(strstr(server_request(f.server, 0)->head, "Credential=KEY1/"));
        assert_non_null(strstr(server_request(f.server, 1)->head, "Credential=KEY2/"));
        server_script(f.server, SCRIPT(expired[i], expired[i], {.text = GOT}));
        r.looks = 0;
        fixture_get(&f, &get_k); /* nor are the new ones taken: that is told */
        failed(&f, EACCES, 2);
        assert_string_equal(f.call.res.code, codes[i]);
        fixture_end(&f);
    }
}

/* None come, or not in time: what the server said is the result. */
static void test_not_renewed(void **state)
{
    struct renewed r = {.hopeless_at = 3};
    struct fixture f;

    (void)state;
    fixture_begin(&f, SCRIPT({.text = DOC("400 Bad Request", ERROR_DOC("ExpiredToken")),
                              .end = SERVER_CLOSE}));
    f.conf.deadline_ns = 300 * NS_PER_MS;
    renewed_begin(&f, &r);
    fixture_get(&f, &get_k);
    failed(&f, EACCES, 1);
    assert_string_equal(f.call.res.code, "ExpiredToken");
    r = (struct renewed){.source = r.source, .generation = 1};
    fixture_get(&f, &get_k);
    failed(&f, EACCES, 1);
    assert_true(r.looks > 3);
    fixture_end(&f);
}

/* A day without a key: it waits for one. */
static void test_renewed_day(void **state)
{
    struct renewed r = {.new_at = 2, .no_day = true};
    struct fixture f;

    (void)state;
    fixture_begin(&f, SCRIPT({.text = GOT}));
    renewed_begin(&f, &r);
    fixture_get(&f, &get_k);
    assert_int_equal(f.call.res.error, 0);
    assert_int_equal(f.call.res.attempts, 1);
    r = (struct renewed){.source = r.source, .generation = 1, .no_day = true, .hopeless_at = 3};
    fixture_get(&f, &get_k);
    failed(&f, EACCES, 0);
    assert_int_equal(f.call.res.fail, S3_FAIL_CREDENTIALS);
    fixture_end(&f);
}

static void renewed_head(struct fixture *f)
{
    call_init(&f->call);
    assert_int_equal(s3_head(f->client, "k", call_done, &f->call, NULL), 0);
    fixture_wait(f, &f->call);
}

/* HEAD has no code: a GET tells why, where it may be the credentials. */
static void test_renewed_head(void **state)
{
    struct renewed r = {.new_at = 2};
    struct fixture f;

    (void)state;
    fixture_begin(
        &f, SCRIPT({.text = EMPTY("400 Bad Request")},
                   {.text = DOC("400 Bad Request", ERROR_DOC("ExpiredToken")), .end = SERVER_CLOSE},
                   {.text = GOT}, {.text = EMPTY("403 Forbidden")},
                   {.text = DOC("403 Forbidden", ERROR_DOC("AccessDenied")), .end = SERVER_CLOSE}));
    renewed_begin(&f, &r);
    renewed_head(&f);
    assert_int_equal(f.call.res.error, 0);
    assert_string_equal(f.call.res.obj.etag, "\"e\"");
    assert_int_equal(server_count(f.server), 3);
    assert_true(strncmp(server_request(f.server, 0)->head, "HEAD", 4) == 0);
    assert_true(strncmp(server_request(f.server, 1)->head, "GET", 3) == 0);
    renewed_head(&f);
    failed(&f, EACCES, 2);
    assert_string_equal(f.call.res.code, "AccessDenied");
    fixture_end(&f);
}

static void refused(struct fixture *f, const char *word)
{
    struct s3_client *c = NULL;
    struct err err = {0};

    assert_int_equal(s3_client_new(f->loop, &f->conf, f->creds, &c, &err), -EINVAL);
    assert_null(c);
    if (!strstr(err.text, word))
        fail_msg("no \"%s\" in \"%s\"", word, err.text);
}

static void test_bad_conf(void **state)
{
    struct fixture f;

    (void)state;
    fixture_begin(&f, SCRIPT({.text = GOT}));
    f.conf.endpoint = "localhost:9000";
    refused(&f, "http://");
    f.conf.endpoint = "https://localhost:9000";
    f.conf.ca_bundle = "/no/such/file.pem";
    refused(&f, "/no/such/file.pem");
    f.conf.ca_bundle = "/dev/null";
    refused(&f, "/dev/null");
    f.conf.ca_bundle = "/proc/self/exe";
    refused(&f, "PEM");
    s3_client_free(NULL);
    fixture_end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answered),       cmocka_unit_test(test_retry_after),
        cmocka_unit_test(test_outage),         cmocka_unit_test(test_silence),
        cmocka_unit_test(test_garbage),        cmocka_unit_test(test_long_headers),
        cmocka_unit_test(test_html),           cmocka_unit_test(test_region),
        cmocka_unit_test(test_skew),           cmocka_unit_test(test_head),
        cmocka_unit_test(test_head_bare_404),  cmocka_unit_test(test_many),
        cmocka_unit_test(test_cancel),         cmocka_unit_test(test_cancel_inside),
        cmocka_unit_test(test_chain_and_free), cmocka_unit_test(test_no_credentials),
        cmocka_unit_test(test_bad_conf),       cmocka_unit_test(test_renewed),
        cmocka_unit_test(test_not_renewed),    cmocka_unit_test(test_renewed_day),
        cmocka_unit_test(test_renewed_head),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
