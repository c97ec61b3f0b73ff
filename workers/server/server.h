/* What kind of S3 server this is: what was found at the start (struct server_traits) and what
 * workers learn in use (enum s3_habit, in the segment's header), in words for the operator. */
#ifndef WORKERS_SERVER_SERVER_H
#define WORKERS_SERVER_SERVER_H

#include <stddef.h>

#include "s3/s3.h"
#include "workers/op/worker.h"
#include "workers/op/worker_abi.h"

/* Logs what a new habit means for files: struct s3_client_conf.on_habit. */
void server_tell(enum s3_habit habit);

/* Compare-and-set, not under a lock: the server gave a response that contradicts its conditions. It
 * is counted; the first one is logged, and from then on each write starts with a HEAD
 * (S3_HABIT_CONTRADICTS). */
void server_contradicts(struct worker *w, const char *key, const char *what);

/* `server="Ceph" conditions=put traits=unquoted-if-match`, with what is known by now. `after`
 * follows each name ('=' in the log), `between` separates the three. */
void server_describe(const struct worker_env *env, const char *after, const char *between,
                     char *out, size_t cap);

#endif
