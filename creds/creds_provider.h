/* The providers, one file each. All: 0 and *ret but for `provider`, or what creds_fetch says. With
 * job->look_only they check what is local, and fill nothing. Inside creds/ only. */
#ifndef CREDS_CREDS_PROVIDER_H
#define CREDS_CREDS_PROVIDER_H

#include "creds/creds_job.h"
#include "creds/creds_shared.h"

#define CREDS_ARN_MAX 2049
#define CREDS_SESSION_NAME_MAX 65

/* A role to be assumed; strings may be NULL or "". */
struct creds_role {
    const char *arn, *session_name, *external_id, *duration;
};

/* creds_env.c */
must_use int creds_environment(const struct creds_job *job, struct creds *ret, struct err *err);

/* creds_sts.c */
must_use int creds_assume_role(const struct creds_job *job, const struct creds_role *role,
                               const struct creds *source, struct creds *ret, struct err *err);
must_use int creds_web_identity(const struct creds_job *job, const struct creds_role *role,
                                const char *token_file, struct creds *ret, struct err *err);

/* creds_profile.c. -ENOKEY: the profile that is meant when none is named says nothing of
 * credentials. `ret->provider` is filled. */
must_use int creds_profile(const struct creds_job *job, struct creds *ret, struct err *err);

/* creds_program.c */
must_use int creds_program(const struct creds_job *job, const char *command, struct creds *ret,
                           struct err *err);

/* The same in this process, output only: 0 and the output in *told, which the caller has allocated;
 * or what creds_fetch says. */
must_use int creds_program_run(const struct creds_job *job, const char *command,
                               struct creds_bytes *told, struct err *err);

/* creds_sso.c: of a profile that says so. */
must_use int creds_sso(const struct creds_job *job, const struct creds_shared *shared,
                       const char *profile, struct creds *ret, struct err *err);

/* creds_container.c */
must_use int creds_container(const struct creds_job *job, struct creds *ret, struct err *err);

/* creds_metadata.c */
must_use int creds_metadata(const struct creds_job *job, struct creds *ret, struct err *err);

/* creds_words.c: cuts a command line into words as a shell would without expanding anything:
 * quotes and backslashes. In place. The number of words (at most `max` - 1, the next is NULL), or
 * -EINVAL (a quote that is not closed, too many, none). */
must_use int creds_words(char *text, char **ret_words, unsigned max);

#endif
