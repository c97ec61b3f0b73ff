/* The user that processes become. */
#include <errno.h>
#include <pwd.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "sandbox/sandbox_user.h"

static void test_find(void **state)
{
    struct sandbox_user u = {.set = true};
    struct err err = {0};

    (void)state;
    assert_int_equal(sandbox_user_find("", &u, NULL), 0);
    assert_false(u.set);
    assert_int_equal(sandbox_user_find("no-such-user-here", &u, &err), -EINVAL);
    assert_non_null(strstr(err.text, "no-such-user-here"));
    if (geteuid() != 0) {
        assert_int_equal(sandbox_user_find("root", &u, &err), -EINVAL);
        return;
    }
    assert_int_equal(sandbox_user_find("root", &u, NULL), 0);
    assert_true(u.set && u.uid == 0 && u.n_groups >= 1);
    assert_int_equal(sandbox_user_find("61234", &u, NULL), 0); /* no entry */
    assert_true(u.set && u.uid == 61234 && u.gid == 61234);
    assert_int_equal(u.n_groups, 1);
    assert_int_equal(u.groups[0], 61234);
}

/* The package's user, or a number that nobody has; for two mounts, two numbers. */
static void test_default(void **state)
{
    const struct passwd *pw = getpwnam(SANDBOX_USER_NAME);
    uid_t uid = pw ? pw->pw_uid : 0;
    struct sandbox_user a, again, b;

    (void)state;
    sandbox_user_default("/mnt/a", &a);
    sandbox_user_default("/mnt/a", &again);
    sandbox_user_default("/mnt/b", &b);
    assert_int_equal(a.set, geteuid() == 0);
    if (!a.set)
        return;
    assert_int_equal(a.uid, again.uid);
    if (uid) {
        assert_int_equal(a.uid, uid);
        assert_int_equal(b.uid, uid);
        return;
    }
    assert_true(a.uid != b.uid && a.uid >= 61184 && a.uid <= 65519);
    assert_null(getpwuid(a.uid));
    assert_int_equal(a.gid, a.uid);
    assert_int_equal(a.n_groups, 1);
}

static int become(const struct sandbox_user *u)
{
    gid_t groups[4];
    int sig = 0;

    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (sandbox_user_become(u) < 0)
        return 1;
    if (getuid() != 61234 || geteuid() != 61234 || getegid() != 61234)
        return 2;
    if (getgroups(4, groups) != 1 || groups[0] != 61234)
        return 3;
    if (prctl(PR_GET_PDEATHSIG, &sig) < 0 || sig != SIGTERM)
        return 4;
    return setuid(0) == 0 ? 5 : 0; /* for good */
}

static void test_become(void **state)
{
    struct sandbox_user u;
    int status;
    pid_t pid;

    (void)state;
    if (geteuid() != 0)
        skip();
    assert_int_equal(sandbox_user_find("61234", &u, NULL), 0);
    pid = fork();
    if (pid == 0)
        _exit(become(&u));
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_find),
        cmocka_unit_test(test_default),
        cmocka_unit_test(test_become),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
