/* resolve.c and resolve_intern.c: which requests tell what a name is, and what the answers mean for
 * the name table. */
#include "workers/names/resolve.h"

#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "tests/shm/stores.h"
#include "tests/workers/s3_fixture.h"
#include "workers/read/fetch.h"

#define ENTRY(key)                                                                                 \
    "<Contents><Key>" key "</Key><LastModified>2026-01-02T03:04:05.678Z</LastModified>"            \
    "<ETag>\"e\"</ETag><Size>3</Size></Contents>"
#define PREFIX(key) "<CommonPrefixes><Prefix>" key "</Prefix></CommonPrefixes>"
#define TRUNCATED "<IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken>"
#define NOT_FOUND FX_ERROR("404 Not Found", "NoSuchKey")
#define LIST_OF(prefix, max, delimiter)                                                            \
    "GET /bkt?list-type=2&encoding-type=url&max-keys=" max "&prefix=" prefix delimiter
#define LIST_NAME(prefix) LIST_OF(prefix, "16", "&delimiter=%2F")
#define LIST_BELOW(prefix) LIST_OF(prefix "%2F", "1", "")

/* The result of the last one, and copies of what it points to. */
static struct found {
    unsigned calls;
    struct resolve_result res;
    struct s3_object obj;
    char data[16];
} found;

static void on_found(void *arg, const struct resolve_result *res)
{
    (void)arg;
    found.calls++;
    found.res = *res;
    if (res->obj)
        found.obj = *res->obj;
    assert_true(res->data_len < sizeof(found.data));
    if (res->data)
        memcpy(found.data, res->data, res->data_len);
    found.res.obj = res->obj ? &found.obj : NULL;
    found.res.data = res->data ? (const uint8_t *)found.data : NULL;
}

static enum resolve_kind ask(struct fx *fx, const char *key, enum resolve_how how, const char *etag)
{
    struct resolve *r = NULL;

    found = (struct found){0};
    assert_int_equal(resolve_start(&fx->w, key, how, etag, on_found, NULL, &r), 0);
    assert_int_equal(found.calls, 0);
    FX_WAIT(fx, found.calls);
    assert_int_equal(found.calls, 1);
    return found.res.kind;
}

/* ---- the plan ---- */

/* A GET brings the first bytes, and the metadata. */
static void test_what_looks_like_a_file(void **state)
{
    struct fx *fx = *state;

    FX_SCRIPT(FX_GET("e", "5", "hello"));
    assert_int_equal(ask(fx, "pre/a.txt", RESOLVE_GUESS, NULL), RESOLVE_FILE);
    fx_assert_request(0, "GET /bkt/pre/a.txt");
    fx_assert_header(0, "range", "bytes=0-131071");
    fx_assert_header(0, "if-none-match", "");
    assert_int_equal(found.res.error, 0);
    assert_true(found.res.has_meta);
    assert_int_equal(found.obj.size, 5);
    assert_string_equal(found.obj.etag, "\"e\"");
    assert_int_equal(found.res.data_len, 5);
    assert_memory_equal(found.data, "hello", 5);
}

static void test_not_modified(void **state)
{
    struct fx *fx = *state;

    FX_SCRIPT({.text = "HTTP/1.1 304 Not Modified\r\nETag: \"e\"\r\n\r\n"});
    assert_int_equal(ask(fx, "pre/a.txt", RESOLVE_AS_FILE, "\"e\""), RESOLVE_FILE);
    fx_assert_header(0, "if-none-match", "\"e\"");
    assert_true(found.res.not_modified);
    assert_false(found.res.has_meta);
    assert_null(found.res.obj);
    assert_null(found.res.data);
}

/* No such key: a directory, or nothing. */
static void test_no_file(void **state)
{
    struct fx *fx = *state;

    FX_SCRIPT(NOT_FOUND, FX_LIST(ENTRY("pre/d.x/f")), NOT_FOUND, FX_LIST(""));
    assert_int_equal(ask(fx, "pre/d.x", RESOLVE_GUESS, NULL), RESOLVE_DIR);
    fx_assert_request(1, LIST_BELOW("pre%2Fd.x"));
    assert_int_equal(ask(fx, "pre/d.x", RESOLVE_GUESS, NULL), RESOLVE_NONE);
    assert_int_equal(fx_requests(), 4);
}

