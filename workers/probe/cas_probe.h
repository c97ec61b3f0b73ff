/* The server probe of the variant s3-buffered-cas: does the server enforce the conditions of
 * requests? Some servers ignore a condition. Others check it first and act later, so that two
 * concurrent writers both get success.
 *
 * Files: cas_probe.c has the verdict, cas_checks.c the checks with single requests, cas_race.c the
 * checks that need concurrent writers, cas_copy_race.c the same for copies, cas_sweep.c the cleanup
 * after a killed probe, cas_ask.c the requests. */
#ifndef WORKERS_PROBE_CAS_PROBE_H
#define WORKERS_PROBE_CAS_PROBE_H

#include "base/loop.h"
#include "conf/conf.h"
#include "s3/s3.h"
#include "s3/s3_cred.h"
#include "workers/op/worker_abi.h"

/* True if this configuration requires the probe: it depends on the variant, on cas.probe, and on
 * whether the mount is writable. */
bool cas_probe_wanted(const struct conf *conf);

/* True if the server's documentation is trusted: AWS enforces conditions of PUT, Complete and
 * DELETE (cas.probe: auto). */
bool cas_probe_is_documented(const struct conf *conf);

/* True if those on the target of CopyObject are documented, too: for AWS's general purpose buckets,
 * not for directory buckets and Outposts. */
bool cas_probe_copies_are_documented(const struct conf *conf);

/* True, *ret_traits and a line in the log if the result of an earlier start is saved
 * (cas_kept.h). */
bool cas_probe_is_kept(const struct conf *conf, struct server_traits *ret_traits);

/* Probes. Blocks (turns `loop`) for at
 * most WORKER_PROBE_MS; writes and deletes below KEY_RESERVED_DIR. `base` has the connection
 * settings. 0 and *ret_traits, after logging what the operator should know (name and habits are
 * written by the S3 client, if `base` points to them); or -errno with a sentence for the operator
 * in *err:
 *   -EINVAL        the server does not enforce a condition, or permissions are missing
 *   -EHOSTUNREACH  there was no clear result
 *   -ENOMEM */
must_use int cas_probe(const struct conf *conf, struct loop *loop,
                       const struct s3_client_conf *base, struct s3_cred_source *creds,
                       struct server_traits *ret_traits, struct err *err);

#endif
