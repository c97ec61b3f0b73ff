/* What kind of S3 server this is: what was found at the start (struct server_traits) and what
 * workers learn in use (enum s3_habit, in the segment's header), in words for the operator. */
#ifndef WORKERS_SERVER_SERVER_H
#define WORKERS_SERVER_SERVER_H

#include <stddef.h>

#include "s3/s3.h"
#include "workers/op/worker.h"
#include "workers/op/worker_abi.h"

/* What the server was found to keep, or is documented to keep. */
enum server_condition {
    SERVER_PROBED = 1u << 0, /* it was probed for the others */
    SERVER_KEEPS_PUT = 1u << 1,
    SERVER_KEEPS_COMPLETE = 1u << 2,
    SERVER_KEEPS_DELETE = 1u << 3,
    SERVER_KEEPS_COPY = 1u << 4, /* on the target of CopyObject */
};

/* Stores in the segment what was found, conditions and habits, for all workers. */
void server_found(const struct worker_env *env, const struct server_traits *traits);

/* Sets what is stored in *traits. */
void server_stored(const struct worker_env *env, struct server_traits *traits);

/* True if the server keeps this condition, as far as is known. */
bool server_keeps(const struct worker *w, enum server_condition condition);

/* The server has refused such a condition as one that it does not know: no worker relies on it any
 * more. Logged once. */
void server_keeps_no_longer(struct worker *w, enum server_condition condition, const char *key);

/* The probe runs, is over, or has failed. Writes of compare-and-set wait while it runs. */
enum shm_probe server_probe(const struct worker_env *env);

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
