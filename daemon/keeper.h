/* The keeper: the only process that contacts sources of credentials. It writes the signing keys
 * to the segment (shm_cred.h) and fetches new credentials before they expire. Workers never see the
 * secret; the keeper itself wipes it as soon as the keys are derived. */
#ifndef DAEMON_KEEPER_H
#define DAEMON_KEEPER_H

#include "base/err.h"
#include "creds/creds.h"
#include "workers/op/worker_abi.h"

/* Copies the settings for credentials from `conf`; strings are borrowed. */
void keeper_conf(const struct conf *conf, struct creds_conf *ret);

/* Fetches the first credentials into env->shm, in a child, and waits for it. 0, or an exit code
 * (exit_code.h) with *err filled. */
must_use int keeper_first(const struct worker_env *env, struct err *err);

/* Refreshes the credentials in the segment until the supervisor's SIGTERM. Continues from what is
 * there: a former keeper may have died at any instant. Called in a child, with SIGTERM blocked
 * (term.h); returns the exit code. */
int keeper_main(const struct worker_env *env);

#endif
