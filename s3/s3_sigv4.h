/* AWS Signature Version 4 in a header. Implements S3's rules (the path is signed as sent) and those
 * of other services (the path is normalised and encoded once more). The caller provides payload
 * hashes (s3_hash.h). */
#ifndef S3_S3_SIGV4_H
#define S3_S3_SIGV4_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"
#include "s3/s3_cred.h"

#define S3_SIGV4_HEADERS_MAX 160 /* maximum number per request */
#define S3_SIGV4_QUERY_MAX 64    /* maximum number of query parameters */
#define S3_SIGV4_CANONICAL_MAX (64 << 10)
#define S3_SIGV4_AUTH_MAX 4096 /* the value of Authorization, and NUL */

struct s3_sigv4_header {
    const char *name;  /* any case */
    const char *value; /* as sent; outer blanks and runs of blanks are ignored */
};

struct s3_sigv4_request {
    const char *method;
    const char *path;                      /* as sent (S3), or unencoded (others) */
    const char *query;                     /* as sent without "?", any order; "" = none */
    const struct s3_sigv4_header *headers; /* all headers to be signed: host, x-amz-date, ... */
    size_t n_headers;
    const char *payload_hash; /* hex, or UNSIGNED-PAYLOAD */
    bool encode_path;         /* false for S3 */
    bool normalize_path;      /* false for S3 */
};

/* Makes the key that signs for a day (of scope->amz_date), region and service out of the secret;
 * S3_SIGV4_KEY_LEN bytes. It is all that signing needs: the secret cannot be had from it. 0, -E2BIG
 * for a secret that is too long, -ENOMEM. */
must_use int s3_sigv4_derive(const char *secret, const struct s3_sigv4_scope *scope,
                             unsigned char *ret_key);

/* Appends the canonical request, and puts "a;b;c" into *signed_headers. 0, -E2BIG beyond a limit
 * above, -ENOMEM. For s3_sigv4_sign and its tests. */
must_use int s3_sigv4_canonical(const struct s3_sigv4_request *req, struct buf *canonical,
                                struct buf *signed_headers);

/* Puts the value of the Authorization header into `auth`; `cred` was got for this scope. 0, -E2BIG,
 * -ENOMEM. */
must_use int s3_sigv4_sign(const struct s3_sigv4_request *req, const struct s3_sigv4_scope *scope,
                           const struct s3_cred *cred, char *auth, size_t cap);

#endif
