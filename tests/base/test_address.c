/* Texts that are addresses, and texts that are not. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/address.h"

static void is_address(const char *text, int family, const char *host, uint16_t port)
{
    struct sockaddr_storage a;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    char shown[INET6_ADDRSTRLEN];
    socklen_t len = 0;

    assert_int_equal(address_parse(text, &a, &len), 0);
    assert_int_equal(a.ss_family, family);
    memcpy(&v4, &a, sizeof(v4));
    memcpy(&v6, &a, sizeof(v6));
    assert_int_equal(len, family == AF_INET ? sizeof(v4) : sizeof(v6));
    assert_int_equal(ntohs(family == AF_INET ? v4.sin_port : v6.sin6_port), port);
    assert_non_null(inet_ntop(family,
                              family == AF_INET ? (void *)&v4.sin_addr : (void *)&v6.sin6_addr,
                              shown, sizeof(shown)));
    assert_string_equal(shown, host);
    assert_int_equal(address_is_any(&a), strcmp(host, "::") == 0);
}

static void test_addresses(void **state)
{
    (void)state;
    is_address("127.0.0.1:9468", AF_INET, "127.0.0.1", 9468);
    is_address("localhost:1", AF_INET, "127.0.0.1", 1);
    is_address("0.0.0.0:65535", AF_INET, "0.0.0.0", 65535);
    is_address("[::1]:9468", AF_INET6, "::1", 9468);
    is_address(":9468", AF_INET6, "::", 9468);
    is_address("[::]:9468", AF_INET6, "::", 9468);
}

static void test_others(void **state)
{
    static const char *const texts[] = {
        "",
        "9468",
        ":",
        ":0",
        ":65536",
        ":123456",
        ":94 68",
        ":-1",
        ":+1",
        "127.0.0.1",
        "127.0.0.1:",
        "127.0.0:80",
        "host:80",
        "::1:80",
        "[::1]",
        "[::1]80",
        "[]:80",
        "[127.0.0.1]:80",
        "[::1:80",
        "::1]:80",
        "[:80",
        "]:80",
        " 127.0.0.1:80",
        "127.0.0.1:80 ",
        "[1111:1111:1111:1111:1111:1111:1111:1111:1111:1111:1111:1111:1111]:80",
    };
    struct sockaddr_storage a;
    socklen_t len;

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        assert_int_equal(address_parse(texts[i], &a, &len), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_addresses),
                                       cmocka_unit_test(test_others)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
