/* When a failed attempt is made again: the "standard" mode of AWS's clients, and patience with
 * outages.
 *
 * Answers such as 500 and 503 are tried again while attempts and tokens last: the bucket of
 * tokens, one for a client, keeps a struggling server from getting three times the load. Where
 * nobody answered (refused, reset, no route, stalled) the deadline alone rules, so that an
 * outage shorter than it is not seen by applications. Waits are full-jitter exponential. Pure
 * arithmetic: time and chance are given.
 */
#ifndef S3_S3_RETRY_H
#define S3_S3_RETRY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "s3/s3_error.h"

#define S3_RETRY_BASE_NS (50 * NS_PER_MS)
#define S3_RETRY_CAP_NS (5 * NS_PER_S)
#define S3_RETRY_TOKENS 500
#define S3_RETRY_COST 5

/* Of a client. */
struct s3_retry_bucket {
    unsigned tokens;
    uint32_t (*uniform)(uint32_t upper); /* a random number below `upper` */
};

/* Of a request; zeroed at its start, then max_attempts set. */
struct s3_retry {
    unsigned max_attempts;
    unsigned answered; /* failed attempts that the server answered */
    unsigned breaks;   /* failed attempts without an answer, since the last progress */
    unsigned paid;     /* tokens of the last retry, given back when it succeeds */
    bool skewed;       /* the one retry with the server's clock was made */
    bool renewed;      /* the one retry with other credentials was made */
};

void s3_retry_bucket_init(struct s3_retry_bucket *b, uint32_t (*uniform)(uint32_t upper));

/* May the attempt that failed with `cls` be made again, given `left_ns` until the deadline and
 * the server's Retry-After (0 = none)? True and *ret_delay_ns, which ends before the deadline. */
bool s3_retry_again(struct s3_retry *r, struct s3_retry_bucket *b, enum s3_retry_class cls,
                    uint64_t left_ns, uint64_t retry_after_ns, uint64_t *ret_delay_ns);

/* More of a body came than ever before: the back-off starts from its base again. */
void s3_retry_progress(struct s3_retry *r);

/* The request succeeded. */
void s3_retry_success(const struct s3_retry *r, struct s3_retry_bucket *b);

#endif
