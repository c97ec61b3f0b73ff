/* Numbers with units, modes, booleans, quoting, and what counts as clean text. */
#include "tests/conf/load.h"

#include <errno.h>

#include "conf/conf_value.h"

#define KI UINT64_C(1024)
#define SEC UINT64_C(1000000000)

typedef int parse_fn(const char *text, uint64_t *ret);

struct row {
    const char *text;
    int r;
    uint64_t value;
};

static void check_rows(parse_fn *parse, const struct row *rows, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint64_t v = 77;
        int r = parse(rows[i].text, &v);

        if (r != rows[i].r || v != (r == 0 ? rows[i].value : 77))
            fail_msg("%s: %d, %llu", rows[i].text, r, (unsigned long long)v);
    }
}

#define CHECK(parse, rows) check_rows((parse), (rows), sizeof(rows) / sizeof((rows)[0]))

static void test_size(void **state)
{
    static const struct row rows[] = {
        {"0", 0, 0},
        {"1", 0, 1},
        {"4096", 0, 4096},
        {"7B", 0, 7},
        {"0Ki", 0, 0},
        {"1Ki", 0, KI},
        {"64Mi", 0, 64 * KI * KI},
        {"3Gi", 0, 3 * KI * KI * KI},
        {"2Ti", 0, 2 * KI * KI * KI * KI},
        {"18446744073709551615", 0, UINT64_MAX},
        {"16777215Ti", 0, UINT64_C(16777215) << 40},
        {"18446744073709551616", -ERANGE, 0},
        {"99999999999999999999Ki", -ERANGE, 0},
        {"16777216Ti", -ERANGE, 0},
        {"", -EINVAL, 0},
        {"Ki", -EINVAL, 0},
        {"-1", -EINVAL, 0},
        {"+1", -EINVAL, 0},
        {" 1", -EINVAL, 0},
        {"1 ", -EINVAL, 0},
        {"1 Ki", -EINVAL, 0},
        {"1K", -EINVAL, 0},
        {"1k", -EINVAL, 0},
        {"1M", -EINVAL, 0},
        {"1MB", -EINVAL, 0},
        {"1MiB", -EINVAL, 0},
        {"1mi", -EINVAL, 0},
        {"1.5Gi", -EINVAL, 0},
        {"0x10", -EINVAL, 0},
        {"010", -EINVAL, 0},
        {"00", -EINVAL, 0},
        {"1e3", -EINVAL, 0},
    };

    (void)state;
    CHECK(conf_value_size, rows);
}

static void test_duration(void **state)
{
    static const struct row rows[] = {
        {"0", 0, 0},
        {"0s", 0, 0},
        {"250ms", 0, SEC / 4},
        {"1s", 0, SEC},
        {"2m", 0, 120 * SEC},
        {"1h", 0, 3600 * SEC},
        {"5124095h", 0, UINT64_C(5124095) * 3600 * SEC},
        {"5124096h", -ERANGE, 0},
        {"1", -EINVAL, 0},
        {"", -EINVAL, 0},
        {"s", -EINVAL, 0},
        {"1.5s", -EINVAL, 0},
        {"1m30s", -EINVAL, 0},
        {"1 s", -EINVAL, 0},
        {"1d", -EINVAL, 0},
        {"1S", -EINVAL, 0},
        {"-1s", -EINVAL, 0},
        {"00", -EINVAL, 0},
    };

    (void)state;
    CHECK(conf_value_duration, rows);
}

static void test_uint(void **state)
{
    static const struct row rows[] = {
        {"0", 0, 0},
        {"16", 0, 16},
        {"18446744073709551615", 0, UINT64_MAX},
        {"18446744073709551616", -ERANGE, 0},
        {"", -EINVAL, 0},
        {"-0", -EINVAL, 0},
        {"016", -EINVAL, 0},
        {"1_000", -EINVAL, 0},
        {"1.0", -EINVAL, 0},
        {"0b1", -EINVAL, 0},
    };

    (void)state;
    CHECK(conf_value_uint, rows);
}

static void test_mode(void **state)
{
    static const struct row rows[] = {
        {"0644", 0, 0644},      {"644", 0, 0644},       {"0o644", 0, 0644},    {"000", 0, 0},
        {"0000", 0, 0},         {"007", 0, 7},          {"0o000", 0, 0},       {"777", 0, 0777},
        {"", -EINVAL, 0},       {"0", -EINVAL, 0},      {"44", -EINVAL, 0},    {"4755", -EINVAL, 0},
        {"04755", -EINVAL, 0},  {"0888", -EINVAL, 0},   {"0x1ff", -EINVAL, 0}, {"0o", -EINVAL, 0},
        {"rw-r--", -EINVAL, 0}, {"0o0644", -EINVAL, 0},
    };

    (void)state;
    CHECK(conf_value_mode, rows);
}

