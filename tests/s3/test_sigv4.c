/* SigV4 against AWS's published vectors, in $SIGV4_VECTORS or ../shared/sigv4 beside the source
 * tree, and by itself: S3's rules, limits, the cache of signing keys. sigv4_differential.py
 * compares with botocore. */
#include <dirent.h>
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

#include "base/fd.h"
#include "s3/s3_hash.h"
#include "s3/s3_sigv4.h"

#define TEXT_MAX 65536

/* ---- one vector ---- */

struct vector {
    const char *name;
    char text[TEXT_MAX];    /* the request */
    char context[TEXT_MAX]; /* JSON */
    char token[S3_SESSION_TOKEN_MAX];
    char date[32];
    char hash[S3_HASH_HEX_MAX];
    struct s3_sigv4_header headers[32];
    struct s3_sigv4_request req;
};

static char folder[4096];

static void read_part(const char *name, const char *file, char *to)
{
    char path[8192];

    snprintf(path, sizeof(path), "%s/%s/%s", folder, name, file);
    assert_true(fd_read_file(path, to, TEXT_MAX) >= 0);
}

/* The value of a string or word in our flat JSON; "" if absent. */
static void json(const char *text, const char *key, char *to, size_t cap)
{
    char pattern[64];
    const char *p;
    size_t len;

    snprintf(pattern, sizeof(pattern), "\"%s\":", key);
    p = strstr(text, pattern);
    to[0] = '\0';
    if (!p)
        return;
    p += strlen(pattern);
    p += strspn(p, " \"");
    len = strcspn(p, "\",\n}");
    assert_true(len < cap);
    memcpy(to, p, len);
    to[len] = '\0';
}

static bool json_true(const char *text, const char *key)
{
    char word[16];

    json(text, key, word, sizeof(word));
    return strcmp(word, "true") == 0;
}

static void add(struct vector *v, const char *name, const char *value)
{
    v->headers[v->req.n_headers++] = (struct s3_sigv4_header){name, value};
}

/* "2015-08-30T12:36:00Z" -> "20150830T123600Z" */
static void compact(const char *from, char *to)
{
    for (; *from; from++) {
        if (*from != '-' && *from != ':')
            *to++ = *from;
    }
    *to = '\0';
}

/* Splits the request in place; returns the body. */
static char *split(struct vector *v)
{
    char *line = v->text, *end = strstr(line, " HTTP/1.1\n"), *query;
    char *next = end + strlen(" HTTP/1.1\n");

    *end = '\0';
    v->req.method = line;
    v->req.path = strchr(line, ' ') + 1;
    line[strcspn(line, " ")] = '\0';
    query = strchr(v->req.path, '?');
    v->req.query = query ? query + 1 : "";
    if (query)
        *query = '\0';
    while (*next && *next != '\n') {
        char *header = next, *colon = strchr(header, ':');

        next = strchrnul(header, '\n');
        while (next[0] == '\n' && next[1] == ' ') /* folded */
            next = strchrnul(next + 1, '\n');
        if (*next)
            *next++ = '\0';
        *colon = '\0';
        add(v, header, colon + 1);
    }
    return *next ? next + 1 : next;
}

static void parse_vector(struct vector *v)
{
    struct s3_hash h;
    struct s3_body body = {.fd = -1};
    char stamp[64];

    read_part(v->name, "request.txt", v->text);
    read_part(v->name, "context.json", v->context);
    body.mem = split(v);
    body.len = strlen(body.mem);
    s3_hash_init(&h, true, S3_CRC_NONE);
    assert_int_equal(s3_hash_body(&h, &body, 0, body.len), 0);
    s3_hash_hex(&h, v->hash);
    v->req.payload_hash = v->hash;
    v->req.headers = v->headers;
    v->req.encode_path = true;
    v->req.normalize_path = json_true(v->context, "normalize");
    json(v->context, "timestamp", stamp, sizeof(stamp));
    compact(stamp, v->date);
    add(v, "X-Amz-Date", v->date);
    if (json_true(v->context, "sign_body"))
        add(v, "x-amz-content-sha256", v->hash);
    json(v->context, "token", v->token, sizeof(v->token));
    if (*v->token && !json_true(v->context, "omit_session_token"))
        add(v, "X-Amz-Security-Token", v->token);
}

