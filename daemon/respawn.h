/* When a dead child is started again. Arithmetic only: the caller passes the time.
 *
 * A worker is disposable, and being killed is no fault of its own: it is replaced at once, and only
 * a generous limit prevents a fork loop caused by the OOM killer. A crash is a fault: after the
 * first one the restart is immediate too, after further ones the delay grows. */
#ifndef DAEMON_RESPAWN_H
#define DAEMON_RESPAWN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"

/* delay after the second crash in a row; doubled for each further one */
#define RESPAWN_FIRST_NS (100 * NS_PER_MS)
#define RESPAWN_CRASH_MAX_NS (5 * NS_PER_S)
#define RESPAWN_KILL_MAX_NS NS_PER_S
#define RESPAWN_WELL_NS (10 * NS_PER_S)   /* after this time the crash count restarts at 0 */
#define RESPAWN_EARLY_NS (20 * NS_PER_MS) /* a child that lived less was killed "early" ... */
#define RESPAWN_EARLY_KILLS 16            /* ... and so many of these in a row cause no delay */

enum respawn_death {
    RESPAWN_KILLED,  /* by SIGKILL or another signal from outside, or exit 0 without a request */
    RESPAWN_CRASHED, /* by a signal such as SIGSEGV, the watchdog, or exit code other than 0 */
};

/* State of one slot; zeroed before the first start. */
struct respawn {
    uint64_t started_ns;
    unsigned crashes; /* in a row */
    unsigned early;   /* early kills in a row */
};

/* `status` of waitpid(2). */
enum respawn_death respawn_judge(int status, bool by_watchdog);

void respawn_started(struct respawn *r, uint64_t now_ns);

/* After a death: how long to wait before the next start. */
uint64_t respawn_delay(struct respawn *r, enum respawn_death death, uint64_t now_ns);

#endif