/* One LIST answers for files, directories and nothing; it brings no metadata. */
static void test_a_plain_name(void **state)
{
    struct fx *fx = *state;

    FX_SCRIPT(FX_LIST(ENTRY("pre/n")), FX_LIST(ENTRY("pre/n-1") PREFIX("pre/n/")),
              FX_LIST(ENTRY("pre/n") PREFIX("pre/n/")), FX_LIST(ENTRY("pre/n-1")), FX_LIST(""));
    assert_int_equal(ask(fx, "pre/n", RESOLVE_GUESS, NULL), RESOLVE_FILE);
    fx_assert_request(0, LIST_NAME("pre%2Fn"));
    assert_string_equal(found.obj.etag, "\"e\"");
    assert_int_equal(found.obj.size, 3);
    assert_false(found.res.has_meta);
    assert_null(found.res.data);
    assert_int_equal(ask(fx, "pre/n", RESOLVE_GUESS, NULL), RESOLVE_DIR);
    assert_int_equal(ask(fx, "pre/n", RESOLVE_GUESS, NULL), RESOLVE_DIR); /* of both it shows */
    assert_int_equal(ask(fx, "pre/n", RESOLVE_GUESS, NULL), RESOLVE_NONE);
    assert_int_equal(ask(fx, "pre/n", RESOLVE_GUESS, NULL), RESOLVE_NONE);
    assert_int_equal(fx_requests(), 5);
}

/* The page ends before "n/" could come: that is asked for. */
static void test_a_page_full_of_siblings(void **state)
{
    struct fx *fx = *state;

    FX_SCRIPT(FX_LIST(TRUNCATED ENTRY("pre/n") ENTRY("pre/n-1")), FX_LIST(ENTRY("pre/n/x")),
              FX_LIST(TRUNCATED ENTRY("pre/n") ENTRY("pre/n-1")), FX_LIST(""),
              FX_LIST(TRUNCATED ENTRY("pre/n") ENTRY("pre/nn")));
    assert_int_equal(ask(fx, "pre/n", RESOLVE_GUESS, NULL), RESOLVE_DIR);
    fx_assert_request(1, LIST_BELOW("pre%2Fn"));
    assert_int_equal(ask(fx, "pre/n", RESOLVE_GUESS, NULL), RESOLVE_FILE);
    assert_int_equal(fx_requests(), 4);
    /* It has come past it. */
    assert_int_equal(ask(fx, "pre/n", RESOLVE_GUESS, NULL), RESOLVE_FILE);
    assert_int_equal(fx_requests(), 5);
}

static void test_without_bytes(void **state)
{
    struct fx *fx = *state;

    FX_SCRIPT(FX_LIST(ENTRY("pre/a.txt")), FX_HEAD("e", "5"), FX_HEAD("e", "5"), FX_HEAD("e", "5"),
              FX_LIST(PREFIX("pre/n/")));
    assert_int_equal(ask(fx, "pre/a.txt", RESOLVE_NO_DATA, NULL), RESOLVE_FILE);
    fx_assert_request(0, LIST_NAME("pre%2Fa.txt"));
    assert_int_equal(ask(fx, "pre/n", RESOLVE_STAT, NULL), RESOLVE_FILE);
    fx_assert_request(1, "HEAD /bkt/pre/n");
    assert_true(found.res.has_meta);
    assert_int_equal(found.res.data_len, 0);
    assert_int_equal(ask(fx, "pre/a.txt", RESOLVE_GUESS_STAT, NULL), RESOLVE_FILE);
    fx_assert_request(2, "HEAD /bkt/pre/a.txt");
    fx->conf.lookup.speculate = 0;
    assert_int_equal(ask(fx, "pre/a.txt", RESOLVE_GUESS, NULL), RESOLVE_FILE);
    fx_assert_request(3, "HEAD /bkt/pre/a.txt");
    assert_int_equal(ask(fx, "pre/n", RESOLVE_GUESS_STAT, NULL), RESOLVE_DIR);
    fx_assert_request(4, LIST_NAME("pre%2Fn"));
}

