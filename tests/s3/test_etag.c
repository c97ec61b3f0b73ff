/* ETags against the bytes they came with. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "s3/s3_etag.h"

#define MD5_EMPTY "\"d41d8cd98f00b204e9800998ecf8427e\""
#define MD5_ABC "\"900150983cd24fb0d6963f7d28e17f72\""
#define MD5_ABC_UPPER "\"900150983CD24FB0D6963F7D28E17F72\""
#define OTHER "\"0123456789abcdef0123456789abcdef\""

static enum s3_etag_says says(struct s3_etag_check *c, const char *etag, const char *bytes)
{
    s3_etag_begin(c);
    for (; *bytes; bytes++)
        s3_etag_add(c, bytes, 1);
    return s3_etag_end(c, etag);
}

static void test_right(void **state)
{
    struct s3_etag_check c = {0};

    (void)state;
    assert_int_equal(says(&c, MD5_EMPTY, ""), S3_ETAG_RIGHT);
    assert_int_equal(says(&c, MD5_ABC, "abc"), S3_ETAG_RIGHT);
    assert_int_equal(says(&c, MD5_ABC_UPPER, "abc"), S3_ETAG_RIGHT);
}

static void test_no_md5(void **state)
{
    const char *etags[] = {"", "\"e1\"", "900150983cd24fb0d6963f7d28e17f72",
                           "\"900150983cd24fb0d6963f7d28e17f72-1\"",
                           "\"900150983cd24fb0d6963f7d28e17f7\"",
                           "\"900150983cd24fb0d6963f7d28e17f7z\"",
                           "W/\"900150983cd24fb0d6963f7d28e17f72\""};
    struct s3_etag_check c = {0};

    (void)state;
    for (size_t i = 0; i < sizeof(etags) / sizeof(*etags); i++) {
        assert_int_equal(says(&c, etags[i], "xyz"), S3_ETAG_SILENT);
        assert_int_equal(says(&c, etags[i], "xyz"), S3_ETAG_SILENT);
    }
}

static void test_wrong(void **state)
{
    struct s3_etag_check c = {0};

    (void)state;
    assert_int_equal(says(&c, MD5_ABC, "xyz"), S3_ETAG_WRONG);
    assert_int_equal(says(&c, MD5_ABC, "abc"), S3_ETAG_RIGHT);
    assert_int_equal(says(&c, MD5_ABC, "xy"), S3_ETAG_WRONG); /* other bytes */
    assert_int_equal(says(&c, OTHER, "xy"), S3_ETAG_WRONG);   /* another ETag */
    assert_int_equal(says(&c, OTHER, "xyz"), S3_ETAG_WRONG);
    assert_int_equal(says(&c, OTHER, "xyz"), S3_ETAG_OTHER);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_right),
        cmocka_unit_test(test_no_md5),
        cmocka_unit_test(test_wrong),
    };

    return cmocka_run_group_tests_name("s3_etag", tests, NULL, NULL);
}
