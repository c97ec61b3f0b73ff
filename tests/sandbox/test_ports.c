/* Which ports the URLs of a configuration and of the environment mean. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "sandbox/sandbox_ports.h"

static unsigned port_of(const char *url, unsigned other)
{
    struct sandbox_ports p = {.n = 0};

    sandbox_ports_add_url(&p, url, other);
    return p.n == 1 ? p.port[0] : (unsigned)p.n;
}

static void test_urls(void **state)
{
    (void)state;
    assert_int_equal(port_of("http://s3.example", 80), 80);
    assert_int_equal(port_of("https://s3.example", 80), 443);
    assert_int_equal(port_of("HTTPS://s3.example/base:9", 80), 443);
    assert_int_equal(port_of("http://s3.example:9000", 80), 9000);
    assert_int_equal(port_of("http://s3.example:9000/base:1/x?y=:2", 80), 9000);
    assert_int_equal(port_of("http://[::1]", 80), 80);
    assert_int_equal(port_of("http://[fd00:ec2::254]:8080/x", 80), 8080);
    assert_int_equal(port_of("http://user:1234@proxy:3128", 1080), 3128);
    assert_int_equal(port_of("http://user:1234@proxy", 1080), 1080);
    assert_int_equal(port_of("proxy:3128", 1080), 3128);
    assert_int_equal(port_of("socks5h://proxy", 1080), 1080);
    assert_int_equal(port_of("", 80), 0);
    assert_int_equal(port_of(NULL, 80), 0);
    assert_int_equal(port_of("http://x:99999", 80), 0);
    assert_int_equal(port_of("http://x:0", 80), 0);
}

static void test_proxies(void **state)
{
    static char *const env[] = {"https_proxy=http://a:3128", "HTTP_PROXY=b:8080",
                                "all_proxy=socks5://c",      "no_proxy=d:1",
                                "MY_http_proxy=e:2",         NULL};
    struct sandbox_ports p = {.n = 0};

    (void)state;
    sandbox_ports_add_proxies(&p, env);
    assert_int_equal(p.n, 3);
    assert_int_equal(p.port[0], 3128);
    assert_int_equal(p.port[1], 8080);
    assert_int_equal(p.port[2], 1080);
    sandbox_ports_add_proxies(&p, NULL);
    assert_int_equal(p.n, 3);
}

static void test_more_than_fit(void **state)
{
    struct sandbox_ports p = {.n = 0};

    (void)state;
    for (unsigned i = 1; i <= SANDBOX_PORTS_MAX; i++)
        sandbox_ports_add(&p, i);
    sandbox_ports_add(&p, 1);
    assert_false(p.any);
    sandbox_ports_add(&p, SANDBOX_PORTS_MAX + 1);
    assert_true(p.any); /* rather all of them than one that is needed and refused */
    assert_int_equal(p.n, SANDBOX_PORTS_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_urls),
        cmocka_unit_test(test_proxies),
        cmocka_unit_test(test_more_than_fit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
