/* The keeper: the one process that speaks to the sources of credentials. It puts the keys that sign
 * into the segment (shm_cred.h) and fetches others before they expire; workers never see the
 * secret, and the keeper itself forgets it as soon as the keys are made. */
#ifndef DAEMON_KEEPER_H
#define DAEMON_KEEPER_H

#include "base/err.h"
#include "creds/creds.h"
#include "daemon/child.h"
#include "workers/op/worker_abi.h"

/* What `conf` says of credentials; strings are borrowed. */
void keeper_conf(const struct conf *conf, struct creds_conf *ret);

/* Fetches the first ones into env->shm, in a child that becomes `user`, and waits for it. 0, or an
 * exit code (exit_code.h) with *err filled. */
must_use int keeper_first(const struct worker_env *env, const struct child_user *user,
                          struct err *err);

/* Keeps what is in the segment fresh until the supervisor's SIGTERM. Goes on from what is there: a
 * former keeper may have died at any instant. Called in a child, with SIGTERM blocked (term.h);
 * returns the exit code. */
int keeper_main(const struct worker_env *env);

#endif
