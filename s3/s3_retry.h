/* When a failed attempt is retried: the "standard" mode of AWS's clients, and patience with
 * outages.
 *
 * Responses such as 500 and 503 are retried while attempts and tokens last: the bucket of tokens,
 * one for all workers, keeps a struggling server from getting three times the load. If nothing
 * answered (refused, reset, no route, stalled) only the deadline counts, so applications do not see
 * an outage shorter than it. Waits are exponential with full jitter. Pure arithmetic: time and
 * random numbers are passed in. */
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

/* State of a client, or of all clients of one server: `spent` may be shared by processes. A process
 * that dies keeps what its retries had taken; successes of others give it back. */
struct s3_retry_bucket {
    uint32_t *spent;                     /* tokens taken, atomic; 0 = the bucket is full */
    uint32_t own;                        /* where `spent` points if it is not shared */
    uint32_t (*uniform)(uint32_t upper); /* a random number below `upper` */
};

/* State of a request; zeroed at its start, then max_attempts set. */
struct s3_retry {
    unsigned max_attempts;
    unsigned answered; /* failed attempts that the server answered */
    unsigned breaks;   /* failed attempts without a response, since the last progress */
    unsigned paid;     /* tokens taken by the last retry, returned when it succeeds */
    bool skewed;       /* the one retry with the server's clock was made */
    bool renewed;      /* the one retry with other credentials was made */
};

/* `shared`: the number of tokens taken (borrowed, 0 at first); NULL = this client's alone. */
void s3_retry_bucket_init(struct s3_retry_bucket *b, uint32_t *shared,
                          uint32_t (*uniform)(uint32_t upper));

/* Decides whether the attempt that failed with `cls` is retried, given `left_ns` until the deadline
 * and the server's Retry-After (0 = none). True and *ret_delay_ns, which ends before the
 * deadline. */
bool s3_retry_again(struct s3_retry *r, struct s3_retry_bucket *b, enum s3_retry_class cls,
                    uint64_t left_ns, uint64_t retry_after_ns, uint64_t *ret_delay_ns);

/* More of a body has moved than ever before: the back-off starts at its base again. */
void s3_retry_progress(struct s3_retry *r);

/* The request succeeded. */
void s3_retry_success(const struct s3_retry *r, struct s3_retry_bucket *b);

#endif