/* A dot that begins or ends a name is no extension. */
static void test_no_extension(void **state)
{
    struct fx *fx = *state;

    FX_SCRIPT(FX_LIST(""));
    (void)ask(fx, "pre.d/.git", RESOLVE_GUESS, NULL);
    fx_assert_request(0, LIST_NAME("pre.d%2F.git"));
    (void)ask(fx, "pre/x.", RESOLVE_GUESS, NULL);
    fx_assert_request(1, LIST_NAME("pre%2Fx."));
}

/* ---- when it fails ---- */

static void test_errors(void **state)
{
    struct fx *fx = *state;

    FX_SCRIPT(FX_ERROR("403 Forbidden", "AccessDenied"), FX_ERROR("403 Forbidden", "AccessDenied"),
              NOT_FOUND, FX_ERROR("403 Forbidden", "AccessDenied"), FX_LIST(ENTRY("other/n")));
    (void)ask(fx, "pre/a.txt", RESOLVE_GUESS, NULL);
    assert_int_equal(found.res.error, -EACCES);
    (void)ask(fx, "pre/n", RESOLVE_GUESS, NULL);
    assert_int_equal(found.res.error, -EACCES);
    (void)ask(fx, "pre/a.txt", RESOLVE_GUESS, NULL);
    assert_int_equal(found.res.error, -EACCES);
    /* a server that ignores the prefix */
    (void)ask(fx, "pre/n", RESOLVE_GUESS, NULL);
    assert_int_equal(found.res.error, -EPROTO);
}

static void test_keys_that_cannot_be(void **state)
{
    struct fx *fx = *state;
    char key[S3_KEY_MAX + 2];
    struct resolve *r = NULL;

    memset(key, 'k', sizeof(key));
    key[S3_KEY_MAX + 1] = '\0';
    assert_int_equal(resolve_start(&fx->w, key, RESOLVE_GUESS, NULL, on_found, NULL, &r),
                     -ENAMETOOLONG);
    assert_int_equal(resolve_start(&fx->w, "pre//x.y", RESOLVE_GUESS, NULL, on_found, NULL, &r),
                     -EINVAL);
    assert_null(r);
    /* Nothing can be below the longest key. */
    for (size_t i = 100; i < S3_KEY_MAX - 100; i += 100)
        key[i] = '/';
    key[S3_KEY_MAX] = '\0';
    key[S3_KEY_MAX - 2] = '.';
    FX_SCRIPT(NOT_FOUND);
    assert_int_equal(ask(fx, key, RESOLVE_GUESS, NULL), RESOLVE_NONE);
    assert_int_equal(fx_requests(), 1);
}

static void test_cancelled(void **state)
{
    struct fx *fx = *state;
    struct resolve *r = NULL;

    FX_SCRIPT(FX_GET("e", "5", "hello"));
    found = (struct found){0};
    assert_int_equal(resolve_start(&fx->w, "pre/a.txt", RESOLVE_GUESS, NULL, on_found, NULL, &r),
                     0);
    resolve_cancel(r);
    resolve_cancel(NULL);
    assert_int_equal(s3_in_flight(fx->w.s3), 0);
    assert_int_equal(found.calls, 0);
}

/* ---- from an answer to the name table ---- */

static struct s3_object object(const char *etag, uint64_t size)
{
    struct s3_object obj = {.size = size, .mtime_ns = 7 * (int64_t)NS_PER_S + 123};

    strcpy(obj.etag, etag);
    return obj;
}

static struct resolve_known note(struct fx *fx, uint32_t node)
{
    struct resolve_known known;

    worker_lock(&fx->w);
    resolve_note(&fx->w, node, &known);
    worker_unlock(&fx->w);
    return known;
}

static int64_t intern(struct fx *fx, const char *name, const struct resolve_known *known,
                      const struct resolve_result *res)
{
    int64_t node;

    worker_lock(&fx->w);
    node = resolve_intern(&fx->w, SHM_ROOT, name, strlen(name), known, res);
    worker_unlock(&fx->w);
    return node;
}

