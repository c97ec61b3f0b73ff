/* The control socket: a Unix stream socket with a protocol of lines.
 *
 * A client sends one line: "status", "check", "drain", "restart" or "leave". The reply begins with
 * "ok" or "error TEXT" and ends when the connection is closed:
 *   status   ok, then lines "NAME VALUE" and "child ROLE SLOT pid N restarts N state NAME" (pid 0:
 *            not running); the shared segment's descriptor, read-only, comes with the first byte
 *            (SCM_RIGHTS)
 *   check    ok, or an error that describes what is wrong in the tables
 *   drain    ok at once; then, when the daemon has ended, "ended CODE"
 *   restart  ok when the program has been executed anew and all processes have been replaced, or an
 *            error that says why the daemon goes on as before, also after the exec, or what did
 *            not start
 *   leave    ok at once; then, when the daemon has ended and left all to the next one, "ended
 *            CODE"; or an error that says why it goes on
 * The other end: ctl/client.c.
 *
 * Nothing here waits for a client: their number, time and buffers are limited. Only a client that
 * waits for the end of a drain, a restart or a leave may stay longer.
 */
#ifndef DAEMON_CONTROL_H
#define DAEMON_CONTROL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/loop.h"
#include "daemon/control_path.h"

#define CONTROL_CLIENTS_MAX 8
#define CONTROL_LINE_MAX 64 /* length of a request, with its newline */
#define CONTROL_ANSWER_MAX 16384
/* time limit for sending the line, and for reading the reply */
#define CONTROL_REQUEST_NS (UINT64_C(5) * 1000 * 1000 * 1000)

enum control_request {
    CONTROL_STATUS,
    CONTROL_CHECK,
    CONTROL_DRAIN,
    CONTROL_RESTART,
    CONTROL_LEAVE,
};

/* Parses what has arrived so far. 1 and *ret: a whole request; 0: incomplete; -EMSGSIZE, -EINVAL:
 * not a request. */
must_use int control_parse(const char *data, size_t len, enum control_request *ret);

struct control;

/* Called once for each client; calls control_answer at once or later. */
typedef void control_fn(void *ctx, uint64_t client, enum control_request request);

/* Binds `path` (mode 0600). Replaces a socket that has no listener. `dir` (may be NULL) is created
 * first, 0700, if `path` is in it. 0; -EADDRINUSE: another process listens there; -EEXIST: it is
 * not a socket; -EPERM: `dir` belongs to, or is writable for, others; or another -errno. */
must_use int control_open(struct loop *loop, const char *path, const char *dir,
                          control_fn *on_request, void *ctx, struct control **ret_control,
                          struct err *err);

/* What outlives an exec of this process. */
struct control_handed {
    int listener_fd; /* -1 = no control socket */
    int client_fd;   /* of the client that asked for it; -1 = it has disconnected */
    struct control_path path;
};

/* For an exec: describes the socket and the connection of `client`. `control` may be NULL. */
void control_hand_over(const struct control *control, uint64_t client, struct control_handed *ret);

/* In the new image: goes on with the socket. *ret_client: the client that waits for its answer, 0 =
 * none. Takes the descriptors. 0, or -ENOMEM, or the error of loop_add, with *err. */
must_use int control_take(struct loop *loop, const struct control_handed *handed,
                          control_fn *on_request, void *ctx, struct control **ret_control,
                          uint64_t *ret_client, struct err *err);

/* True if a client other than this one has not got its whole answer. */
bool control_others(const struct control *control, uint64_t client);

/* Closes all connections, and removes the socket if it is still ours; or leaves it to the next
 * daemon, with `leave`. NULL is allowed. */
void control_close(struct control *control, bool leave);

/* In a child: closes the descriptors, and does nothing else. NULL is allowed. */
void control_forget(struct control *control);

/* Appends to the reply to a client; does nothing if the client has disconnected. `fd` (borrowed, -1
 * = none) is sent with the first bytes. With `last` the connection ends when all is sent. */
void control_answer(struct control *control, uint64_t client, const char *text, int fd, bool last);

/* The last part of the reply to all clients that wait for one. NULL is allowed. */
void control_answer_all(struct control *control, const char *text);

#endif
