/* Where credentials come from. The client asks before each attempt; the answer comes from
 * memory, at once. Whoever refreshes them (another process, a timer) does so behind this
 * interface, and the secret stays there: what comes over is the key that signs for one day.
 */
#ifndef S3_S3_CRED_H
#define S3_S3_CRED_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "s3/s3.h"

#define S3_ACCESS_KEY_MAX 129 /* with NUL, for each of the three */
#define S3_SECRET_MAX 257
#define S3_SESSION_TOKEN_MAX 8192
#define S3_SIGV4_KEY_LEN 32

struct s3_cred {
    char access_key[S3_ACCESS_KEY_MAX];
    char session_token[S3_SESSION_TOKEN_MAX]; /* "" = none */
    unsigned char key[S3_SIGV4_KEY_LEN];      /* for the scope that was asked for */
    /* "", or the bucket turned out to be in this region, and the key is for it */
    char region[S3_REGION_MAX];
    bool renewable;      /* there may be others one day */
    uint64_t generation; /* another number whenever key id, secret or token changed; never 0 */
};

/* What a key is for. */
struct s3_sigv4_scope {
    const char *region;
    const char *service;
    const char *amz_date; /* "20150830T123600Z" */
};

/* What became of credentials that were asked for. */
enum s3_cred_news {
    S3_CRED_NONE, /* there will be no others (for now) */
    S3_CRED_SOON, /* they are being fetched: ask again */
    S3_CRED_NEW,  /* they are there */
};

struct s3_cred_source;

struct s3_cred_ops {
    /* Fills *ret_cred, which lies in locked memory, and does not block. 0; -ENOKEY when there
     * are none, -EAGAIN when there is no key for that day yet: renew asks for it. */
    must_use int (*get)(struct s3_cred_source *src, const struct s3_sigv4_scope *scope,
                        struct s3_cred *ret_cred);
    /* The server takes credentials of this generation no more (0: get said -EAGAIN): asks for
     * others, once however often it is called, and tells what became of it. Does not block. NULL:
     * S3_CRED_NONE. */
    enum s3_cred_news (*renew)(struct s3_cred_source *src, uint64_t generation);
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

/* Copies what can stand in a header: 1 to cap - 1 characters of visible ASCII. 0, or -EINVAL with
 * *err, which names `what` and never shows the text. */
must_use int s3_cred_copy(char *to, size_t cap, const char *from, const char *what,
                          struct err *err);

#endif
