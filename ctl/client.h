/* The other end of the control socket (daemon/control.h has the protocol). */
#ifndef CTL_CLIENT_H
#define CTL_CLIENT_H

#include <stddef.h>

#include "base/err.h"

#define CLIENT_ANSWER_MAX 16384

/* Finds the socket of the only running daemon of this user in the default directory. 0, -ENOENT,
 * -EBUSY (several); *err says what to do. */
must_use int client_find(char *out, size_t cap, struct err *err);

/* Sends `request` ("status", "check", "drain", "restart") and reads the whole answer
 * (NUL-terminated) into `answer`. *ret_fd: the descriptor that came with it, -1 if none. Waits up
 * to timeout_ms. 0 or -errno with *err. */
must_use int client_ask(const char *socket, const char *request, int timeout_ms,
                        char answer[CLIENT_ANSWER_MAX], int *ret_fd, struct err *err);

#endif
