/* The client against a real S3 server. Skipped, loudly, without STATEPROXY_TEST_S3 (endpoint);
 * STATEPROXY_TEST_BUCKET (an existing bucket that may be written to), AWS_REGION,
 * AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and STATEPROXY_TEST_CA go with it. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "client_fixture.h"

static const char *const odd_keys[] = {
    "a b+c%41&=?#",        "\xc3\xbc/\xe2\x82\xac/\xf0\x9f\x98\x80",
    "quote'\"<>&;",        "star*(!)$,:@[]{}^`|\\",
    "...dots/..x/.hidden",
};
#define N_ODD (sizeof(odd_keys) / sizeof(odd_keys[0]))

static struct fixture f;
static char prefix[64];

static const char *env(const char *name, const char *otherwise)
{
    const char *v = getenv(name);

    return v && *v ? v : otherwise;
}

static const char *key_of(const char *name)
{
    static char keys[4][S3_KEY_MAX];
    static unsigned at;
    char *key = keys[at++ % 4];

    snprintf(key, S3_KEY_MAX, "%s%s", prefix, name);
    return key;
}

static void put(const char *name, const void *data, size_t len)
{
    struct s3_put p = {.key = key_of(name), .body = {.mem = data, .fd = -1, .len = len}};

    fixture_put(&f, &p);
    if (f.call.res.error)
        fail_msg("%s", f.call.res.text);
}

static void finish(int r)
{
    assert_int_equal(r, 0);
    fixture_wait(&f, &f.call);
}

static void fresh(void)
{
    call_end(&f.call);
    call_init(&f.call);
}

static void test_round_trip(void **state)
{
    size_t len = 3 << 20;
    char *data = malloc(len);
    struct s3_get g = {.key = key_of("k")};

    (void)state;
    assert_non_null(data);
    for (size_t i = 0; i < len; i++)
        data[i] = (char)(i * 2654435761u >> 13);
    put("k", data, len);
    fixture_get(&f, &g);
    assert_int_equal(f.call.res.error, 0);
    assert_int_equal(f.call.data.len, len);
    assert_memory_equal(f.call.data.data, data, len);
    g.off = 1000, g.len = 100;
    fixture_get(&f, &g);
    assert_int_equal(f.call.data.len, 100);
    assert_memory_equal(f.call.data.data, data + 1000, 100);
    assert_int_equal(f.call.head.size, len);
    put("k", "", 0);
    g.off = 0;
    fixture_get(&f, &g);
    assert_int_equal(f.call.res.error, 0);
    assert_int_equal(f.call.head.size, 0);
    free(data);
}

static void test_conditions(void **state)
{
    struct s3_put p = {
        .key = key_of("cas"), .body = {.mem = "x", .fd = -1, .len = 1}, .if_none_match = "*"};
    char etag[S3_ETAG_MAX];

    (void)state;
    fixture_put(&f, &p);
    assert_int_equal(f.call.res.error, 0);
    strcpy(etag, f.call.res.obj.etag);
    fixture_put(&f, &p);
    assert_int_equal(f.call.res.error, -EEXIST);
    p.if_none_match = NULL;
    p.if_match = etag;
    p.body.mem = "y";
    fixture_put(&f, &p);
    assert_int_equal(f.call.res.error, 0);
    fixture_put(&f, &p);
    assert_int_equal(f.call.res.error, -EEXIST);
    p.key = key_of("no-such");
    fixture_put(&f, &p);
    assert_int_equal(f.call.res.error, -ENOENT);
}

static void delete_is(const char *name, const char *if_match, int error)
{
    struct s3_delete del = {.if_match = if_match};

    fresh();
    del.key = key_of(name);
    finish(s3_delete(f.client, &del, call_done, &f.call, NULL));
    assert_int_equal(f.call.res.error, error);
}

static void test_delete_conditions(void **state)
{
    char etag[S3_ETAG_MAX];

    (void)state;
    put("del", "x", 1);
    strcpy(etag, f.call.res.obj.etag);
    delete_is("del", "\"00000000000000000000000000000000\"", -EEXIST);
    delete_is("del", etag, 0);
}

static void create(const char *key, char id[S3_UPLOAD_ID_MAX])
{
    const struct s3_meta_pair meta = {"mode", "420"};
    struct s3_create c = {.key = key, .content_type = "text/x-up", .meta = &meta, .n_meta = 1};

    fresh();
    finish(s3_create(f.client, &c, call_done, &f.call, NULL));
    assert_int_equal(f.call.res.error, 0);
    assert_non_null(f.call.res.upload_id);
    strcpy(id, f.call.res.upload_id);
}

static void complete_is(const struct s3_complete *c, int error)
{
    fresh();
    finish(s3_complete(f.client, c, call_done, &f.call, NULL));
    if (f.call.res.error != error)
        fail_msg("%d: %s", f.call.res.error, f.call.res.text);
}

#define PART_LEN (5u << 20) /* the least that all but the last part must have */

