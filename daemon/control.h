/* The control socket: a Unix stream socket with a protocol of lines.
 *
 * A client sends one line: "status", "check" or "drain". The answer begins with "ok" or "error
 * TEXT", ends with the connection, and is:
 *   status   ok, then lines "NAME VALUE" and "child ROLE SLOT pid N restarts N state NAME" (pid 0:
 *            none runs); the shared segment's descriptor, read-only, comes with the first byte
 *            (SCM_RIGHTS)
 *   check    ok, or what is wrong in the tables
 *   drain    ok at once; then, when all has ended, "ended CODE"
 * The other end: ctl/client.c.
 *
 * Nothing here waits for a client: their number, time and buffers are bounded. Only who waits for
 * the end of a drain may stay.
 */
#ifndef DAEMON_CONTROL_H
#define DAEMON_CONTROL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/loop.h"

#define CONTROL_CLIENTS_MAX 8
#define CONTROL_LINE_MAX 64 /* of a request, with its newline */
#define CONTROL_ANSWER_MAX 16384
/* to send the line, and to take the answer */
#define CONTROL_REQUEST_NS (UINT64_C(5) * 1000 * 1000 * 1000)

enum control_request { CONTROL_STATUS, CONTROL_CHECK, CONTROL_DRAIN };

/* Parses what has come so far. 1 and *ret: a whole request; 0: more must come; -EMSGSIZE, -EINVAL:
 * it is none. */
must_use int control_parse(const char *data, size_t len, enum control_request *ret);

struct control;

/* Asked once for each client; control_answer is called then or later. */
typedef void control_fn(void *ctx, uint64_t client, enum control_request request);

/* Binds `path` (mode 0600). A socket that nobody listens on is replaced. `dir` (may be NULL) is
 * made first, 0700, if path lies in it. 0; -EADDRINUSE: somebody listens there; -EEXIST: something
 * else is there; -EPERM: `dir` is not ours alone; -errno. */
must_use int control_open(struct loop *loop, const char *path, const char *dir,
                          control_fn *on_request, void *ctx, struct control **ret_control,
                          struct err *err);

/* Closes all, and removes the socket if it is still ours. NULL is fine. */
void control_close(struct control *control);

/* In a child: gives up the descriptors, and nothing else. NULL is fine. */
void control_forget(struct control *control);

/* Adds to the answer of a client (one that has left is fine). `fd` (borrowed, -1 = none) goes with
 * the first bytes. With `last` the connection ends when all is sent. */
void control_answer(struct control *control, uint64_t client, const char *text, int fd, bool last);

/* The last words to all who have asked and wait. NULL is fine. */
void control_answer_all(struct control *control, const char *text);

#endif
