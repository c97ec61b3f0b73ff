/* The TCP ports that a process may connect to. */
#ifndef SANDBOX_SANDBOX_PORTS_H
#define SANDBOX_SANDBOX_PORTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SANDBOX_PORTS_MAX 16

struct sandbox_ports {
    uint16_t port[SANDBOX_PORTS_MAX];
    size_t n;
    bool any; /* more than fit: each port may be connected to */
};

/* Numbers that are no port are left out. */
void sandbox_ports_add(struct sandbox_ports *ports, unsigned port);

/* That of a URL; NULL and "" have none. Without a number in it: 443 after https://, else
 * `other`. */
void sandbox_ports_add_url(struct sandbox_ports *ports, const char *url, unsigned other);

/* Those of the proxies that libcurl takes from the environment ("NAME=value" strings). */
void sandbox_ports_add_proxies(struct sandbox_ports *ports, char *const *env);

#endif