static void test_upload(void **state)
{
    char *data = calloc(1, PART_LEN), id[S3_UPLOAD_ID_MAX];
    char etags[2][S3_ETAG_MAX];
    struct s3_part_done parts[] = {{.number = 1, .etag = etags[0]},
                                   {.number = 2, .etag = etags[1]}};
    struct s3_part p = {.key = key_of("up"),
                        .upload_id = id,
                        .number = 1,
                        .body = {.mem = data, .fd = -1, .len = PART_LEN}};
    struct s3_part_copy pc = {.key = p.key, .upload_id = id, .number = 2, .off = 1, .len = 3};
    struct s3_complete c = {
        .key = p.key, .upload_id = id, .parts = parts, .n_parts = 2, .if_match = "\"no\""};

    (void)state;
    assert_non_null(data);
    put("source", "abcde", 5);
    strcpy(etags[0], f.call.res.obj.etag);
    create(p.key, id);
    pc.from_key = key_of("source");
    pc.if_source_match = "\"no\"";
    fresh();
    finish(s3_part_copy(f.client, &pc, call_done, &f.call, NULL));
    assert_int_equal(f.call.res.error, -ESTALE);
    pc.if_source_match = etags[0];
    fresh();
    finish(s3_part_copy(f.client, &pc, call_done, &f.call, NULL));
    assert_int_equal(f.call.res.error, 0);
    strcpy(etags[1], f.call.res.obj.etag);
    fresh();
    finish(s3_part(f.client, &p, call_done, &f.call, NULL));
    assert_int_equal(f.call.res.error, 0);
    strcpy(etags[0], f.call.res.obj.etag);

    complete_is(&c, -ENOENT); /* If-Match, and there is nothing */
    put("up", "old", 3);
    complete_is(&c, -EEXIST);
    c.if_match = NULL;
    c.if_none_match = "*";
    complete_is(&c, -EEXIST);
    delete_is("up", NULL, 0);
    complete_is(&c, 0);
    fresh();
    finish(s3_head(f.client, p.key, call_done, &f.call, NULL));
    assert_int_equal(f.call.res.obj.size, PART_LEN + 3);
    assert_string_equal(f.call.res.obj.content_type, "text/x-up");
    assert_string_equal(s3_object_meta(&f.call.res.obj, "mode"), "420");
    free(data);
}

static void test_aborted_upload(void **state)
{
    char id[S3_UPLOAD_ID_MAX];
    const char *key = key_of("aborted");
    struct s3_part_done part = {.number = 1, .etag = "\"a\""};
    struct s3_complete c = {.key = key, .upload_id = id, .parts = &part, .n_parts = 1};

    (void)state;
    create(key, id);
    complete_is(&c, -EINVAL); /* a part that was never sent */
    fresh();
    finish(s3_abort(f.client, key, id, call_done, &f.call, NULL));
    assert_int_equal(f.call.res.error, 0);
    fresh();
    finish(s3_complete(f.client, &c, call_done, &f.call, NULL));
    if (f.call.res.error != -ESTALE)
        assert_int_equal(f.call.res.error, -EINVAL); /* versitygw: InvalidPart */
}

