/* Edit distance, and how near a name must be to be suggested. */
#include "tests/conf/load.h"

#include "conf/conf_suggest.h"

static void test_distance(void **state)
{
    (void)state;
    assert_int_equal(conf_suggest_distance("", ""), 0);
    assert_int_equal(conf_suggest_distance("", "abc"), 3);
    assert_int_equal(conf_suggest_distance("abc", ""), 3);
    assert_int_equal(conf_suggest_distance("abc", "abc"), 0);
    assert_int_equal(conf_suggest_distance("region", "regoin"), 1);
    assert_int_equal(conf_suggest_distance("region", "regon"), 1);
    assert_int_equal(conf_suggest_distance("region", "regionn"), 1);
    assert_int_equal(conf_suggest_distance("region", "legion"), 1);
    assert_int_equal(conf_suggest_distance("kitten", "sitting"), 3);
    assert_int_equal(conf_suggest_distance("ca", "abc"), 3);
    assert_int_equal(conf_suggest_distance("Max-Attempts", "max_attempts"), 0);
}

static void test_long_names(void **state)
{
    char a[CONF_SUGGEST_MAX + 1], b[CONF_SUGGEST_MAX];
    struct conf_suggest s;

    (void)state;
    memset(a, 'a', sizeof(a));
    a[CONF_SUGGEST_MAX] = '\0';
    memset(b, 'b', sizeof(b));
    b[CONF_SUGGEST_MAX - 1] = '\0';
    assert_int_equal(conf_suggest_distance(b, b), 0);
    assert_int_equal(conf_suggest_distance("", b), CONF_SUGGEST_MAX - 1);
    assert_true(conf_suggest_distance(a, "x") == (size_t)-1);
    assert_true(conf_suggest_distance("x", a) == (size_t)-1);

    conf_suggest_init(&s, a);
    conf_suggest_offer(&s, a);
    assert_string_equal(s.best, "");
    conf_suggest_offer_at(&s, a, 0);
    assert_string_equal(s.best, "");
    conf_suggest_offer_at(&s, b, 0);
    assert_string_equal(s.best, b);
}

static void test_nearest_wins(void **state)
{
    struct conf_suggest s;

    (void)state;
    conf_suggest_init(&s, "mount.pth");
    conf_suggest_offer(&s, "mount.gid");
    conf_suggest_offer(&s, "mount.path");
    conf_suggest_offer(&s, "mount.uid");
    assert_string_equal(s.best, "mount.path");
}

/* A third of a short name may differ, never more than three characters. */
static void test_far_is_nothing(void **state)
{
    struct conf_suggest s;

    (void)state;
    conf_suggest_init(&s, "sessions_of_buffers");
    conf_suggest_offer(&s, "buffer.sessions");
    assert_string_equal(s.best, "");
    conf_suggest_init(&s, "xyz");
    conf_suggest_offer(&s, "abc");
    conf_suggest_offer(&s, "xbc");
    assert_string_equal(s.best, "");
    conf_suggest_offer(&s, "xyc");
    assert_string_equal(s.best, "xyc");
    conf_suggest_init(&s, "");
    conf_suggest_offer(&s, "a");
    assert_string_equal(s.best, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_distance),
        cmocka_unit_test(test_long_names),
        cmocka_unit_test(test_nearest_wins),
        cmocka_unit_test(test_far_is_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
