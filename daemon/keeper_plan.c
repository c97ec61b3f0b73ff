/* Computes the keeper's times. */
#include "daemon/keeper_plan.h"

#include <time.h>

#define DAY_S 86400
#define SHORT_LIFE_NS (2 * KEEPER_ADVISORY_NS)

static uint64_t life_of(const struct keeper_life *l)
{
    return l->expires_ns > l->fetched_ns ? l->expires_ns - l->fetched_ns : 0;
}

/* A share of `most`: what a time is behind its full second is as good as drawn by lot, and the same
 * for whoever looks at the same time again. */
static uint64_t share(uint64_t most_ns, uint64_t time_ns)
{
    uint64_t thousandths = time_ns % NS_PER_S / NS_PER_MS;

    return most_ns / 1000 * thousandths;
}

uint64_t keeper_due_ns(const struct keeper_life *life)
{
    uint64_t all = life_of(life);
    uint64_t before = all > SHORT_LIFE_NS ? KEEPER_ADVISORY_NS : all / 2;

    if (!life->expires_ns)
        return UINT64_MAX;
    return life->expires_ns - before - share(before / KEEPER_SPREAD, life->fetched_ns);
}

uint64_t keeper_overdue_ns(const struct keeper_life *life)
{
    uint64_t all = life_of(life);

    if (!life->expires_ns)
        return UINT64_MAX;
    return life->expires_ns - (all > SHORT_LIFE_NS ? KEEPER_MANDATORY_NS : all / 3);
}

uint64_t keeper_retry_ns(const struct keeper_life *life, unsigned n, uint64_t now_ns)
{
    uint64_t wait = n > 6 ? KEEPER_RETRY_MAX_NS : KEEPER_RETRY_MIN_NS << (n ? n - 1 : 0);
    uint64_t left = life->expires_ns > now_ns ? (life->expires_ns - now_ns) / 4 : 0;

    if (wait > KEEPER_RETRY_MAX_NS)
        wait = KEEPER_RETRY_MAX_NS;
    if (left && wait > left)
        wait = left > KEEPER_RETRY_MIN_NS ? left : KEEPER_RETRY_MIN_NS;
    return wait - share(wait / KEEPER_SPREAD, now_ns);
}

uint32_t keeper_day(uint64_t wall_ns, int days)
{
    time_t t = (time_t)(wall_ns / NS_PER_S) + (time_t)days * DAY_S;
    struct tm tm;

    gmtime_r(&t, &tm);
    return (uint32_t)((tm.tm_year + 1900) * 10000 + (tm.tm_mon + 1) * 100 + tm.tm_mday);
}

uint64_t keeper_day_begins(uint32_t day)
{
    struct tm tm = {.tm_year = (int)(day / 10000) - 1900,
                    .tm_mon = (int)(day / 100 % 100) - 1,
                    .tm_mday = (int)(day % 100)};
    time_t t = timegm(&tm);

    if (t < 0 || keeper_day((uint64_t)t * NS_PER_S, 0) != day)
        return 0;
    return (uint64_t)t * NS_PER_S;
}
