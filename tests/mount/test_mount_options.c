/* The command line of mount.stateproxy: what becomes a key, what is ignored, what is refused. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "mount/mount_options.h"

#define ARGS_MAX 16

static struct mount_options options;
static struct err err;

/* Parses "mount.stateproxy ARGS..."; the list ends with NULL. */
static int parse(const char *first, ...)
{
    char *argv[ARGS_MAX] = {(char *)(uintptr_t) "mount.stateproxy"};
    int argc = 1;
    va_list ap;

    memset(&err, 0, sizeof(err));
    clearenv();
    va_start(ap, first);
    for (const char *arg = first; arg; arg = va_arg(ap, const char *))
        argv[argc++] = (char *)(uintptr_t)arg;
    va_end(ap);
    return mount_options_parse(argc, argv, &options, &err);
}

static void assert_set(const char *name, const char *value)
{
    const char *is = getenv(name);

    if (!value)
        assert_null(is);
    else
        assert_string_equal(is ? is : "(not set)", value);
}

static void test_spec(void **state)
{
    (void)state;
    assert_int_equal(parse("my-bucket/a/b", "/mnt", NULL), 0);
    assert_set("STATEPROXY_BUCKET", "my-bucket");
    assert_set("STATEPROXY_PREFIX", "a/b");
    assert_set("STATEPROXY_MOUNT_SOURCE", "my-bucket/a/b");
    assert_string_equal(options.dir, "/mnt");
    assert_int_equal(parse("s3://my-bucket", "/mnt", NULL), 0);
    assert_set("STATEPROXY_BUCKET", "my-bucket");
    assert_set("STATEPROXY_PREFIX", "");
    assert_int_equal(parse("arn:aws:s3:us-east-1:123456789012:accesspoint/ap/p", "/m", NULL), 0);
    assert_set("STATEPROXY_BUCKET", "arn:aws:s3:us-east-1:123456789012:accesspoint/ap");
    assert_set("STATEPROXY_PREFIX", "p");
    assert_int_equal(parse("/a", "/mnt", NULL), -EINVAL);
    assert_int_equal(parse("my-bucket", NULL), -EINVAL);
    assert_int_equal(parse("my-bucket", "/mnt", "more", NULL), -EINVAL);
}

static void test_keys(void **state)
{
    (void)state;
    assert_int_equal(parse("b", "/m", "-o", "rw,_netdev,region=eu-west-1,s3.tls-insecure,x-a=b",
                           "-o", "user=me,comment=c,allow_other,noexec,log=/l,config=/c", NULL),
                     0);
    assert_set("STATEPROXY_S3_REGION", "eu-west-1");
    assert_set("STATEPROXY_S3_TLS_INSECURE", "true");
    assert_set("STATEPROXY_MOUNT_READ_ONLY", "false");
    assert_set("STATEPROXY_MOUNT_ALLOW_OTHER", "true");
    assert_set("STATEPROXY_MOUNT_NOEXEC", "true");
    assert_set("STATEPROXY_WORKERS_USER", NULL);
    assert_string_equal(options.log, "/l");
    assert_string_equal(options.config, "/c");
    assert_int_equal(parse("b", "/m", "-o", "rw,ro", NULL), 0);
    assert_set("STATEPROXY_MOUNT_READ_ONLY", "true");
}

static void test_values_with_commas(void **state)
{
    (void)state;
    assert_int_equal(parse("b", "/m", "-o", "cache_control=a\\,b,region=r", NULL), 0);
    assert_set("STATEPROXY_S3_CACHE_CONTROL", "a,b");
    assert_set("STATEPROXY_S3_REGION", "r");
    assert_int_equal(parse("b", "/m", "-o", "cache_control=\"a,b\",region=r", NULL), 0);
    assert_set("STATEPROXY_S3_CACHE_CONTROL", "a,b");
    assert_int_equal(parse("b", "/m", "-o", "cache_control=\"a", NULL), -EINVAL);
}

static void test_refused(void **state)
{
    (void)state;
    assert_int_equal(parse("b", "/m", "-o", "varant=x", NULL), -ENOENT);
    assert_non_null(strstr(err.text, "did you mean \"variant\""));
    assert_int_equal(parse("b", "/m", "-o", "part_size=8Mi", NULL), -ENOENT);
    assert_int_equal(parse("b", "/m", "-o", "secret_access_key=x", NULL), -EACCES);
    assert_int_equal(parse("b", "/m", "-o", "bucket=x", NULL), -EACCES);
    assert_int_equal(parse("b", "/m", "-o", "region", NULL), -EINVAL);
    assert_int_equal(parse("b", "/m", "-o", "sync", NULL), -EINVAL);
    assert_int_equal(parse("b", "/m", "-o", "log", NULL), -EINVAL);
    assert_int_equal(parse("b", "/m", "-t", "ext4", NULL), -EINVAL);
    assert_int_equal(parse("b", "/m", "-z", NULL), -EINVAL);
}

static void test_flags(void **state)
{
    (void)state;
    /* -s counts wherever it stands */
    assert_int_equal(parse("b", "/m", "-o", "varant=x", "-sfvn", "-t", "stateproxy", NULL), 0);
    assert_true(options.sloppy && options.fake && options.verbose && !options.remount);
    assert_int_equal(parse("b", "/m", "-o", "remount,ro", "-N", "/ns", NULL), 0);
    assert_true(options.remount);
    assert_string_equal(options.namespace, "/ns");
    assert_int_equal(parse("b", "/m", "-r", NULL), 0);
    assert_set("STATEPROXY_MOUNT_READ_ONLY", "true");
}

/* Another name of the same key in the environment would count more. */
static void test_other_names_go(void **state)
{
    (void)state;
    clearenv();
    assert_int_equal(setenv("AWS_REGION", "us-east-2", 1), 0);
    assert_int_equal(mount_set("region", "eu-west-1", &err), 0);
    assert_set("AWS_REGION", NULL);
    assert_set("STATEPROXY_S3_REGION", "eu-west-1");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_spec),
        cmocka_unit_test(test_keys),
        cmocka_unit_test(test_values_with_commas),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_flags),
        cmocka_unit_test(test_other_names_go),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
