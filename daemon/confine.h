/* From the configuration to the sandbox of the children. */
#ifndef DAEMON_CONFINE_H
#define DAEMON_CONFINE_H

#include "base/err.h"
#include "conf/conf.h"
#include "sandbox/sandbox.h"

/* Decides who the workers are and what they and the keeper may reach. Strings are borrowed from
 * `conf`. `env`: the environment, which may name proxies. Before anything else is forked. 0;
 * -EINVAL with *err: workers.user is wrong, or `sandbox: require` and this kernel lacks
 * something. */
must_use int confine_init(const struct conf *conf, char *const *env, struct sandbox *ret,
                          struct err *err);

/* "sandbox=on user=990", for the line that says "ready". */
void confine_describe(const struct sandbox *sb, char *out, size_t cap);

/* The same as a sentence, for --check. */
void confine_explain(const struct sandbox *sb, char *out, size_t cap);

#endif
