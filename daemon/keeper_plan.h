/* When credentials are fetched again, and the days that keys are derived for. Arithmetic only: the
 * caller passes the time. */
#ifndef DAEMON_KEEPER_PLAN_H
#define DAEMON_KEEPER_PLAN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"

#define KEEPER_ADVISORY_NS (15 * 60 * NS_PER_S)  /* before the expiry: a refresh is due */
#define KEEPER_MANDATORY_NS (10 * 60 * NS_PER_S) /* ... and is overdue */
#define KEEPER_RETRY_MIN_NS NS_PER_S
#define KEEPER_RETRY_MAX_NS (60 * NS_PER_S)

/* Machines that were started together do not ask together: each time is earlier by up to this part
 * of the wait, or of the time that is left, as a matter of chance. */
#define KEEPER_SPREAD 8

/* Wall clock; expires_ns 0 = never. */
struct keeper_life {
    uint64_t fetched_ns, expires_ns;
};

/* When the refresh is due: 15 minutes before the expiry, or after half of a shorter life; or up to
 * an eighth of that time earlier. The same each time it is asked. UINT64_MAX without an expiry. */
uint64_t keeper_due_ns(const struct keeper_life *life);

/* When it is overdue: 10 minutes before the expiry, or after two thirds of a shorter life.
 * UINT64_MAX without an expiry. */
uint64_t keeper_overdue_ns(const struct keeper_life *life);

/* How long to wait after the nth failed refresh in a row (from 1): increasing, up to
 * KEEPER_RETRY_MAX_NS, but not more than a quarter of the credentials' remaining life, if they have
 * one (and at least KEEPER_RETRY_MIN_NS); or up to an eighth less. */
uint64_t keeper_retry_ns(const struct keeper_life *life, unsigned n, uint64_t now_ns);

/* The day of a time, such as 20150830; `days` later (or earlier, if negative). */
uint32_t keeper_day(uint64_t wall_ns, int days);
/* The time at which a day begins, 0 for an invalid day. */
uint64_t keeper_day_begins(uint32_t day);

#endif
