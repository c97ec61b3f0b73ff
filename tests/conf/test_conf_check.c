/* Texts of particular keys: what passes, what it becomes, what does not pass. */
#include "tests/conf/load.h"

#include "conf/conf_check.h"
#include "conf/conf_keys.h"

/* `becomes` NULL: must be refused. */
static void check_one(conf_check_fn *check, const char *text, const char *becomes)
{
    char copy[600];
    bool good;

    snprintf(copy, sizeof(copy), "%s", text);
    good = check(copy);
    if (good != (becomes != NULL))
        fail_msg("\"%s\" %s", text, good ? "passed" : "was refused");
    if (becomes)
        assert_string_equal(copy, becomes);
}

static void refuse_all(conf_check_fn *check, const char *const *texts)
{
    for (; *texts; texts++)
        check_one(check, *texts, NULL);
}

static void accept_all(conf_check_fn *check, const char *const *texts)
{
    for (; *texts; texts++)
        check_one(check, *texts, *texts);
}

static void test_bucket(void **state)
{
    static const char *const good[] = {
        "abc",
        "my-bucket",
        "a.b.c",
        "1.2.3",
        "b2b",
        "256.1.1.1",
        "a23456789012345678901234567890123456789012345678901234567890123",
        NULL};
    static const char *const bad[] = {
        "",     "ab",  "-ab",      "ab-",     ".ab",         "ab.",
        "a..b", "a b", "s3://abc", "abc/def", "192.168.1.1", "\xc3\xa4\xc3\xa4\xc3\xa4",
        NULL};

    static const char *const others[] = {
        "Abc", "a_b", "tenant:bucket",
        "a234567890123456789012345678901234567890123456789012345678901234", NULL};

    (void)state;
    accept_all(conf_check_bucket, good);
    accept_all(conf_check_bucket, others); /* on other servers than AWS */
    for (size_t i = 0; good[i]; i++)
        assert_true(conf_is_aws_bucket(good[i]));
    for (size_t i = 0; others[i]; i++)
        assert_false(conf_is_aws_bucket(others[i]));
    refuse_all(conf_check_bucket, bad);
}

static void test_prefix(void **state)
{
    static const char *const good[] = {"",    "a",    "models/v2",  "a b/c",
                                       "...", "a/.b", "\xc3\xbc/x", NULL};
    static const char *const bad[] = {"a//b", ".", "..", "a/./b", "a/../b", "../a", "a/..", NULL};
    char component[513];

    (void)state;
    accept_all(conf_check_prefix, good);
    refuse_all(conf_check_prefix, bad);
    check_one(conf_check_prefix, "/", "");
    check_one(conf_check_prefix, "///", "");
    check_one(conf_check_prefix, "a/", "a");
    check_one(conf_check_prefix, "//a/b//", "a/b");
    memset(component, 'c', sizeof(component));
    component[512] = '\0';
    check_one(conf_check_prefix, component, component);
}

static void test_url(void **state)
{
    static const char *const good[] = {"",
                                       "http://127.0.0.1:9000",
                                       "https://s3.example.com",
                                       "http://[::1]:9000",
                                       "https://[2001:db8::1]",
                                       "http://minio",
                                       "http://a_b.svc:1",
                                       "https://h:65535/base/path",
                                       "http://h/a%20b",
                                       NULL};
    static const char *const bad[] = {"h",
                                      "127.0.0.1:9000",
                                      "ftp://h",
                                      "HTTP://h",
                                      "http:/h",
                                      "http://",
                                      "http:///a",
                                      "http://:80",
                                      "http://h:",
                                      "http://h:0",
                                      "http://h:65536",
                                      "http://h:8o",
                                      "http://h:080",
                                      "http://u:p@h",
                                      "http://u@h",
                                      "http://h?x",
                                      "http://h/?x=1",
                                      "http://h/#f",
                                      "http://h#f",
                                      "http://h/a//b",
                                      "http://h/../b",
                                      "http://h b",
                                      "http://h/a b",
                                      "http://[::1",
                                      "http://[h]",
                                      "http://[::1]x",
                                      "http://-h",
                                      "http://.h",
                                      "http://h\\a",
                                      NULL};
    char host[300] = "http://";

    (void)state;
    accept_all(conf_check_url, good);
    refuse_all(conf_check_url, bad);
    check_one(conf_check_url, "http://h/", "http://h");
    check_one(conf_check_url, "https://h:1//", "https://h:1");
    check_one(conf_check_url, "http://h/base///", "http://h/base");
    memset(host + 7, 'h', 290);
    check_one(conf_check_url, host, NULL);
}

static void test_path(void **state)
{
    static const char *const good[] = {"/", "/a", "/var/tmp", "/a b", "/.a", NULL};
    static const char *const bad[] = {"",   "a",      "./a", "/a/../b", "/..",
                                      "/.", "/a/./b", "~/a", NULL};

    (void)state;
    accept_all(conf_check_path, good);
    refuse_all(conf_check_path, bad);
    check_one(conf_check_path, "//", "/");
    check_one(conf_check_path, "//a///b//", "/a/b");
    accept_all(conf_check_path_or_none, good);
    check_one(conf_check_path_or_none, "", "");
    check_one(conf_check_path_or_none, "a", NULL);
}

static void test_mount(void **state)
{
    static const char *const good[] = {"/mnt/x",   "/dev/fd/3",    "/dev/fd", "/mnt",
                                       "/dev/fdx", "/dev/fd/1023", NULL};
    static const char *const bad[] = {
        "",          "/",           "//",         "x",          "/dev/fd/0",          "/dev/fd/2",
        "/dev/fd/x", "/dev/fd/3/a", "/dev/fd/03", "/dev/fd/-1", "/dev/fd/2147483648", "/a/..",
        NULL};

    (void)state;
    accept_all(conf_check_mount, good);
    refuse_all(conf_check_mount, bad);
    check_one(conf_check_mount, "/mnt/x/", "/mnt/x");
    assert_int_equal(conf_check_fd_of("/dev/fd/3"), 3);
    assert_int_equal(conf_check_fd_of("/dev/fd/2147483647"), 2147483647);
    assert_int_equal(conf_check_fd_of("/mnt/dev/fd/3"), -1);
    assert_int_equal(conf_check_fd_of("/dev/fd"), -1);
    assert_int_equal(conf_check_fd_of("/dev/fd/1"), -2);
}

static void test_words(void **state)
{
    static const char *const regions[] = {"us-east-1", "eu_x", "A1", NULL};
    static const char *const no_regions[] = {"", "us east", "a.b", "a/b", NULL};
    static const char *const users[] = {"", "nobody", "a.b-c_d", "65534", NULL};
    static const char *const no_users[] = {"-x", "a b", "a/b", "a:b", NULL};
    static const char *const tokens[] = {"AKID", "a/b+c==", "!~", NULL};
    static const char *const no_tokens[] = {"a b", "a\n", "a\x7f", "\xc3\xa9", NULL};

    (void)state;
    accept_all(conf_check_region, regions);
    refuse_all(conf_check_region, no_regions);
    accept_all(conf_check_user, users);
    refuse_all(conf_check_user, no_users);
    accept_all(conf_check_token, tokens);
    refuse_all(conf_check_token, no_tokens);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bucket), cmocka_unit_test(test_prefix), cmocka_unit_test(test_url),
        cmocka_unit_test(test_path),   cmocka_unit_test(test_mount),  cmocka_unit_test(test_words),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
