/* See address.h. Nothing is opened here. */
#include "base/address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define PORT_DIGITS 5

/* A port from 1 to 65535, in digits alone. */
static int parse_port(const char *text, in_port_t *ret)
{
    size_t n = strspn(text, "0123456789");
    unsigned long port;

    if (n == 0 || n > PORT_DIGITS || text[n])
        return -EINVAL;
    port = strtoul(text, NULL, 10);
    if (port == 0 || port > UINT16_MAX)
        return -EINVAL;
    *ret = htons((uint16_t)port);
    return 0;
}

static int set_v6(const char *host, in_port_t port, struct sockaddr_storage *ret,
                  socklen_t *ret_len)
{
    struct sockaddr_in6 in = {.sin6_family = AF_INET6, .sin6_port = port};

    if (inet_pton(AF_INET6, host, &in.sin6_addr) != 1)
        return -EINVAL;
    memcpy(ret, &in, sizeof(in));
    *ret_len = sizeof(in);
    return 0;
}

static int set_v4(const char *host, in_port_t port, struct sockaddr_storage *ret,
                  socklen_t *ret_len)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = port};

    if (inet_pton(AF_INET, strcmp(host, "localhost") == 0 ? "127.0.0.1" : host, &in.sin_addr) != 1)
        return -EINVAL;
    memcpy(ret, &in, sizeof(in));
    *ret_len = sizeof(in);
    return 0;
}

int address_parse(const char *text, struct sockaddr_storage *ret, socklen_t *ret_len)
{
    const char *colon = strrchr(text, ':');
    size_t n = colon ? (size_t)(colon - text) : 0;
    char host[ADDRESS_MAX];
    in_port_t port;

    if (!colon || strlen(text) >= sizeof(host) || parse_port(colon + 1, &port) < 0)
        return -EINVAL;
    memset(ret, 0, sizeof(*ret));
    if (n == 0)
        return set_v6("::", port, ret, ret_len);
    memcpy(host, text, n);
    host[n] = '\0';
    if (host[0] != '[')
        return set_v4(host, port, ret, ret_len);
    if (host[n - 1] != ']')
        return -EINVAL;
    host[n - 1] = '\0';
    return set_v6(host + 1, port, ret, ret_len);
}

bool address_is_any(const struct sockaddr_storage *address)
{
    struct sockaddr_in6 in;

    if (address->ss_family != AF_INET6)
        return false;
    memcpy(&in, address, sizeof(in));
    return IN6_IS_ADDR_UNSPECIFIED(&in.sin6_addr);
}
