/* Addresses to listen at over TCP, as text: "127.0.0.1:9468", "[::1]:9468", "localhost:9468",
 * ":9468" (every address of the machine). Hosts are numbers: no name is looked up. */
#ifndef BASE_ADDRESS_H
#define BASE_ADDRESS_H

#include <stdbool.h>
#include <sys/socket.h>

#include "base/err.h"

#define ADDRESS_MAX 64 /* bytes of the text, with NUL */

/* 0, *ret and the bytes of it that count; -EINVAL: it is no such text. */
must_use int address_parse(const char *text, struct sockaddr_storage *ret, socklen_t *ret_len);

/* True for every address of the machine: where there is no IPv6, 0.0.0.0 is meant as well. */
bool address_is_any(const struct sockaddr_storage *address);

#endif