static uint32_t lookup(struct fx *fx, const char *name)
{
    uint32_t node;

    worker_lock(&fx->w);
    node = shm_node_find(fx->w.shm, SHM_ROOT, name, strlen(name));
    worker_unlock(&fx->w);
    return node;
}

static void test_a_new_name(void **state)
{
    struct fx *fx = *state;
    struct resolve_known known = note(fx, SHM_NIL);
    struct s3_object obj = object("\"e\"", 5);
    int64_t node =
        intern(fx, "f", &known, &(struct resolve_result){.kind = RESOLVE_FILE, .obj = &obj});
    const struct shm_node *n;

    assert_true(node >= 0);
    n = shm_node_at(fx->w.shm, (uint32_t)node);
    assert_string_equal(n->etag, "\"e\"");
    assert_int_equal(n->size, 5);
    assert_int_equal(n->mtime_ns, 7 * (int64_t)NS_PER_S); /* of whole seconds */
    assert_int_equal(n->checked_ns, known.asked_ns);
    node = intern(fx, "d", &known, &(struct resolve_result){.kind = RESOLVE_DIR});
    assert_true(shm_node_at(fx->w.shm, (uint32_t)node)->flags & SHM_NODE_DIR);
    assert_int_equal(intern(fx, "x", &known, &(struct resolve_result){.kind = RESOLVE_NONE}),
                     -ENOENT);
    assert_int_equal(lookup(fx, "x"), SHM_NIL);
}

static void test_another_version(void **state)
{
    struct fx *fx = *state;
    uint32_t old = fx_file(fx, "f", "\"e\"", 5);
    struct resolve_known known = note(fx, old);
    struct s3_object obj = object("\"new\"", 6);
    int64_t node =
        intern(fx, "f", &known, &(struct resolve_result){.kind = RESOLVE_FILE, .obj = &obj});

    assert_true(node >= 0 && node != old);
    assert_int_equal(lookup(fx, "f"), node);
    assert_string_equal(shm_node_at(fx->w.shm, old)->etag, "\"e\""); /* for its readers */
    known = note(fx, (uint32_t)node);
    assert_int_equal(intern(fx, "f", &known, &(struct resolve_result){.kind = RESOLVE_NONE}),
                     -ENOENT);
    assert_int_equal(lookup(fx, "f"), SHM_NIL);
}

/* The question was asked with the ETag only where the bytes are here. */
static void test_confirmed(void **state)
{
    struct fx *fx = *state;
    uint32_t node = fx_file(fx, "f", "\"e\"", 3);
    struct resolve_result res = {.kind = RESOLVE_FILE, .not_modified = true};
    struct s3_object obj = object("\"e\"", 3);
    struct resolve_known known = note(fx, node);

    assert_string_equal(known.etag, "");
    assert_int_equal(intern(fx, "f", &known, &res), -EAGAIN);
    resolve_keep_data(
        &fx->w, node,
        &(struct resolve_result){
            .kind = RESOLVE_FILE, .obj = &obj, .data = (const uint8_t *)"abc", .data_len = 3});
    known = note(fx, node);
    assert_string_equal(known.etag, "\"e\"");
    assert_int_equal(intern(fx, "f", &known, &res), node);
    assert_int_equal(shm_node_at(fx->w.shm, node)->checked_ns, known.asked_ns);
}

/* Bytes of another version do not become this one's. */
static void test_bytes_of_another_version(void **state)
{
    struct fx *fx = *state;
    uint32_t node = fx_file(fx, "f", "\"e\"", 3);
    struct s3_object obj = object("\"new\"", 3);
    bool has_start;

    resolve_keep_data(
        &fx->w, node,
        &(struct resolve_result){
            .kind = RESOLVE_FILE, .obj = &obj, .data = (const uint8_t *)"new", .data_len = 3});
    worker_lock(&fx->w);
    has_start = fetch_has_start(&fx->w, shm_node_at(fx->w.shm, node));
    worker_unlock(&fx->w);
    assert_false(has_start);
}

