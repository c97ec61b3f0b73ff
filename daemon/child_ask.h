/* A child that answers once, with a struct through a pipe: for what the supervisor wants to know at
 * its start, and must not do itself. */
#ifndef DAEMON_CHILD_ASK_H
#define DAEMON_CHILD_ASK_H

#include <limits.h>
#include <stddef.h>

#include "base/err.h"

/* A write of this size to a pipe is atomic: the answer arrives whole or not at all. */
#define CHILD_ANSWER_MAX PIPE_BUF

/* In the child: fills the answer, `len` bytes, which begin as zeroes. */
typedef void child_answer_fn(const void *arg, void *answer);

/* Forks, runs fn(arg, answer) in the child, and waits no longer than `limit_ms` for `len` bytes (at
 * most CHILD_ANSWER_MAX), which *ret gets. The child has ended when this returns. 0; -ETIMEDOUT;
 * -EIO if the child ended without an answer; -errno of pipe(2), fork(2). */
must_use int child_ask(child_answer_fn *fn, const void *arg, int limit_ms, void *ret, size_t len);

#endif
