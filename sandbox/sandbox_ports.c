/* Ports from URLs. What does not look like one has no port here: who uses it says what is wrong. */
#include "sandbox/sandbox_ports.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define HTTPS_PORT 443
#define PROXY_PORT 1080 /* libcurl's, for a proxy that names none */

void sandbox_ports_add(struct sandbox_ports *ports, unsigned port)
{
    if (!port || port > UINT16_MAX)
        return;
    for (size_t i = 0; i < ports->n; i++) {
        if (ports->port[i] == port)
            return;
    }
    if (ports->n == SANDBOX_PORTS_MAX)
        ports->any = true;
    else
        ports->port[ports->n++] = (uint16_t)port;
}

void sandbox_ports_add_url(struct sandbox_ports *ports, const char *url, unsigned other)
{
    const char *colon, *host, *end, *at;

    if (!url || !*url)
        return;
    host = strstr(url, "://");
    host = host ? host + 3 : url;
    end = host + strcspn(host, "/?#");
    at = memrchr(host, '@', (size_t)(end - host));
    if (at)
        host = at + 1;
    at = memrchr(host, ']', (size_t)(end - host)); /* [::1]:8080 */
    if (at)
        host = at;
    colon = memchr(host, ':', (size_t)(end - host));
    if (colon && colon + 1 < end)
        sandbox_ports_add(ports, (unsigned)strtoul(colon + 1, NULL, 10));
    else
        sandbox_ports_add(ports, strncasecmp(url, "https://", 8) == 0 ? HTTPS_PORT : other);
}

void sandbox_ports_add_proxies(struct sandbox_ports *ports, char *const *env)
{
    static const char *const names[] = {"http_proxy=", "https_proxy=", "all_proxy="};

    for (; env && *env; env++) {
        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
            size_t len = strlen(names[i]);

            if (strncasecmp(*env, names[i], len) == 0)
                sandbox_ports_add_url(ports, *env + len, PROXY_PORT);
        }
    }
}