static int bool_strict(const char *text, uint64_t *ret)
{
    return conf_value_bool(text, false, ret);
}

static int bool_loose(const char *text, uint64_t *ret)
{
    return conf_value_bool(text, true, ret);
}

static void test_bool(void **state)
{
    static const struct row strict[] = {
        {"true", 0, 1},    {"false", 0, 0},  {"yes", -EINVAL, 0}, {"True", -EINVAL, 0},
        {"1", -EINVAL, 0}, {"", -EINVAL, 0}, {"off", -EINVAL, 0},
    };
    static const struct row loose[] = {
        {"true", 0, 1},    {"FALSE", 0, 0},  {"yes", 0, 1},     {"No", 0, 0},
        {"on", 0, 1},      {"off", 0, 0},    {"1", 0, 1},       {"0", 0, 0},
        {"2", -EINVAL, 0}, {"", -EINVAL, 0}, {"y", -EINVAL, 0},
    };

    (void)state;
    CHECK(bool_strict, strict);
    CHECK(bool_loose, loose);
}

/* What is formatted parses to the same value, in the largest unit that fits. */
static void test_format(void **state)
{
    static const struct row sizes[] = {
        {"0", 0, 0},
        {"1", 0, 1},
        {"1023", 0, 1023},
        {"1Ki", 0, KI},
        {"1025", 0, 1025},
        {"1536Ki", 0, 1536 * KI},
        {"64Mi", 0, KI << 16},
        {"1Ti", 0, KI << 30},
        {"1025Gi", 0, KI * KI * KI * 1025},
        {"18446744073709551615", 0, UINT64_MAX},
    };
    static const struct row times[] = {
        {"0", 0, 0},
        {"250ms", 0, SEC / 4},
        {"1s", 0, SEC},
        {"1500ms", 0, SEC * 3 / 2},
        {"90s", 0, 90 * SEC},
        {"2m", 0, 120 * SEC},
        {"24h", 0, 86400 * SEC},
    };
    char text[CONF_VALUE_TEXT_MAX];

    (void)state;
    CHECK(conf_value_size, sizes);
    CHECK(conf_value_duration, times);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        conf_value_format_size(sizes[i].value, text);
        assert_string_equal(text, sizes[i].text);
    }
    for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
        conf_value_format_duration(times[i].value, text);
        assert_string_equal(text, times[i].text);
    }
}

static void check_quote(const char *text, const char *expected)
{
    char out[CONF_QUOTE_MAX];

    memset(out, 'x', sizeof(out));
    conf_value_quote(text, out);
    assert_string_equal(out, expected);
}

static void test_quote(void **state)
{
    (void)state;
    check_quote("", "\"\"");
    check_quote("abc", "\"abc\"");
    check_quote("a\nb\x1b[31m\xc3\xa9", "\"a?b?[31m??\"");
    check_quote("12345678901234567890123456789012345678901234567890",
                "\"12345678901234567890123456789012345678901234567890\"");
    check_quote("123456789012345678901234567890123456789012345678901",
                "\"12345678901234567890123456789012345678901234567...\"");
}

static void test_clean(void **state)
{
    static const char *const clean[] = {
        "",         "plain",        "gr\xc3\xbc\xc3\x9f", "\xe2\x82\xac", "\xf0\x9f\x98\x80",
        "\xc2\xa0", "\xed\x9f\xbf", "\xf4\x8f\xbf\xbf",
    };
    static const char *const dirty[] = {
        "a\n", /* control characters */
        "\t",
        "\x7f",
        "\xc2\x85",     /* a C1 control */
        "\xef\xbb\xbf", /* byte order mark */
        "\xef\xbf\xbf", /* U+FFFF */
        "\xc3",         /* cut */
        "\xc3(",
        "\xe2\x82",
        "\xf0\x9f\x98",
        "\xa9",     /* a byte from the middle */
        "\xc0\xaf", /* overlong */
        "\xe0\x80\xaf",
        "\xf0\x80\x80\xaf",
        "\xed\xa0\x80",     /* surrogate */
        "\xf4\x90\x80\x80", /* beyond Unicode */
        "\xff",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(clean) / sizeof(clean[0]); i++)
        assert_true(conf_value_is_clean(clean[i]));
    for (size_t i = 0; i < sizeof(dirty) / sizeof(dirty[0]); i++) {
        if (conf_value_is_clean(dirty[i]))
            fail_msg("dirty[%zu] passed", i);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_size),  cmocka_unit_test(test_duration),
        cmocka_unit_test(test_uint),  cmocka_unit_test(test_mode),
        cmocka_unit_test(test_bool),  cmocka_unit_test(test_format),
        cmocka_unit_test(test_quote), cmocka_unit_test(test_clean),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
