/* The server probe of the variant s3-buffered-cas: does the server keep what conditional requests
 * promise? Servers exist that ignore a condition, and servers that look first and act later, so
 * that of two writers at once both are told success.
 *
 * Files: cas_probe.c has the verdict, cas_checks.c what is checked one request at a time,
 * cas_race.c what only racers find, cas_sweep.c what a killed probe left, cas_ask.c the requests.
 */
#ifndef WORKERS_PROBE_CAS_PROBE_H
#define WORKERS_PROBE_CAS_PROBE_H

#include "base/loop.h"
#include "conf/conf.h"
#include "s3/s3.h"
#include "s3/s3_cred.h"
#include "workers/op/worker_abi.h"

/* True if this configuration wants the server probed: the variant, cas.probe, and that anything can
 * be written at all. */
bool cas_probe_wanted(const struct conf *conf);

/* True if it is believed what is written of the server: AWS keeps conditions of PUT, Complete
 * and DELETE (cas.probe: auto). */
bool cas_probe_is_documented(const struct conf *conf);

/* Probes, unless what an earlier start has found is kept (cas_kept.h). Blocks (turns `loop`) for
 * at most WORKER_PROBE_MS; writes and deletes below KEY_RESERVED_DIR. `base` says how the server is
 * reached. 0 and *ret_traits (its name and habits are left alone), having logged what the
 * operator should know; or -errno with the operator's sentence in *err:
 *   -EINVAL        the server does not keep a condition, or the credentials may not write
 *   -EHOSTUNREACH  no clear answer was to be had
 *   -ENOMEM */
must_use int cas_probe(const struct conf *conf, struct loop *loop,
                       const struct s3_client_conf *base, struct s3_cred_source *creds,
                       struct server_traits *ret_traits, struct err *err);

#endif
