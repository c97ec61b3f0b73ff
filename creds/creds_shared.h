/* What the two shared files say: profiles and SSO sessions, with the credentials file before the
 * config file. */
#ifndef CREDS_CREDS_SHARED_H
#define CREDS_CREDS_SHARED_H

#include "creds/creds_job.h"

enum creds_section { CREDS_PROFILE, CREDS_SSO_SESSION };

struct creds_shared;

/* Reads both files. One that is not named and not there is empty; one that is named must be there.
 * 0 and *ret (creds_shared_free), or -EINVAL with *err, -ENOMEM. */
must_use int creds_shared_read(const struct creds_conf *conf, struct creds_shared **ret,
                               struct err *err);
/* Wipes. NULL is fine. */
void creds_shared_free(struct creds_shared *s);

bool creds_shared_has(const struct creds_shared *s, enum creds_section kind, const char *name);

/* The value of a key of a section, "" = not given. Valid as long as *s. */
const char *creds_shared_get(const struct creds_shared *s, enum creds_section kind,
                             const char *name, const char *key);

/* The same of one file alone: the credentials file, or the config file. */
const char *creds_shared_get_of(const struct creds_shared *s, bool credentials_file,
                                const char *name, const char *key);

/* True if any section has this key with this value. */
bool creds_shared_names(const struct creds_shared *s, const char *key, const char *value);

/* "/home/x/.aws/NAME" into `out`; false without a home. */
bool creds_shared_path(const struct creds_conf *conf, const char *name, char *out, size_t cap);

#endif
