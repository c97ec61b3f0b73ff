/* When a dead child is started again. Arithmetic only: the clock is the caller's.
 *
 * A worker is disposable, and killing one is no fault of its own: it is replaced at once, and only
 * a far limit stands between the OOM killer and a loop of forks. A crash is a fault: the first one
 * is answered at once too, the next ones after longer and longer waits.
 */
#ifndef DAEMON_RESPAWN_H
#define DAEMON_RESPAWN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"

/* the second crash in a row; doubled by each further one */
#define RESPAWN_FIRST_NS (100 * NS_PER_MS)
#define RESPAWN_CRASH_MAX_NS (5 * NS_PER_S)
#define RESPAWN_KILL_MAX_NS NS_PER_S
#define RESPAWN_WELL_NS (10 * NS_PER_S)   /* who lived that long begins with a clean sheet */
#define RESPAWN_EARLY_NS (20 * NS_PER_MS) /* who lived less was killed "early" ... */
#define RESPAWN_EARLY_KILLS 16            /* ... and so many of those in a row go free */

enum respawn_death {
    RESPAWN_KILLED,  /* by SIGKILL or another signal from outside, or ended with 0 untold */
    RESPAWN_CRASHED, /* a fault of its own, the watchdog, an exit code that means nothing good */
};

/* Of one slot; zeroed before the first start. */
struct respawn {
    uint64_t started_ns;
    unsigned crashes; /* in a row */
    unsigned early;   /* early kills in a row */
};

/* `status` of waitpid(2). */
enum respawn_death respawn_judge(int status, bool by_watchdog);

void respawn_started(struct respawn *r, uint64_t now_ns);

/* It died: how long to wait before the next start. */
uint64_t respawn_delay(struct respawn *r, enum respawn_death death, uint64_t now_ns);

#endif