static void check_vector(const char *name)
{
    static struct vector v;
    static char want[TEXT_MAX];
    struct buf canonical, names;
    struct s3_cred cred = {.generation = 1};
    char secret[S3_SECRET_MAX], region[64], service[64], auth[S3_SIGV4_AUTH_MAX];
    struct s3_sigv4_scope scope = {region, service, v.date};

    v = (struct vector){.name = name};
    parse_vector(&v);
    json(v.context, "region", region, sizeof(region));
    json(v.context, "service", service, sizeof(service));
    json(v.context, "access_key_id", cred.access_key, sizeof(cred.access_key));
    json(v.context, "secret_access_key", secret, sizeof(secret));
    buf_init(&canonical, S3_SIGV4_CANONICAL_MAX);
    buf_init(&names, 4096);
    assert_int_equal(s3_sigv4_canonical(&v.req, &canonical, &names), 0);
    read_part(name, "header-canonical-request.txt", want);
    assert_string_equal(canonical.data, want);
    assert_int_equal(s3_sigv4_derive(secret, &scope, cred.key), 0);
    assert_int_equal(s3_sigv4_sign(&v.req, &scope, &cred, auth, sizeof(auth)), 0);
    read_part(name, "header-signature.txt", want);
    want[strcspn(want, "\n")] = '\0';
    assert_string_equal(strstr(auth, "Signature=") + 10, want);
    read_part(name, "header-signed-request.txt", want);
    assert_non_null(strstr(want, auth));
    buf_done(&canonical);
    buf_done(&names);
}

static bool find_folder(void)
{
    const char *given = getenv("SIGV4_VECTORS"), *src = getenv("srcdir");
    DIR *d;

    if (given && *given)
        snprintf(folder, sizeof(folder), "%s", given);
    else
        snprintf(folder, sizeof(folder), "%s/../shared/sigv4", src && *src ? src : ".");
    d = opendir(folder);
    if (d)
        closedir(d);
    return d != NULL;
}

static void test_vectors(void **state)
{
    struct dirent *e;
    unsigned n = 0;
    DIR *d;

    (void)state;
    if (!find_folder()) {
        print_message("SKIPPED: no SigV4 vectors in %s (set SIGV4_VECTORS)\n", folder);
        skip();
    }
    d = opendir(folder);
    while ((e = readdir(d))) {
        if (e->d_name[0] == '.')
            continue;
        check_vector(e->d_name);
        n++;
    }
    closedir(d);
    print_message("%u vectors\n", n);
    assert_true(n >= 38);
}

/* ---- by itself ---- */

static const struct s3_sigv4_header host[] = {{"Host", "h"}};

static void canonical_is(const struct s3_sigv4_request *req, const char *want)
{
    struct buf canonical, names;

    buf_init(&canonical, S3_SIGV4_CANONICAL_MAX);
    buf_init(&names, 4096);
    assert_int_equal(s3_sigv4_canonical(req, &canonical, &names), 0);
    assert_string_equal(canonical.data, want);
    buf_done(&canonical);
    buf_done(&names);
}

/* S3 signs the path as it is sent. */
static void test_s3_rules(void **state)
{
    const struct s3_sigv4_header headers[] = {
        {"x-amz-date", "D"}, {"Host", " h "}, {"x-b", "  a \t b  "}};
    struct s3_sigv4_request req = {
        .method = "GET",
        .path = "/b/a%20b/./%2E//c",
        .query = "prefix=a%2Fb&list-type=2&x",
        .headers = headers,
        .n_headers = 3,
        .payload_hash = "UNSIGNED-PAYLOAD",
    };

    (void)state;
    canonical_is(&req, "GET\n/b/a%20b/./%2E//c\n"
                       "list-type=2&prefix=a%2Fb&x=\n"
                       "host:h\nx-amz-date:D\nx-b:a b\n\n"
                       "host;x-amz-date;x-b\nUNSIGNED-PAYLOAD");
}