static void test_absent(void **state)
{
    struct s3_get g = {.key = key_of("no-such")};

    (void)state;
    fixture_get(&f, &g);
    assert_int_equal(f.call.res.error, -ENOENT);
    fresh();
    finish(s3_head(f.client, key_of("no-such"), call_done, &f.call, NULL));
    assert_int_equal(f.call.res.error, -ENOENT);
    fresh();
    finish(s3_delete(f.client, &(struct s3_delete){.key = key_of("no-such")}, call_done, &f.call,
                     NULL));
    assert_int_equal(f.call.res.error, 0);
}

static void test_odd_keys(void **state)
{
    struct s3_list l = {.on_entry = call_on_entry};
    char name[256];

    (void)state;
    for (size_t i = 0; i < N_ODD; i++) {
        struct s3_copy c = {.to_key = key_of("copy")};
        struct s3_get g = {.key = c.to_key};

        snprintf(name, sizeof(name), "odd/%s", odd_keys[i]);
        put(name, odd_keys[i], strlen(odd_keys[i]));
        c.from_key = key_of(name);
        fresh();
        finish(s3_copy(f.client, &c, call_done, &f.call, NULL));
        assert_int_equal(f.call.res.error, 0);
        fixture_get(&f, &g);
        assert_string_equal(f.call.data.data, odd_keys[i]);
    }
    fresh();
    l.prefix = key_of("odd/");
    finish(s3_list(f.client, &l, call_done, &f.call, NULL));
    assert_int_equal(f.call.res.error, 0);
    assert_int_equal(f.call.res.n_entries, N_ODD);
    for (size_t i = 0; i < N_ODD; i++) {
        snprintf(name, sizeof(name), "%sodd/%s\n", prefix, odd_keys[i]);
        if (!strstr(f.call.data.data, name))
            fail_msg("%s is not in %s", name, f.call.data.data);
    }
}

static int set_up(void **state)
{
    (void)state;
    snprintf(prefix, sizeof(prefix), "test-%d-%lu/", (int)getpid(), (unsigned long)clock_wall_ns());
    f.conf = (struct s3_client_conf){
        .endpoint = getenv("STATEPROXY_TEST_S3"),
        .region = env("AWS_REGION", "us-east-1"),
        .bucket = env("STATEPROXY_TEST_BUCKET", "test"),
        .ca_bundle = getenv("STATEPROXY_TEST_CA"),
        .connect_timeout_ns = 3 * NS_PER_S,
        .attempt_timeout_ns = 10 * NS_PER_S,
        .deadline_ns = 15 * NS_PER_S,
        .max_attempts = 3,
        .max_connections = 4,
    };
    call_init(&f.call);
    if (loop_new(&f.loop) < 0 ||
        s3_cred_static_new(getenv("AWS_ACCESS_KEY_ID"), getenv("AWS_SECRET_ACCESS_KEY"),
                           getenv("AWS_SESSION_TOKEN"), &f.creds, NULL) < 0)
        return -1;
    fixture_client(&f);
    return 0;
}

/* Leaves nothing behind. */
static int tear_down(void **state)
{
    struct s3_list l = {.prefix = prefix, .on_entry = call_on_entry};
    char *keys, *next;

    (void)state;
    fresh();
    finish(s3_list(f.client, &l, call_done, &f.call, NULL));
    keys = f.call.data.data ? strdup(f.call.data.data) : NULL;
    for (char *key = keys; key && *key; key = next) {
        next = strchr(key, '\n');
        *next++ = '\0';
        fresh();
        finish(s3_delete(f.client, &(struct s3_delete){.key = key}, call_done, &f.call, NULL));
    }
    free(keys);
    s3_client_free(f.client);
    s3_cred_free(f.creds);
    loop_free(f.loop);
    call_end(&f.call);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),        cmocka_unit_test(test_conditions),
        cmocka_unit_test(test_delete_conditions), cmocka_unit_test(test_upload),
        cmocka_unit_test(test_aborted_upload),    cmocka_unit_test(test_absent),
        cmocka_unit_test(test_odd_keys),
    };

    if (!*env("STATEPROXY_TEST_S3", "")) {
        printf("SKIPPED: STATEPROXY_TEST_S3 names no server\n");
        return 77;
    }
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
