/* Where credentials come from. The client asks before each attempt; the result comes from memory,
 * at once. Refreshing them (by another process, by a timer) happens behind this interface. */
#ifndef S3_S3_CRED_H
#define S3_S3_CRED_H

#include <stdint.h>

#include "base/err.h"

#define S3_ACCESS_KEY_MAX 129 /* with NUL, for each of the three */
#define S3_SECRET_MAX 257
#define S3_SESSION_TOKEN_MAX 8192

struct s3_cred {
    char access_key[S3_ACCESS_KEY_MAX];
    char secret[S3_SECRET_MAX];
    char session_token[S3_SESSION_TOKEN_MAX]; /* "" = none */
    uint64_t expires_ns;                      /* clock_wall_ns; 0 = never */
    uint64_t generation; /* changes whenever any of the three changes; never 0 */
};

struct s3_cred_source;

struct s3_cred_ops {
    /* Fills *ret_cred, which is in locked memory. Does not block. 0, or -ENOKEY if there are
     * none. */
    must_use int (*get)(struct s3_cred_source *src, struct s3_cred *ret_cred);
    void (*free)(struct s3_cred_source *src);
};

/* Embedded as the first member by each implementation. */
struct s3_cred_source {
    const struct s3_cred_ops *ops;
};

/* Fixed strings, copied into sodium memory; session_token may be NULL or "". 0 and *ret_src
 * (s3_cred_free), or -errno with *err: EINVAL for an empty, too long or unprintable one (the text
 * never contains it), ENOMEM. */
must_use int s3_cred_static_new(const char *access_key, const char *secret,
                                const char *session_token, struct s3_cred_source **ret_src,
                                struct err *err);

/* Wipes and frees. NULL is allowed. To be called after the clients that use it are freed. */
void s3_cred_free(struct s3_cred_source *src);

#endif
