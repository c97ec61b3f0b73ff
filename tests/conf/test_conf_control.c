/* The default control socket: readable names, and no two mounts with the same. */
#include "tests/conf/load.h"

#include <errno.h>

#include "conf/conf_control.h"

static const char *usual_dir(void)
{
    static char dir[64];

    if (geteuid() == 0)
        return "/run/stateproxy";
    snprintf(dir, sizeof(dir), "/tmp/stateproxy-%u", (unsigned)geteuid());
    return dir;
}

static void test_dir(void **state)
{
    char *env[] = {"XDG_RUNTIME_DIR=/run/user/7", NULL};
    char *relative[] = {"XDG_RUNTIME_DIR=run", NULL};
    char dir[CONF_SOCKET_MAX];

    (void)state;
    assert_int_equal(conf_control_dir(NULL, dir, sizeof(dir)), 0);
    assert_string_equal(dir, usual_dir());
    assert_int_equal(conf_control_dir(relative, dir, sizeof(dir)), 0);
    assert_string_equal(dir, usual_dir());
    assert_int_equal(conf_control_dir(env, dir, sizeof(dir)), 0);
    assert_string_equal(dir, geteuid() == 0 ? usual_dir() : "/run/user/7/stateproxy");
    assert_int_equal(conf_control_dir(env, dir, 5), -ENAMETOOLONG);
}

/* The name without directory and ".sock". */
static const char *name_for(const char *mount)
{
    static char path[2][CONF_SOCKET_MAX];
    static unsigned turn;
    char *p = path[turn++ % 2];
    size_t n = strlen(usual_dir());

    assert_int_equal(conf_control_default(NULL, mount, p, CONF_SOCKET_MAX), 0);
    assert_int_equal(strncmp(p, usual_dir(), n), 0);
    assert_string_equal(p + strlen(p) - 5, ".sock");
    p[strlen(p) - 5] = '\0';
    assert_null(strchr(p + n + 1, '/'));
    return p + n + 1;
}

static void test_names(void **state)
{
    (void)state;
    assert_string_equal(name_for("/mnt/x"), "mnt-x");
    assert_string_equal(name_for("/dev/fd/3"), "dev-fd-3");
    assert_string_equal(name_for("/mnt/a.b_c"), "mnt-a.b_c");
}

static void test_no_two_the_same(void **state)
{
    char a[300], b[300];

    (void)state;
    assert_string_not_equal(name_for("/mnt/x"), name_for("/mnt-x"));
    assert_string_not_equal(name_for("/mnt/a-b"), name_for("/mnt-a/b"));
    assert_string_not_equal(name_for("/mnt/a b"), name_for("/mnt/a?b"));
    assert_int_equal(strncmp(name_for("/mnt/a b"), "mnt-a_b-", 8), 0);
    memset(a, 'a', sizeof(a));
    a[0] = '/';
    a[299] = '\0';
    memcpy(b, a, sizeof(b));
    b[298] = 'b';
    assert_string_not_equal(name_for(a), name_for(b));
    assert_true(strlen(name_for(a)) < 64);
}

/* As a user who is not root, also when root runs the tests. */
static void test_user(void **state)
{
    char far[200] = "XDG_RUNTIME_DIR=/";
    char *env[] = {"XDG_RUNTIME_DIR=/run/user/7", NULL};
    char path[CONF_SOCKET_MAX];
    uid_t was = geteuid();

    (void)state;
    memset(far + strlen(far), 'd', 120);
    assert_int_equal(was == 0 ? seteuid(65534) : 0, 0);
    assert_int_equal(conf_control_default(env, "/m", path, sizeof(path)), 0);
    assert_string_equal(path, "/run/user/7/stateproxy/m.sock");
    env[0] = far;
    assert_int_equal(conf_control_default(env, "/m", path, sizeof(path)), -ENAMETOOLONG);
    load_bad(NULL, far, EINVAL,
             "control.socket: its default path is too long, expected a shorter one in the file "
             "or the environment");
    assert_int_equal(conf_control_default(NULL, "/m", path, sizeof(path)), 0);
    assert_string_equal(path + strlen(usual_dir()), "/m.sock");
    assert_int_equal(seteuid(was), 0);
}

static void test_too_long(void **state)
{
    char out[20];

    (void)state;
    assert_int_equal(conf_control_default(NULL, "/mnt/x", out, sizeof(out)), -ENAMETOOLONG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dir),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_no_two_the_same),
        cmocka_unit_test(test_user),
        cmocka_unit_test(test_too_long),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
