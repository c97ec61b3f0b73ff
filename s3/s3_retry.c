/* The arithmetic of retries; s3_error.c decides which failures are retried. */
#include "s3/s3_retry.h"

void s3_retry_bucket_init(struct s3_retry_bucket *b, uint32_t *shared,
                          uint32_t (*uniform)(uint32_t upper))
{
    b->own = 0;
    b->spent = shared ? shared : &b->own;
    b->uniform = uniform;
}

/* False if they are not there. A value that nobody stored (another process's mistake) is as good as
 * an empty bucket, and heals. */
static bool take_tokens(struct s3_retry_bucket *b, unsigned n)
{
    uint32_t spent = __atomic_load_n(b->spent, __ATOMIC_RELAXED);

    do {
        if (spent > S3_RETRY_TOKENS - n)
            return false;
    } while (!__atomic_compare_exchange_n(b->spent, &spent, spent + n, true, __ATOMIC_RELAXED,
                                          __ATOMIC_RELAXED));
    return true;
}

static void give_tokens(struct s3_retry_bucket *b, unsigned n)
{
    uint32_t spent = __atomic_load_n(b->spent, __ATOMIC_RELAXED), less;

    do {
        less = spent > S3_RETRY_TOKENS ? S3_RETRY_TOKENS : spent;
        less = less > n ? less - n : 0;
    } while (spent && !__atomic_compare_exchange_n(b->spent, &spent, less, true, __ATOMIC_RELAXED,
                                                   __ATOMIC_RELAXED));
}

/* Full jitter: anything from 0 to base * 2^n, at most the cap. */
static uint64_t jitter(const struct s3_retry_bucket *b, unsigned n)
{
    uint64_t top = n < 16 ? S3_RETRY_BASE_NS << n : S3_RETRY_CAP_NS;

    if (top > S3_RETRY_CAP_NS)
        top = S3_RETRY_CAP_NS;
    return b->uniform((uint32_t)(top / 1000)) * UINT64_C(1000);
}

static bool again_answered(struct s3_retry *r, struct s3_retry_bucket *b, uint64_t left_ns,
                           uint64_t retry_after_ns, uint64_t *ret_delay_ns)
{
    uint64_t delay;

    if (++r->answered >= r->max_attempts)
        return false;
    delay = jitter(b, r->answered - 1);
    if (delay < retry_after_ns)
        delay = retry_after_ns;
    if (delay >= left_ns || !take_tokens(b, S3_RETRY_COST))
        return false;
    r->paid = S3_RETRY_COST;
    *ret_delay_ns = delay;
    return true;
}

/* The last wait before the deadline is shortened rather than dropped, so that an outage that ends
 * just in time is survived; a remainder that is too short for an attempt is not used. */
static bool again_connection(struct s3_retry *r, const struct s3_retry_bucket *b, uint64_t left_ns,
                             uint64_t *ret_delay_ns)
{
    uint64_t delay;

    if (r->max_attempts <= 1 || left_ns < 2 * S3_RETRY_BASE_NS)
        return false;
    delay = jitter(b, r->breaks);
    if (r->breaks < 16)
        r->breaks++;
    if (delay > left_ns - S3_RETRY_BASE_NS)
        delay = left_ns / 2;
    *ret_delay_ns = delay;
    return true;
}

bool s3_retry_again(struct s3_retry *r, struct s3_retry_bucket *b, enum s3_retry_class cls,
                    uint64_t left_ns, uint64_t retry_after_ns, uint64_t *ret_delay_ns)
{
    switch (cls) {
    case S3_RETRY_NO:
    case S3_RETRY_CREDENTIALS: /* others did not come, or were not taken either */
        return false;
    case S3_RETRY_SKEW:
        if (r->skewed || left_ns == 0)
            return false;
        r->skewed = true;
        *ret_delay_ns = 0;
        return true;
    case S3_RETRY_CONNECTION:
        return again_connection(r, b, left_ns, ret_delay_ns);
    case S3_RETRY_ANSWERED:
    case S3_RETRY_THROTTLED:
        return again_answered(r, b, left_ns, retry_after_ns, ret_delay_ns);
    }
    return false;
}

void s3_retry_progress(struct s3_retry *r)
{
    r->breaks = 0;
}

void s3_retry_success(const struct s3_retry *r, struct s3_retry_bucket *b)
{
    give_tokens(b, r->paid ? r->paid : 1);
}