/* The name got another node since S3 was asked: the answer may be older than that. */
static void test_too_late(void **state)
{
    struct fx *fx = *state;
    struct s3_object obj = object("\"e\"", 5);
    struct resolve_result res = {.kind = RESOLVE_FILE, .obj = &obj};
    struct resolve_known known = note(fx, SHM_NIL);
    uint32_t node = fx_file(fx, "f", "\"new\"", 6);

    assert_int_equal(intern(fx, "f", &known, &res), -EAGAIN);
    /* ... and surely is where that was found out later. */
    store_node(fx->w.shm, node)->checked_ns = known.asked_ns + 1;
    assert_int_equal(intern(fx, "f", &known, &res), node);
    assert_string_equal(shm_node_at(fx->w.shm, node)->etag, "\"new\"");
}

/* What is unpublished here is what everybody sees. A session that has written nothing hides
 * nothing. */
static void test_sessions(void **state)
{
    struct fx *fx = *state;
    uint32_t node, session = fx_session(fx, "f", &node);
    struct s3_object obj = object("\"e\"", 5);
    struct resolve_result res = {.kind = RESOLVE_FILE, .obj = &obj};
    struct resolve_known known = note(fx, node);
    int64_t other;

    store_session(fx->w.shm, session)->write_seq = 1;
    assert_int_equal(intern(fx, "f", &known, &res), node);
    assert_int_equal(intern(fx, "f", &known, &(struct resolve_result){.kind = RESOLVE_NONE}), node);
    store_session(fx->w.shm, session)->write_seq = 0;
    other = intern(fx, "f", &known, &res);
    assert_true(other >= 0 && other != node);
    assert_int_equal(lookup(fx, "f"), other);
    assert_int_equal(shm_node_at(fx->w.shm, node)->session, session);
}

/* S3 knows of no directory, but a file that is not published yet lies below it. */
static void test_a_directory_of_new_files(void **state)
{
    struct fx *fx = *state;
    struct shm_version dir = {
        .dir = true, .mode = SHM_MODE_UNSET, .uid = SHM_MODE_UNSET, .gid = SHM_MODE_UNSET};
    struct shm_version local = {
        .local = true, .mode = SHM_MODE_UNSET, .uid = SHM_MODE_UNSET, .gid = SHM_MODE_UNSET};
    struct resolve_result none = {.kind = RESOLVE_NONE};
    struct resolve_known known;
    int64_t d, e, f, session;

    worker_lock(&fx->w);
    d = shm_node_intern(fx->w.shm, SHM_ROOT, "d", 1, &dir, 1);
    f = shm_node_intern(fx->w.shm, (uint32_t)d, "f", 1, &local, 1);
    session = shm_session_new(fx->w.shm, (uint32_t)f);
    e = shm_node_intern(fx->w.shm, SHM_ROOT, "e", 1, &dir, 1);
    worker_unlock(&fx->w);
    assert_true(d >= 0 && e >= 0 && f >= 0 && session >= 0);
    known = note(fx, (uint32_t)d);
    assert_int_equal(intern(fx, "d", &known, &none), d);
    known = note(fx, (uint32_t)e);
    assert_int_equal(intern(fx, "e", &known, &none), -ENOENT);
    assert_int_equal(lookup(fx, "e"), SHM_NIL);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, fx_s3_setup, fx_s3_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_what_looks_like_a_file),
        TEST(test_not_modified),
        TEST(test_no_file),
        TEST(test_a_plain_name),
        TEST(test_a_page_full_of_siblings),
        TEST(test_without_bytes),
        TEST(test_no_extension),
        TEST(test_errors),
        TEST(test_keys_that_cannot_be),
        TEST(test_cancelled),
        TEST(test_a_new_name),
        TEST(test_another_version),
        TEST(test_confirmed),
        TEST(test_bytes_of_another_version),
        TEST(test_too_late),
        TEST(test_sessions),
        TEST(test_a_directory_of_new_files),
    };

    return cmocka_run_group_tests_name("resolve", tests, NULL, NULL);
}
