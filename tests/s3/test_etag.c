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
    const char *etags[] = {"",
                           "\"e1\"",
                           "900150983cd24fb0d6963f7d28e17f72",
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

#define A32 "abcdef0123456789abcdef0123456789"
#define B32 "ABCDEF0123456789ABCDEF0123456789"
#define MIXED "ABCDEF0123456789abcdef0123456789"
#define L16 "xxxxxxxxxxxxxxxx"

/* What a server writes, the one form, and what is sent back to a server that writes so. */
static const struct form {
    const char *text, *etag, *sent;
    unsigned habits;
} forms[] = {
    {"\"" A32 "\"", "\"" A32 "\"", "\"" A32 "\"", 0},
    {A32, "\"" A32 "\"", A32, S3_HABIT_BARE_ETAGS},
    {"\"" B32 "\"", "\"" A32 "\"", "\"" B32 "\"", S3_HABIT_UPPER_ETAGS},
    {B32 "-12", "\"" A32 "-12\"", B32 "-12", S3_HABIT_UPPER_ETAGS | S3_HABIT_BARE_ETAGS},
    {"W/\"" A32 "\"", "\"" A32 "\"", "\"" A32 "\"", S3_HABIT_WEAK_ETAGS},
    {"w/" A32, "\"" A32 "\"", A32, S3_HABIT_WEAK_ETAGS | S3_HABIT_BARE_ETAGS},
    /* no MD5: capitals are letters of their own */
    {"\"ABC\"", "\"ABC\"", "\"ABC\"", 0},
    {"\"" MIXED "\"", "\"" MIXED "\"", "\"" MIXED "\"", 0},
    {"\"" B32 "-\"", "\"" B32 "-\"", "\"" B32 "-\"", 0},
    {"\"" B32 "-x\"", "\"" B32 "-x\"", "\"" B32 "-x\"", 0},
    {"\"" B32 "A\"", "\"" B32 "A\"", "\"" B32 "A\"", 0},
    {"W", "\"W\"", "W", S3_HABIT_BARE_ETAGS},
    /* none */
    {"", "", "", 0},
    {"\"\"", "", "", 0},
    {"W/", "", "", 0},
    {"W/\"\"", "", "", 0},
    {"\"", "", "", 0},
    {"\"a", "", "", 0},
    {"a\"", "", "", 0},
    {"\"a\"b\"", "", "", 0},
    {"\"a b\"", "", "", 0},
    {"\"a\tb\"", "", "", 0},
    {"\"\xc3\xa4\"", "", "", 0},
    {L16 L16 L16 L16 "xxxxx", "\"" L16 L16 L16 L16 "xxxxx\"", L16 L16 L16 L16 "xxxxx",
     S3_HABIT_BARE_ETAGS},
    {L16 L16 L16 L16 "xxxxxx", "", "", 0}, /* does not fit with its quotes */
};

static void test_one_form(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(forms) / sizeof(*forms); i++) {
        char etag[S3_ETAG_MAX], sent[S3_ETAG_MAX];

        assert_int_equal(s3_etag_read(forms[i].text, etag), forms[i].habits);
        assert_string_equal(etag, forms[i].etag);
        s3_etag_write(etag, forms[i].habits, false, sent);
        assert_string_equal(sent, forms[i].sent);
    }
}

static void test_without_quotes(void **state)
{
    char sent[S3_ETAG_MAX];

    (void)state;
    s3_etag_write("\"abc\"", 0, true, sent);
    assert_string_equal(sent, "abc");
    s3_etag_write("\"" A32 "\"", S3_HABIT_UPPER_ETAGS, true, sent);
    assert_string_equal(sent, B32);
    s3_etag_write("", S3_HABIT_BARE_ETAGS, true, sent);
    assert_string_equal(sent, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_right),          cmocka_unit_test(test_no_md5),
        cmocka_unit_test(test_wrong),          cmocka_unit_test(test_one_form),
        cmocka_unit_test(test_without_quotes),
    };

    return cmocka_run_group_tests_name("s3_etag", tests, NULL, NULL);
}