static void test_normalize(void **state)
{
    static const struct {
        const char *path, *want;
    } cases[] = {
        {"", "/"},          {"/", "/"},
        {"/a/", "/a/"},     {"/a/.", "/a/"},
        {"/a/..", "/"},     {"/a/../..", "/"},
        {"/../a", "/a"},    {"//a//b//", "/a/b/"},
        {"/a/./b", "/a/b"}, {"/a/b/../c", "/a/c"},
        {"/...", "/..."},   {"/.a/..b", "/.a/..b"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char want[128];
        struct s3_sigv4_request req = {.method = "GET",
                                       .path = cases[i].path,
                                       .query = "",
                                       .headers = host,
                                       .n_headers = 1,
                                       .payload_hash = "x",
                                       .normalize_path = true};

        snprintf(want, sizeof(want), "GET\n%s\n\nhost:h\n\nhost\nx", cases[i].want);
        canonical_is(&req, want);
    }
}

static void test_limits(void **state)
{
    static struct s3_sigv4_header many[S3_SIGV4_HEADERS_MAX + 1];
    static char query[(S3_SIGV4_QUERY_MAX + 2) * 2 + 1];
    struct s3_sigv4_request req = {.method = "GET",
                                   .path = "/",
                                   .query = "",
                                   .headers = many,
                                   .n_headers = S3_SIGV4_HEADERS_MAX + 1,
                                   .payload_hash = "x"};
    struct buf canonical, names;

    (void)state;
    buf_init(&canonical, S3_SIGV4_CANONICAL_MAX);
    buf_init(&names, 4096);
    for (size_t i = 0; i <= S3_SIGV4_HEADERS_MAX; i++)
        many[i] = host[0];
    assert_int_equal(s3_sigv4_canonical(&req, &canonical, &names), -E2BIG);
    req.n_headers = 1;
    for (size_t i = 0; i < S3_SIGV4_QUERY_MAX + 1; i++)
        strcat(query, "a&");
    req.query = query;
    assert_int_equal(s3_sigv4_canonical(&req, &canonical, &names), -E2BIG);
    buf_done(&canonical);
    buf_done(&names);
}

/* Limits of the secret and of the header. */
static void test_key(void **state)
{
    struct s3_sigv4_request req = {.method = "GET",
                                   .path = "/",
                                   .query = "",
                                   .headers = host,
                                   .n_headers = 1,
                                   .payload_hash = "x"};
    struct s3_cred cred = {.access_key = "A", .generation = 1};
    struct s3_sigv4_scope scope = {"r", "s3", "20150830T123600Z"};
    char secret[S3_SECRET_MAX + 1], auth[S3_SIGV4_AUTH_MAX];

    (void)state;
    memset(secret, 'x', sizeof(secret));
    secret[S3_SECRET_MAX] = '\0';
    assert_int_equal(s3_sigv4_derive(secret, &scope, cred.key), -E2BIG);
    secret[S3_SECRET_MAX - 1] = '\0';
    assert_int_equal(s3_sigv4_derive(secret, &scope, cred.key), 0);
    assert_int_equal(s3_sigv4_sign(&req, &scope, &cred, auth, sizeof(auth)), 0);
    assert_int_equal(s3_sigv4_sign(&req, &scope, &cred, auth, 40), -E2BIG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vectors),   cmocka_unit_test(test_s3_rules),
        cmocka_unit_test(test_normalize), cmocka_unit_test(test_limits),
        cmocka_unit_test(test_key),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
