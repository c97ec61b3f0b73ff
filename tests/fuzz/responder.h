/* An HTTP server on loopback, on the loop of the target: reads requests as they should be, and
 * answers with what the target says, bytes of any kind. */
#ifndef TESTS_FUZZ_RESPONDER_H
#define TESTS_FUZZ_RESPONDER_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/loop.h"

struct responder;

/* Appends the answer to a request, of which `head` is all up to the blank line. False: nothing
 * more will be sent on this connection. */
typedef bool responder_fn(void *arg, const char *head, struct buf *answer);

struct responder *responder_new(struct loop *loop, responder_fn *fn, void *arg);
unsigned responder_port(const struct responder *r);

/* Counts whatever the client sends: stands still when it waits, or has nothing to do. */
unsigned responder_events(const struct responder *r);

/* Sends no more on the connections that there are. */
void responder_finish(struct responder *r);

/* Ends all connections. */
void responder_drop_all(struct responder *r);

#endif
